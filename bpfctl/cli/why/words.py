"""Refusals of the kernel's checks in words: what was wrong, and what would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.uapi import MapCreateAttr
from bpfctl.why.words import for_creation

if TYPE_CHECKING:
    from bpfctl.cli.app.session import App
    from bpfctl.why.trial import Trial

# What some checks look at, for people.
CHECKS = {
    "frozen": "the map is frozen: only programs may change it now",
    "descriptor mode, or frozen": "the map is frozen, or open for reading only",
    "mode of the descriptor": "the map was made for reading or for writing only",
    "CAP_BPF": "it takes CAP_BPF: --caps bpf",
    "CAP_SYS_ADMIN": "it takes CAP_SYS_ADMIN: --caps sys_admin",
    "CAP_NET_ADMIN": "it takes CAP_NET_ADMIN: --caps bpf,net_admin",
    "CAP_PERFMON": "it takes CAP_PERFMON: --caps bpf,perfmon",
    "unprivileged_bpf_disabled": "users without CAP_BPF may not use bpf(2) here: --caps bpf, or "
    "bpfctl sim set unprivileged_bpf_disabled 0",
    "only programs store stacks": "stack traces come from programs; they can be read and deleted",
    "another type of program owns the array": "a program array takes programs of one type: that of "
    "the first one",
    "a bloom filter has no key type": "a Bloom filter has no keys: push and peek it",
    "fd 0 is not a map": "say inner_map MAP: a map of the size and type of those that it will hold",
    "keyless map": "the map has no keys: push, pop and peek it",
    "full": "the map has all its entries: delete some, or make it with more",
}


def hint_for(app: App, refusal: KernelError) -> str:
    """Return what would help where a check of the kernel refused something."""
    if refusal.call is None or not app.is_open:
        return ""
    if isinstance(refusal.call[1], MapCreateAttr):
        found = for_creation(trial_of(app, refusal.call[1]), refusal.code)
        if found:
            return found
    return for_check(refusal.code, refusal.detail)


def for_check(errno: int, detail: str) -> str:
    """Return what a check looked at, "" if that is not known."""
    if detail in CHECKS:
        return CHECKS[detail]
    told = detail and errno in (E.INVAL, E.PERM, E.BIG, E.NOTSUPP) and detail[:1] != "/"
    return f"the check that fails looks at: {detail}" if told else ""


def trial_of(app: App, attr: MapCreateAttr) -> Trial:
    """Return the call of this command, to be made again."""
    from bpfctl.cli.why.record import inner_of
    from bpfctl.why.trial import Trial

    task = app.current_task()
    inner = inner_of(app, attr)
    return Trial(attr, app.kernel.config, task.uid, task.caps, inner)
