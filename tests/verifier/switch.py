"""The walking verifier in place of the check of a program's form."""

from __future__ import annotations

from typing import Any

from bpfctl.isa.insn import Code
from bpfctl.kernel.bpf.prog_check import Program
from bpfctl.kernel.bpf.verifier.check import check


def walking(kernel: Any, task: Any, attr: Any, attach_type: int) -> Program:
    verified = check(kernel, task, attr, attach_type)
    code = Code(attr.insns)
    for idx, insn in enumerate(verified.insns):
        code.replace(idx, insn)
    return Program(attr, attach_type, code, verified.map_ids, verified.starts, verified.btf_id)
