"""Processes that run commands one after another, to be killed at any moment."""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Callable, Sequence

from bpfctl.cli.app.main import main

Command = Sequence[str]
_DONE = struct.Struct("<I")


def run_quietly(argv: Command) -> int:
    """Run one command line with its output thrown away; return its status."""
    return main(list(argv))


def _silence() -> None:
    sink = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(sink, fd)


def fork(body: Callable[[int], None]) -> tuple[int, int]:
    """Run ``body(pipe)`` in a new process; return its pid and the pipe's reading end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        os.close(reader)
        _silence()
        body(writer)
        status = 0
    finally:
        os._exit(status)


def run_commands(commands: Sequence[Command]) -> Callable[[int], None]:
    """Return a body that runs commands and reports each one after its success."""

    def body(pipe: int) -> None:
        for number, argv in enumerate(commands):
            if run_quietly(argv) == 0:
                os.write(pipe, _DONE.pack(number))

    return body


def kill_after(pid: int, reader: int, commands: int, seconds: float) -> int:
    """Kill a worker ``seconds`` after it has reported that many commands.

    :return: how many commands it had reported when it died.
    """
    reported = 0
    while reported < commands and os.read(reader, _DONE.size):
        reported += 1
    # The moment of death is the test's input, and it is meant to be anywhere in a command.
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    while os.read(reader, _DONE.size):
        reported += 1
    os.close(reader)
    return reported


def finish(pid: int, reader: int) -> list[int]:
    """Wait for a worker to end; return the numbers of the commands that succeeded."""
    done = []
    while report := os.read(reader, _DONE.size):
        done.append(_DONE.unpack(report)[0])
    os.waitpid(pid, 0)
    os.close(reader)
    return done
