"""Many commands at once on one state: nothing is lost, and nobody sees a lock."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bpfctl.store import open_kernel, open_storage
from bpfctl.store.check import check_state
from crash.worker import finish, fork, run_commands

NR_WRITERS = 8
NR_COMMANDS = 12
BPFFS = "/sys/fs/bpf"


def commands_of(writer: int, pairs: int) -> list[list[str]]:
    """Return commands that make maps of their own, and write into one of all writers."""
    made = []
    for number in range(pairs):
        pin = f"{BPFFS}/w{writer}_{number}"
        create = f"map create {pin} type hash key 4 value 4 entries 16 name w flags 1"
        update = f"map update pinned {BPFFS}/all key {writer} {number} 0 0 value 1 0 0 0"
        made += [create.split(), update.split()]
    return made


def check_contents(path: str, pairs: int) -> None:
    """Check that every command of every writer is there, and the state sound."""
    with open_storage(path, write=False) as storage:
        assert check_state(storage) == []
    with open_kernel(path, write=False) as kernel:
        pins = {pin: map_id for pin, _, map_id in kernel.bpffs.pins()}
        wanted = {f"{BPFFS}/w{w}_{n}" for w in range(NR_WRITERS) for n in range(pairs)}
        assert set(pins) == {*wanted, f"{BPFFS}/all"}
        assert len(set(pins.values())) == len(pins)
        keys = {key for key, _, _, _ in kernel.storage.cells(pins[f"{BPFFS}/all"]).rows()}
        assert keys == {bytes([w, n, 0, 0]) for w in range(NR_WRITERS) for n in range(pairs)}


def create_shared(cli) -> None:
    create = f"map create {BPFFS}/all type hash key 4 value 4 entries 4096 name all flags 1"
    cli.ok(*create.split())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_eight_writers_lose_nothing(cli, state):
    create_shared(cli)
    workers = [fork(run_commands(commands_of(writer, NR_COMMANDS))) for writer in range(NR_WRITERS)]
    for pid, reader in workers:
        assert finish(pid, reader) == list(range(2 * NR_COMMANDS))
    check_contents(str(state), NR_COMMANDS)


def test_eight_real_commands_at_once(cli, state):
    create_shared(cli)
    for create_or_update in range(2):
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "bpfctl", *commands_of(writer, 1)[create_or_update]],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for writer in range(NR_WRITERS)
        ]
        for process in processes:
            assert process.communicate() == ("", "")
            assert process.returncode == 0
    check_contents(str(state), 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_concurrent_first_use_makes_one_state(state):
    for round_ in range(5):
        workers = [
            fork(run_commands([["memcg", "create", f"/c{writer}"]])) for writer in range(NR_WRITERS)
        ]
        for pid, reader in workers:
            assert finish(pid, reader) == [0]
        with open_kernel(str(state), write=False) as kernel:
            found = {memcg.path for _, memcg in kernel.memcg.walk()}
        assert found == {"/", *(f"/c{writer}" for writer in range(NR_WRITERS))}
        assert os.listdir(state.parent) == ["state.db"], round_
        state.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_readers_and_writers_together(cli, state):
    create_shared(cli)
    show = [["map", "dump", "pinned", f"{BPFFS}/all"]] * 15
    writers = [fork(run_commands(commands_of(writer, 5))) for writer in range(NR_WRITERS)]
    readers = [fork(run_commands(show)) for _ in range(4)]
    for pid, reader in readers:
        assert finish(pid, reader) == list(range(len(show)))
    for pid, reader in writers:
        assert finish(pid, reader) == list(range(10))
    check_contents(str(state), 5)
