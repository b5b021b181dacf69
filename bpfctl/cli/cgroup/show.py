"""``cgroup show`` and ``cgroup tree``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.cli.cgroup.paths import MOUNT, cgroup_path, open_cgroup
from bpfctl.cli.cgroup.types import CGROUP_ATTACH_TYPES
from bpfctl.errors import CommandError, E, KernelError
from bpfctl.libbpf.link import bpf_prog_query
from bpfctl.uapi import ProgInfo
from bpfctl.uapi_attach import (
    ATTACH_TYPES,
    BPF_F_ALLOW_MULTI,
    BPF_F_ALLOW_OVERRIDE,
    BPF_F_QUERY_EFFECTIVE,
    ProgQueryAttr,
)

_ROOM = 1024
_FLAGS = {0: "", BPF_F_ALLOW_MULTI: "multi", BPF_F_ALLOW_OVERRIDE: "override"}


class _Row(NamedTuple):
    prog_id: int
    attach_type: int
    flags: int


def _effective(words: Words) -> bool:
    """Read the word ``effective``, if it is there, and nothing else."""
    found = False
    while words.left:
        if not words.next_is("effective"):
            raise CommandError(f"expected no more arguments, 'effective', got: '{words.peek()}'?")
        words.take()
        if found:
            raise CommandError("duplicated argument: effective")
        found = True
    return found


def show(app: App, words: Words) -> None:
    """Run ``cgroup show CGROUP [effective]``."""
    words.need(1)
    path = words.take()
    printer = _Printer(app, _effective(words))
    fd = open_cgroup(app, path)
    rows = list(_attached(app, fd, path, printer.effective))
    if not rows:
        return
    if app.out.json is not None:
        app.out.json.begin_array()
        for row in rows:
            printer.json(row)
        app.out.json.end_array()
    else:
        printer.header()
        for row in rows:
            printer.plain(row)


def _attached(app: App, fd: int, path: str, effective: bool) -> Iterator[_Row]:
    flags = BPF_F_QUERY_EFFECTIVE if effective else 0
    for attach_type in CGROUP_ATTACH_TYPES:
        try:
            found = bpf_prog_query(app.bpf, ProgQueryAttr(fd, attach_type, flags, _ROOM))
        except KernelError as exc:
            if exc.code == E.INVAL:
                continue  # a type that this kernel does not have
            raise CommandError(
                f"can't query bpf programs attached to {path}: {exc.strerror}", hint=exc.hint
            ) from exc
        for prog_id in found.prog_ids:
            yield _Row(prog_id, attach_type, found.attach_flags or 0)


def tree(app: App, words: Words) -> None:
    """Run ``cgroup tree [CGROUP_ROOT] [effective]``."""
    path = MOUNT
    if words.left and not words.next_is("effective"):
        path = words.take()
    printer = _Printer(app, _effective(words))
    try:
        top = app.kernel.memcg.lookup(cgroup_path(path))
    except KernelError as exc:
        raise CommandError(f"can't iterate over {path}: {exc.strerror}", hint=exc.hint) from exc
    json = app.out.json
    if json is not None:
        json.begin_array()
    else:
        app.out.put("CgroupPath\n")
        printer.header()
    for depth, memcg in app.kernel.memcg.walk(top.id):
        shown = f"{MOUNT}{memcg.path}".rstrip("/")
        rows = list(_attached(app, open_cgroup(app, memcg.path), shown, printer.effective))
        if not rows:
            continue
        if json is not None:
            json.begin_object()
            json.member("cgroup", shown)
            json.name("programs")
            json.begin_array()
            for row in rows:
                printer.json(row)
            json.end_array()
            json.end_object()
        else:
            app.out.put(f"{shown}\n")
            for row in rows:
                printer.plain(row, indent="    " if depth else "")
    if json is not None:
        json.end_array()


class _Printer:
    """Prints programs as rows of the table, or as objects."""

    def __init__(self, app: App, effective: bool) -> None:
        self.app = app
        self.effective = effective

    def header(self) -> None:
        flags = "" if self.effective else f" {'AttachFlags':<15}"
        self.app.out.put(f"{'ID':<8} {'AttachType':<15}{flags} {'Name':<15}\n")

    def _name(self, prog_id: int) -> str | None:
        """Return a program's name; None where it is gone meanwhile."""
        bpf = self.app.bpf
        try:
            fd = bpf.prog_get_fd_by_id(prog_id)
        except KernelError:
            return None
        info = bpf.obj_info(fd)
        bpf.close(fd)
        return os.fsdecode(info.name) if isinstance(info, ProgInfo) else None

    def plain(self, row: _Row, indent: str = "") -> None:
        name = self._name(row.prog_id)
        if name is None:
            return
        kind = ATTACH_TYPES[row.attach_type].name
        flags = "" if self.effective else f" {_flags(row.flags):<15}"
        self.app.out.put(f"{indent}{row.prog_id:<8} {kind:<15}{flags} {name:<15} {'':<15}\n")

    def json(self, row: _Row) -> None:
        json = self.app.out.json
        name = self._name(row.prog_id)
        assert json is not None
        if name is None:
            return
        json.begin_object()
        json.member("id", row.prog_id)
        json.member("attach_type", ATTACH_TYPES[row.attach_type].name)
        if not self.effective:
            json.member("attach_flags", _flags(row.flags))
        json.member("name", name)
        json.member("attach_btf_name", "")
        json.member("attach_btf_obj_id", 0)
        json.member("attach_btf_id", 0)
        json.end_object()


def _flags(flags: int) -> str:
    return _FLAGS.get(flags, f"unknown({flags:x})")
