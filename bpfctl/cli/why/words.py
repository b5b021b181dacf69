"""Refusals of the kernel's checks in words: what was wrong, and what would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.uapi import CAPS, MapCreateAttr

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


def for_creation(trial: Trial, errno: int) -> str:
    """Return what would have made the map, "" if nothing simple."""
    kinds: dict[int, Callable[[Trial], str]] = {
        E.INVAL: _change, E.NOTSUPP: _change, E.BIG: _smaller, E.PERM: _capability,
    }  # fmt: skip
    found = kinds.get(errno)
    return found(trial) if found is not None else ""


def type_name(trial: Trial) -> str:
    """Return the word for the type of the map that was asked for."""
    from bpfctl import plugins

    return plugins.type_name(trial.attr.map_type) or f"type {trial.attr.map_type}"


def _change(trial: Trial) -> str:
    from bpfctl.why import mend
    from bpfctl.why.trial import known_to

    name = type_name(trial)
    if not known_to(trial):
        return _since(trial, name)
    found = mend.change(trial)
    if not found:
        return ""
    wanted = " ".join(_said(trial, field, value) for field, value in found.items())
    had = " ".join(
        f"{mend.WORDS[field]} {_number(field, getattr(trial.attr, field))}" for field in found
    )
    return f"say {wanted}: {name} maps cannot have {had}"


def _since(trial: Trial, name: str) -> str:
    from bpfctl.light import altered
    from bpfctl.why.trial import at, elsewhere, known_to

    names = [
        kernel
        for kernel in elsewhere(trial)
        if known_to(altered(trial, config=at(trial.config, kernel)))
    ]
    first = f"; the first release here that has it is {names[0]}" if names else ""
    return f"Linux {trial.config.kernel} has no {name} maps{first}"


def _said(trial: Trial, field: str, value: int) -> str:
    from bpfctl.why import mend

    text = f"{mend.WORDS[field]} {_number(field, value)}"
    if field == "map_flags":
        names = _flag_names(value)
        return f"{text} ({names})" if names else text
    if field == "max_entries" and value == mend.ring_size(trial.attr, trial.config.page_size):
        return f"{text} (a power of two, in whole pages)"
    return text


def _number(field: str, value: int) -> str:
    return f"{value:#x}" if field == "map_flags" else str(value)


def _flag_names(flags: int) -> str:
    from bpfctl.cost.mapline import FLAGS

    return "|".join(f"BPF_F_{name.upper()}" for name, bit in FLAGS.items() if flags & bit)


def _smaller(trial: Trial) -> str:
    from bpfctl.why import mend

    found = mend.largest(trial)
    if not found:
        return ""
    ((field, value),) = found.items()
    return f"{mend.WORDS[field]} can be {value} at most"


def _capability(trial: Trial) -> str:
    from bpfctl.why import mend

    missing = mend.capabilities(trial)
    if not missing:
        return ""
    names = [name for name, number in CAPS.items() if missing >> number & 1]
    if len(names) == len(CAPS):
        return "it takes all capabilities: --caps all"
    have = [name for name, number in CAPS.items() if trial.caps >> number & 1]
    said = ",".join(name.removeprefix("CAP_").lower() for name in [*have, *names])
    text = f"it takes {' and '.join(names)}: --caps {said}"
    if trial.config.unprivileged_bpf_disabled and not have:
        text += "; some types need none with 'bpfctl sim set unprivileged_bpf_disabled 0'"
    return text
