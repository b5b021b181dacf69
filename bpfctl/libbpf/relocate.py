"""Filling descriptors into the instructions of an object file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.isa import insn, patch

if TYPE_CHECKING:
    from bpfctl.libbpf.object_progs import ProgramSpec

NO_FD = -1


def relocate(spec: ProgramSpec, fds: dict[str, int], symbol_id: int = 0) -> bytes:
    """Return the instructions with map descriptors filled in.

    There is no kernel image behind symbols and functions of the kernel: ``symbol_id`` stands for
    the BTF id of any, 0 for their address. A map without descriptor gets -1, which the kernel
    refuses.
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
            if symbol_id:
                patch.set_src_reg(code, at, insn.PSEUDO_BTF_ID)
            patch.set_imm(code, at, symbol_id)
            patch.set_imm(code, at + 1, 0)
        else:
            patch.set_src_reg(code, at, insn.PSEUDO_KFUNC_CALL)
            patch.set_imm(code, at, symbol_id)
    return bytes(code)
