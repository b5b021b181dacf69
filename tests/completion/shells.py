"""Real shells on a terminal: type the beginning of a line, press Tab, read what became of it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 20.0
PROMPT = "shell-is-ready> "
DUMP_KEYS = b"\x18\x04"  # Ctrl-X Ctrl-D

# Quiet terminal, the script as users load it, and keys that write the line to $DUMP.
_BASH = """
PS1='{prompt}'
bind 'set enable-bracketed-paste off'
{load}
dump() {{ printf %s "$READLINE_LINE" > "$DUMP.part"; mv "$DUMP.part" "$DUMP"; }}
bind -x '"\\C-x\\C-d": dump'
"""
_ZSH = """
PS1='{prompt}'
unset zle_bracketed_paste
{load}
dump() {{ print -rn -- "$BUFFER" > "$DUMP.part"; mv "$DUMP.part" "$DUMP" }}
zle -N dump
bindkey '^X^D' dump
"""
SETUPS = {"bash": _BASH, "zsh": _ZSH}
COMMANDS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}


class Terminal:
    """An interactive shell that completes for bpfctl once it has run ``load``."""

    def __init__(self, shell: str, load: str, env: dict[str, str], folder: Path) -> None:
        import pty

        self.dump = folder / "line"
        setup = folder / "setup"
        setup.write_text(SETUPS[shell].format(load=load, prompt=PROMPT))
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(folder)
                os.execvpe(COMMANDS[shell][0], COMMANDS[shell], {**env, "DUMP": str(self.dump)})
            finally:
                os._exit(127)
        self.send(b". ./setup\n")
        self.output = b""
        # Keys that come before the shell edits its line would go to the terminal itself.
        self.wait(lambda: PROMPT.encode() in self.output)

    def send(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def wait(self, done: Callable[[], bool]) -> None:
        """Read what the shell prints until ``done()``."""
        end = time.monotonic() + SECONDS
        while not done():
            assert time.monotonic() < end, self.output.decode(errors="replace")
            if select.select([self.fd], [], [], 0.02)[0]:
                self.output += os.read(self.fd, 4096)

    def tab(self, line: str) -> str:
        """Return what ``line`` becomes when Tab is pressed at its end."""
        self.send(line.encode() + b"\t" + DUMP_KEYS)
        self.wait(self.dump.exists)
        text = self.dump.read_text()
        self.dump.unlink()
        self.send(b"\x15")  # Ctrl-U: an empty line again
        return text

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


def fish(script: str, line: str, env: dict[str, str]) -> list[str]:
    """Return what fish offers at the end of ``line``, descriptions cut off."""
    command = f"source {script}; complete -C $LINE"
    done = subprocess.run(
        ["fish", "--no-config", "-c", command],
        env={**env, "LINE": line},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert done.stderr == ""
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]
