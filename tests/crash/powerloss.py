"""What may be on a disk after a power cut: system calls of real commands, replayed in part.

``record`` runs commands under strace and returns what they did to the files of a folder. A
``Disk`` plays such a history up to some moment. What was written to a file since its last fsync,
and what was done to a folder's names since the folder's last fsync, may be there or not:
``after_cut`` makes one of the possible folders.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

CALLS = "openat,open,creat,write,pwrite64,pwritev,ftruncate,truncate,fsync,fdatasync,rename"
CALLS += ",renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,close,lseek,link,linkat,copy_file_range"
BPFCTL = [sys.executable, "-m", "bpfctl"]

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (-?\d+)")
_FD = re.compile(r"^(\d+)<([^>]*)>")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Op:
    """One thing that a command did. ``kind``: write, truncate, sync, name, drop, move, done.

    ``done`` marks the end of command number ``at``: its success was reported.
    """

    kind: str
    path: str = ""
    at: int = 0
    data: bytes = b""
    to: str = ""


def record(folder: Path, commands: list[list[str]], env: dict[str, str]) -> list[Op]:
    """Run commands one after the other and return all they did below ``folder``."""
    ops: list[Op] = []
    for number, argv in enumerate(commands):
        log = folder.parent / f"strace.{number}"
        trace = ["strace", "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={CALLS}"]
        trace += ["-o", str(log)]
        subprocess.run(
            [*trace, *BPFCTL, *argv], check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, **env}, timeout=120,
        )
        ops += _ops_of(log.read_text(), str(folder))
        ops.append(Op("done", at=number))
    return ops


def _bytes(text: str) -> bytes:
    return bytes(int(part, 16) for part in text.split("\\x")[1:])


def _ops_of(log: str, folder: str) -> list[Op]:
    ops: list[Op] = []
    offsets: dict[str, int] = {}
    for line in log.splitlines():
        found = _CALL.match(line)
        if found is None or int(found[3]) < 0:
            continue
        call, args, result = found[1], found[2], int(found[3])
        names = [os.fsdecode(_bytes(text)) for text in _TEXT.findall(args)]
        fd = _FD.match(args)
        # strace writes the paths behind descriptors as text, or as \x.. with -xx.
        path = (os.fsdecode(_bytes(fd[2])) if fd and "\\x" in fd[2] else fd[2]) if fd else ""
        if call in ("openat", "open", "creat"):
            name = names[-1]
            if _inside(name, folder) and ("O_CREAT" in args or call == "creat"):
                ops.append(Op("name", name))
                offsets[name] = 0
        elif call in ("mkdir", "mkdirat"):
            if _inside(names[-1], folder):
                ops.append(Op("name", names[-1], 1))
        elif call in ("unlink", "unlinkat"):
            if _inside(names[-1], folder):
                ops.append(Op("drop", names[-1]))
        elif call.startswith("rename"):
            if _inside(names[-1], folder):
                ops.append(Op("move", names[0], to=names[-1]))
        elif _inside(path, folder) or path == folder:
            ops += _of_file(call, path, args, result, offsets)
    return ops


def _inside(path: str, folder: str) -> bool:
    return path.startswith(f"{folder}/")


def _of_file(call: str, path: str, args: str, result: int, offsets: dict[str, int]) -> list[Op]:
    if call in ("fsync", "fdatasync"):
        return [Op("sync", path)]
    if call == "lseek":
        offsets[path] = result
        return []
    if call == "ftruncate":
        return [Op("truncate", path, int(args.rpartition(",")[2]))]
    if call in ("write", "pwrite64"):
        text = _TEXT.search(args)
        data = _bytes(text[1])[:result] if text else b""
        if call == "pwrite64":
            return [Op("write", path, int(args.rpartition(",")[2]), data)]
        at = offsets.get(path, 0)
        offsets[path] = at + result
        return [Op("write", path, at, data)]
    assert call == "close", f"{call}: not replayed"
    return []


@dataclass
class _File:
    """A file as written: ``durable`` is what survives for sure, ``pending`` what may."""

    durable: bytes = b""
    pending: list[Op] = field(default_factory=list)

    def content(self, kept: list[bool]) -> bytes:
        data = bytearray(self.durable)
        for op, keep in zip(self.pending, kept, strict=True):
            if not keep:
                continue
            if op.kind == "truncate":
                del data[op.at :]
                data.extend(bytes(op.at - len(data)))
            else:
                data.extend(bytes(max(op.at + len(op.data) - len(data), 0)))
                data[op.at : op.at + len(op.data)] = op.data
        return bytes(data)


class Disk:
    """A folder and those below it, as a history leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.files: list[_File] = []
        # Names as programs see them, and as they are on the disk; None is a folder.
        self.names: dict[str, _File | None] = {}
        self.durable: dict[str, _File | None] = {}
        self.pending: list[tuple[Op, _File | None]] = []
        self.done = -1

    def play(self, op: Op) -> None:
        if op.kind == "done":
            self.done = op.at
        elif op.kind == "name":
            if op.path not in self.names:
                made = None if op.at else _File()
                self.names[op.path] = made
                self.pending.append((op, made))
        elif op.kind == "drop":
            self.names.pop(op.path, None)
            self.pending.append((op, None))
        elif op.kind == "move":
            moved = self.names.pop(op.path)
            self.names[op.to] = moved
            self.pending.append((op, moved))
        elif op.kind == "sync":
            self._sync(op.path)
        else:
            found = self.names.get(op.path)
            if found is not None:
                found.pending.append(op)

    def _sync(self, path: str) -> None:
        if path == self.folder or self.names.get(path, self) is None:
            still = []
            for op, found in self.pending:
                if path in (os.path.dirname(op.path), os.path.dirname(op.to)):
                    _rename(self.durable, op, found)
                else:
                    still.append((op, found))
            self.pending = still
            return
        found = self.names.get(path)
        if found is not None:
            found.durable = found.content([True] * len(found.pending))
            found.pending = []

    def after_cut(self, target: Path, chance: random.Random | None, keep: bool) -> None:
        """Write what may be left: each doubtful thing by ``chance``, or all alike by ``keep``."""

        def kept() -> bool:
            return keep if chance is None else chance.random() < 0.5

        names = dict(self.durable)
        for op, found in self.pending:
            if kept():
                _rename(names, op, found)
        target.mkdir()
        for name, found in sorted(names.items()):
            place = target / os.path.relpath(name, self.folder)
            if found is None:
                place.mkdir(parents=True, exist_ok=True)
            elif place.parent.is_dir():
                place.write_bytes(found.content([kept() for _ in found.pending]))


def _rename(names: dict[str, _File | None], op: Op, found: _File | None) -> None:
    if op.kind == "name":
        names[op.path] = found
    elif op.kind == "drop":
        names.pop(op.path, None)
    else:
        names.pop(op.path, None)
        names[op.to] = found
