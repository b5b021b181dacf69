"""Compiled programs of the user, between commands: the code objects of long ones.

In the user's cache directory, mode 0700, named by a digest of all that the text depends on. What
is there is executed, so a directory or file of somebody else is not read.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.program import VmProgram

MIN_INSNS = 128
"""Programs shorter than this compile about as fast as a file is found."""
MAX_FILES = 256

Compiled = tuple[CodeType, "dict[str, tuple[str, int]]"]


def key_of(program: VmProgram, shapes: Any) -> str:
    """Return the name of a program's file, "" when it is not worth one."""
    if len(program) < MIN_INSNS or os.environ.get("BPFCTL_NO_CACHE"):
        return ""
    from bpfctl import __version__
    from bpfctl.kernel.bpf.vm.py.source import FORMAT

    about = (
        __version__, FORMAT, sys.version, sys.implementation.cache_tag, program.raw,
        program.starts, program.trusted, shapes,
    )  # fmt: skip
    return hashlib.sha256(repr(about).encode()).hexdigest()


def _directory() -> str:
    from platformdirs import user_cache_dir

    return os.path.join(user_cache_dir("bpfctl"), "programs")


def _ours(path: str) -> bool:
    """Tell whether only this user can have written there."""
    if not hasattr(os, "getuid"):
        return True
    found = os.stat(path)
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def load(key: str) -> Compiled | None:
    """Return a compiled program, None when there is none that can be trusted."""
    directory = _directory()
    path = os.path.join(directory, key)
    try:
        if not (_ours(directory) and _ours(path)):
            return None
        with open(path, "rb") as file:
            code, binds = marshal.loads(file.read())
    except (OSError, ValueError, EOFError, TypeError):
        return None
    return (code, binds) if isinstance(code, CodeType) and isinstance(binds, dict) else None


def store(key: str, code: CodeType, binds: dict[str, tuple[str, int]]) -> None:
    """Keep a compiled program; what cannot be written is not kept."""
    directory = _directory()
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        if not _ours(directory):
            return
        _make_room(directory)
        temporary = os.path.join(directory, f"{key}.{os.getpid()}")
        with open(temporary, "xb") as file:
            file.write(marshal.dumps((code, binds)))
        os.replace(temporary, os.path.join(directory, key))
    except (OSError, ValueError):
        return


def _make_room(directory: str) -> None:
    names = os.listdir(directory)
    if len(names) < MAX_FILES:
        return
    paths = sorted((os.path.join(directory, name) for name in names), key=os.path.getmtime)
    for path in paths[: MAX_FILES // 4]:
        os.unlink(path)
