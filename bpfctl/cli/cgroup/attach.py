"""``cgroup attach`` and ``cgroup detach``."""

from __future__ import annotations

from bpfctl.cli.app.select import prog_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.cli.cgroup.paths import open_cgroup
from bpfctl.cli.cgroup.types import CGROUP_ATTACH_TYPES
from bpfctl.errors import CommandError, KernelError
from bpfctl.libbpf.link import bpf_prog_attach, bpf_prog_detach
from bpfctl.uapi_attach import (
    ATTACH_TYPES,
    BPF_F_ALLOW_MULTI,
    BPF_F_ALLOW_OVERRIDE,
    ProgAttachAttr,
)

_LEAST = 4


def _attach_type(word: str) -> int:
    """Return the type of an exact name, or of a prefix of an old one."""
    for number in CGROUP_ATTACH_TYPES:
        entry = ATTACH_TYPES[number]
        if word == entry.name or (entry.old_name and entry.old_name.startswith(word)):
            return number
    raise CommandError("invalid attach type")


def _target(app: App, words: Words, verb: str) -> ProgAttachAttr:
    if words.left < _LEAST:
        raise CommandError(f"too few parameters for cgroup {verb}")
    cgroup = open_cgroup(app, words.take())
    attach_type = _attach_type(words.take())
    return ProgAttachAttr(cgroup, prog_fd(app, words), attach_type)


def attach(app: App, words: Words) -> None:
    """Run ``cgroup attach CGROUP ATTACH_TYPE PROG [multi] [override]``."""
    attr = _target(app, words, "attach")
    while words.left:
        if words.next_is("multi"):
            attr.attach_flags |= BPF_F_ALLOW_MULTI
        elif words.next_is("override"):
            attr.attach_flags |= BPF_F_ALLOW_OVERRIDE
        else:
            raise CommandError(f"unknown option: {words.peek()}")
        words.take()
    try:
        bpf_prog_attach(app.bpf, attr)
    except KernelError as exc:
        raise CommandError("failed to attach program", hint=exc.hint) from exc
    app.out.done()


def detach(app: App, words: Words) -> None:
    """Run ``cgroup detach CGROUP ATTACH_TYPE PROG``."""
    attr = _target(app, words, "detach")
    try:
        bpf_prog_detach(app.bpf, attr)
    except KernelError as exc:
        raise CommandError("failed to detach program", hint=exc.hint) from exc
    app.out.done()
