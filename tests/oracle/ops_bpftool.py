"""bpftool commands, run while the objects of a case exist."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpfctl.errors import KernelError
from bpfctl.kernel.config import Config
from bpfctl.libbpf.bpf import Bpf
from bpfctl.store import open_kernel
from bpfctl.store.state import boot_with, create_state
from conftest import Cli
from oracle.elements import Elements
from oracle.lab import Lab, name_of
from oracle.ops_maps import Result, Spec, attempts
from oracle.ops_progs import load_attr

_folder = tempfile.TemporaryDirectory(prefix="bpfctl-oracle-")
_fresh: dict[Config, Path] = {}


def bpftool(lab: Lab, spec: Spec) -> Result:
    """Make the objects in a state file, then run the command on it."""
    state = Path(_folder.name) / "state.db"
    shutil.copyfile(fresh_state(lab.kernel.config), state)
    ids = make_objects(state, spec["objects"]) if spec["objects"] else []
    words = [_with_id(word, ids) for word in spec["args"].split()]
    with without_settings():
        done = Cli()("--state", state, *words)
    return {"rc": done.status, "stdout": done.stdout, "stderr": done.stderr, "ids": ids}


def _with_id(word: str, ids: list[int | str]) -> str:
    """Return the id that ``%N`` stands for; 0 if the object could not be made."""
    if not word.startswith("%"):
        return word
    made = ids[int(word[1:])]
    return str(made if isinstance(made, int) else 0)


def fresh_state(config: Config) -> Path:
    """Return a state file of a kernel just booted; made once for each configuration."""
    path = _fresh.get(config)
    if path is None:
        path = _fresh[config] = Path(_folder.name) / f"fresh{len(_fresh)}.db"
        create_state(str(path), boot_with(config))
    return path


@contextmanager
def without_settings() -> Iterator[None]:
    """Hide the settings of the person who runs the tests."""
    saved = dict(os.environ)
    for name in saved:
        if name.startswith("BPFCTL_"):
            del os.environ[name]
    os.environ["XDG_CONFIG_HOME"] = _folder.name
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def make_objects(state: Path, objects: list[dict[str, Any]]) -> list[int | str]:
    """Make maps and programs that a long-lived process holds open.

    :return: their ids, or the errno of those that cannot be made.
    """
    with open_kernel(str(state)) as kernel:
        lab = Lab(kernel)
        bpf = lab.spawn()
        kept: list[int] = []
        return [_id_or_errno(lab, bpf, spec, kept) for spec in objects]


def _id_or_errno(lab: Lab, bpf: Bpf, spec: Spec, kept: list[int]) -> int | str:
    try:
        return _make(lab, bpf, spec, kept)
    except KernelError as exc:
        return name_of(exc)


def _make(lab: Lab, bpf: Bpf, spec: Spec, kept: list[int]) -> int:
    """Make one object, and leave nothing open but it."""
    if spec.get("isprog"):
        fd = bpf.prog_load(load_attr(bpf, lab, spec))
    else:
        prep = lab.prepare(bpf, spec)
        fd = lab.create(bpf, spec, prep)
        if spec.get("n"):
            attempts(Elements(lab, bpf, spec, prep, spec["n"]).updates(fd, 0, spec["n"]))
    kept.append(fd)
    for other in lab.open_fds(bpf):
        if other not in kept:
            bpf.close(other)
    info = bpf.obj_info(fd)
    return info.id
