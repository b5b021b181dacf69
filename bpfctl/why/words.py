"""What would have made a map, in the words of ``map create``."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl import plugins
from bpfctl.errors import E
from bpfctl.light import altered
from bpfctl.uapi import CAPS
from bpfctl.why import mend
from bpfctl.why.trial import Trial, at, elsewhere, known_to


def for_creation(trial: Trial, errno: int) -> str:
    """Return what would have made the map, "" if nothing simple."""
    kinds: dict[int, Callable[[Trial], str]] = {
        E.INVAL: _change, E.NOTSUPP: _change, E.BIG: _smaller, E.PERM: _capability,
    }  # fmt: skip
    found = kinds.get(errno)
    return found(trial) if found is not None else ""


def type_name(trial: Trial) -> str:
    """Return the word for the type of the map that was asked for."""

    return plugins.type_name(trial.attr.map_type) or f"type {trial.attr.map_type}"


def _change(trial: Trial) -> str:

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

    names = [
        kernel
        for kernel in elsewhere(trial)
        if known_to(altered(trial, config=at(trial.config, kernel)))
    ]
    first = f"; the first release here that has it is {names[0]}" if names else ""
    return f"Linux {trial.config.kernel} has no {name} maps{first}"


def _said(trial: Trial, field: str, value: int) -> str:

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

    found = mend.largest(trial)
    if not found:
        return ""
    ((field, value),) = found.items()
    return f"{mend.WORDS[field]} can be {value} at most"


def _capability(trial: Trial) -> str:

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
