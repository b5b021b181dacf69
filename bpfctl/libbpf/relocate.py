"""Filling descriptors into the instructions of an object file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.isa import insn, patch

if TYPE_CHECKING:
    from bpfctl.libbpf.object_progs import ProgramSpec

NO_FD = -1
# A call that no kernel has, in the place of a weak function that this one lacks.
POISON_KFUNC = 2002000000


def relocate(
    spec: ProgramSpec,
    fds: dict[str, int],
    symbol_id: int = 0,
    symbols: dict[str, int] | None = None,
) -> bytes:
    """Return the instructions with map descriptors filled in.

    ``symbols`` are the BTF ids of symbols and functions of the kernel. Without that, ``symbol_id``
    stands for any, 0 for their address; a weak function that is missing becomes a call that is
    refused when it is reached. A map without descriptor gets -1, which the kernel refuses.
    """
    code = bytearray(spec.insns)
    for reference in spec.references:
        at = reference.insn
        if reference.kind in ("map", "value"):
            value = reference.kind == "value"
            patch.set_src_reg(code, at, insn.PSEUDO_MAP_VALUE if value else insn.PSEUDO_MAP_FD)
            patch.set_imm(code, at, fds.get(reference.name, NO_FD))
            patch.set_imm(code, at + 1, reference.offset if value else 0)
        elif reference.kind == "ksym":
            number = symbol_id if symbols is None else symbols.get(reference.name, 0)
            if number:
                patch.set_src_reg(code, at, insn.PSEUDO_BTF_ID)
            patch.set_imm(code, at, number)
            patch.set_imm(code, at + 1, 0)
        elif symbols is not None and reference.name not in symbols:
            patch.set_src_reg(code, at, 0)
            patch.set_imm(code, at, POISON_KFUNC)
        else:
            patch.set_src_reg(code, at, insn.PSEUDO_KFUNC_CALL)
            patch.set_imm(code, at, symbol_id if symbols is None else symbols[reference.name])
    return bytes(code)
