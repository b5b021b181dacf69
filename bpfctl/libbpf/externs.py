"""Externs of an object: kernel configuration (.kconfig) and kernel symbols (.ksyms)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from bpfctl.btf.types import INT_BOOL, INT_CHAR, Array, BtfType, Enum, Int, Kind, Var
from bpfctl.errors import E, KernelError
from bpfctl.libbpf.btf_fixup import KCONFIG

if TYPE_CHECKING:
    from bpfctl.btf.parse import Btf
    from bpfctl.libbpf.btf_fixup import Extern
    from bpfctl.libbpf.steps import Warn

_TRISTATE = {"n": 0, "y": 1, "m": 2}
_SIGNED = 1


def kconfig_data(
    size: int, externs: Iterable[Extern], btf: Btf, values: Mapping[str, str], warn: Warn
) -> bytes:
    """Return the contents of the .kconfig map: the value of every option, zero for weak ones.

    ``values`` are as in a .config file: ``y``, ``m``, ``n``, numbers, quoted strings.

    :raises KernelError: ESRCH: an option that is not weak has no value; EINVAL: not one of its
        type; ERANGE: a number too large for it.
    """
    data = bytearray(size)
    for extern in externs:
        if extern.section != KCONFIG:
            continue
        text = values.get(extern.name)
        if text is None:
            if extern.name.startswith("LINUX_") and not extern.name.startswith("LINUX_HAS_"):
                warn(f"extern (kcfg) '{extern.name}': unrecognized virtual extern")
                raise KernelError(E.INVAL, extern.name)
            if not extern.weak:
                warn(f"extern '{extern.name}' (strong): not resolved")
                raise KernelError(E.SRCH, extern.name)
            continue
        var = btf.type(extern.type_id)
        assert isinstance(var, Var)
        stored = _stored(extern, btf, btf.resolve(var.type), text, warn)
        data[extern.offset : extern.offset + len(stored)] = stored
    return bytes(data)


def _stored(extern: Extern, btf: Btf, found: BtfType, text: str, warn: Warn) -> bytes:
    if text in _TRISTATE:
        return _letter(extern, found, text, warn)
    if text.startswith('"'):
        if not isinstance(found, Array):
            _refuse(extern, text, "string", warn)
        assert isinstance(found, Array)
        return text[1:].rpartition('"')[0].encode()[: found.nelems - 1] + b"\0"
    try:
        number = int(text, 0)
    except ValueError:
        warn(f"extern (kcfg) '{extern.name}': value '{text}' isn't a valid integer")
        raise KernelError(E.INVAL, text) from None
    if not isinstance(found, Int) or found.encoding & (INT_BOOL | INT_CHAR):
        _refuse(extern, text, "integer", warn)
    assert isinstance(found, Int)
    bits = 8 * found.size
    low = -(1 << bits - 1) if found.encoding & _SIGNED else 0
    high = 1 << (bits - 1 if found.encoding & _SIGNED else bits)
    if not low <= number < high:
        warn(f"extern (kcfg) '{extern.name}': value '{number}' doesn't fit in {found.size} bytes")
        raise KernelError(E.RANGE, text)
    return (number & ((1 << bits) - 1)).to_bytes(found.size, "little")


def _letter(extern: Extern, found: BtfType, text: str, warn: Warn) -> bytes:
    if isinstance(found, Int) and found.encoding & INT_BOOL:
        if text == "m":
            _refuse(extern, text, "tristate", warn)
        return bytes([_TRISTATE[text]])
    if isinstance(found, Enum):
        return _TRISTATE[text].to_bytes(4, "little")
    if isinstance(found, Int) and found.size == 1:
        return text.encode()
    _refuse(extern, text, "y/n/m", warn)
    return b""


def _refuse(extern: Extern, text: str, what: str, warn: Warn) -> None:
    warn(f"extern (kcfg) '{extern.name}': value '{text}' implies {what} type")
    raise KernelError(E.INVAL, extern.name)


def resolve_ksyms(
    externs: Iterable[Extern], local: Btf, target: Btf, warn: Warn
) -> dict[str, int]:
    """Return the id of every typed symbol and kernel function among the kernel's types.

    Weak ones that the kernel does not have are left out; so are symbols without a type, whose
    addresses there are none of.

    :raises KernelError: ESRCH: the kernel does not have it.
    """
    found: dict[str, int] = {}
    for extern in externs:
        if extern.section == KCONFIG:
            continue
        declared = local.type(extern.type_id)
        kind = Kind.FUNC if declared.kind == Kind.FUNC else Kind.VAR
        if kind == Kind.VAR and isinstance(declared, Var) and extern.untyped:
            continue
        there = target.find(extern.name.partition("___")[0], kind)
        if there is not None:
            found[extern.name] = there.id
        elif not extern.weak:
            if kind == Kind.FUNC:
                warn(f"extern (func ksym) '{extern.name}': not found in kernel or module BTFs")
            else:
                warn(f"extern (var ksym) '{extern.name}': not found in kernel BTF")
            raise KernelError(E.SRCH, extern.name)
    return found
