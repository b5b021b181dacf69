"""What BPF_PROG_LOAD refuses in the form of the instructions.

The form is what bpf_check() of kernel/bpf/verifier.c establishes before it follows values: valid
opcodes, maps that exist, functions that end, no unreachable code. :func:`verify` is where a
verifier that follows values, and rewrites, takes over.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.isa.insn import (
    BY_INDEX,
    CALL,
    EXIT,
    JA,
    JA32,
    LD_IMM64,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    VALUES,
    Code,
    Insn,
    encode,
    falls_through,
    jump_offset,
)
from bpfctl.isa.opcodes import known_opcodes
from bpfctl.kernel.bpf.prog_attr import can_sleep
from bpfctl.kernel.bpf.progtypes import by_number
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.records import Task
from bpfctl.kernel.task import bpf_capable
from bpfctl.uapi import BPF_F_SLEEPABLE, PROG_TYPE_NUMBER, ProgLoadAttr

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.verifier.result import VerifiedProgram
    from bpfctl.kernel.kernel import Kernel

MAX_USED_MAPS = 64
BPF_MAX_SUBPROGS = 256
BPF_MAX_VAR_OFF = 1 << 29
BTF_MAX_TYPE = 0xFFFFF


@dataclass(slots=True)
class Program:
    """A program on its way in: what the checks have found out so far.

    ``starts`` are the first insns of its functions, the main one (0) included; ``map_ids`` the
    maps it uses, in order of first use; ``verified`` what the walking verifier says of it.
    """

    attr: ProgLoadAttr
    attach_type: int
    code: Code
    map_ids: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    btf_id: int = 0
    verified: VerifiedProgram | None = None

    def shown(self) -> Program:
        """Return the program as the kernel rewrote it, which is what the JIT translates."""
        if self.verified is None:
            return self
        insns = b"".join(encode(*insn) for insn in self.verified.xlated)
        return Program(self.attr, self.attach_type, Code(insns), starts=self.verified.xlated_starts)

    def functions(self) -> list[tuple[int, int]]:
        """Return the bounds of each function: first insn, and one past the last."""
        return list(zip(self.starts, [*self.starts[1:], len(self.code)], strict=True))


def verify(kernel: Kernel, task: Task, attr: ProgLoadAttr, attach_type: int) -> Program:
    """Check the form of a program and return it as the kernel keeps it (bpf_check).

    Map descriptors are replaced by map ids. Values are not followed and nothing is rewritten,
    so the program stays as long as it was; a caller copes with one that grew.

    :raises KernelError: EINVAL, EBADF, E2BIG, EPERM, EBUSY.
    """
    program = Program(attr, attach_type, Code(attr.insns))
    _check_type(program, kernel.profile.name)
    _find_functions(program, bpf_capable(task))
    _check_functions(program)
    program.btf_id = _check_info(kernel, task, program)
    _resolve_maps(kernel, task, program)
    _check_flow(program, bpf_capable(task))
    _check_calls(program, kernel.profile.progs.nr_helpers)
    return program


def _check_type(program: Program, profile: str) -> None:
    attr = program.attr
    sleepable = bool(attr.prog_flags & BPF_F_SLEEPABLE)
    if attr.prog_type == PROG_TYPE_NUMBER["syscall"] and not sleepable:
        raise KernelError(E.INVAL, "syscall programs sleep")
    if sleepable and not can_sleep(attr.prog_type, program.attach_type, prog_rules(profile).traits):
        raise KernelError(E.INVAL, "BPF_F_SLEEPABLE")
    prog_type = by_number(attr.prog_type)
    if prog_type is not None and prog_type.attach_btf and not attr.attach_btf_id:
        struct_ops = attr.prog_type == PROG_TYPE_NUMBER["struct_ops"]
        raise KernelError(E.NOTSUPP if struct_ops else E.INVAL, "no attach_btf_id")


# --- functions -----------------------------------------------------------------


def _find_functions(program: Program, privileged: bool) -> None:
    """Collect the targets of bpf-to-bpf calls (add_subprog_and_kfunc)."""
    found = {0}
    for index, insn in program.code.special.items():
        called = insn.code == CALL and insn.src == PSEUDO_CALL
        if not called and not (insn.code == LD_IMM64 and insn.src == PSEUDO_FUNC):
            continue
        if not privileged:
            raise KernelError(E.PERM, "calls to other functions")
        target = index + insn.imm + 1
        if not 0 <= target < len(program.code):
            raise KernelError(E.INVAL, f"call to insn {target}")
        found.add(target)
        if len(found) > BPF_MAX_SUBPROGS:
            raise KernelError(E.BIG, "too many subprograms")
    program.starts = sorted(found)


def _check_functions(program: Program) -> None:
    """Jumps stay inside their function, and it ends in exit or a jump (check_subprogs)."""
    code = program.code
    for _, end in program.functions():
        if code.opcodes[end - 1] not in (EXIT, JA, JA32):
            raise KernelError(E.INVAL, "last insn is not an exit or jmp")
    for index, insn in code.special.items():
        offset = jump_offset(insn)
        if offset is None:
            continue
        function = bisect_right(program.starts, index)
        target = index + offset + 1
        same = 0 <= target < len(code) and bisect_right(program.starts, target) == function
        if not same:
            raise KernelError(E.INVAL, f"jump out of range from insn {index}")


def _check_info(kernel: Kernel, task: Task, program: Program) -> int:
    """Test func_info and line_info and return the BTF id, 0 without (check_btf_info).

    :raises KernelError: EBADF, EINVAL.
    """
    attr = program.attr
    if not (attr.func_info_cnt or attr.line_info_cnt):
        return 0
    file = kernel.files.get(task.pid, attr.prog_btf_fd)
    if file.obj_kind != "btf":
        raise KernelError(E.INVAL, f"fd {attr.prog_btf_fd} is not BTF")
    if attr.func_info_cnt and attr.func_info_cnt != len(program.starts):
        raise KernelError(E.INVAL, "func_info does not match the functions")
    if attr.line_info_cnt and attr.line_info_cnt < len(program.starts):
        raise KernelError(E.INVAL, "a function without line_info")
    return file.obj_id


# --- maps ----------------------------------------------------------------------


def _resolve_maps(kernel: Kernel, task: Task, program: Program) -> None:
    """Test opcodes and replace map descriptors by ids (resolve_pseudo_ldimm64)."""
    code = program.code
    opcodes = bytearray(code.opcodes)
    for index, insn in code.special.items():
        if insn.code == LD_IMM64:
            if insn.src:
                _resolve(kernel, task, program, index)
            _check_second_slot(code, index)
            opcodes[index + 1] = LD_IMM64
    unknown = set(opcodes) - known_opcodes(kernel.profile.progs.isa)
    if kernel.profile.progs.gotol:
        unknown.discard(JA32)
    if unknown:
        raise KernelError(E.INVAL, f"unknown opcode {min(unknown):02x}")


def _check_second_slot(code: Code, index: int) -> None:
    last = index + 1 == len(code)
    if last or code[index + 1][:4] != (0, 0, 0, 0) or code[index].off:
        raise KernelError(E.INVAL, "invalid bpf_ld_imm64 insn")


def _resolve(kernel: Kernel, task: Task, program: Program, index: int) -> None:
    code = program.code
    insn = code[index]
    if insn.src in (PSEUDO_BTF_ID, PSEUDO_FUNC):
        return
    if insn.src > kernel.profile.progs.last_pseudo_ld:
        raise KernelError(E.INVAL, "unrecognized bpf_ld_imm64 insn")
    map_id = _map_of_fd(kernel, task, _map_fd(program, insn))
    follower = code[index + 1] if index + 1 < len(code) else None
    if insn.src in VALUES:
        _check_direct_value(kernel, map_id, follower.imm & 0xFFFFFFFF if follower else 0)
    elif follower is not None:
        code.replace(index + 1, follower._replace(imm=0))
    if map_id not in program.map_ids:
        if len(program.map_ids) == MAX_USED_MAPS:
            raise KernelError(E.BIG, "used maps")
        program.map_ids.append(map_id)
        _check_cgroup_storage(kernel, program, map_id)
    kind = PSEUDO_MAP_VALUE if insn.src in VALUES else PSEUDO_MAP_FD
    code.replace(index, insn._replace(src=kind, imm=map_id))


def _map_fd(program: Program, insn: Insn) -> int:
    fds = program.attr.fd_array
    if insn.src not in BY_INDEX:
        return insn.imm
    if fds is None:
        raise KernelError(E.PROTO, "fd_idx without fd_array")
    if not 0 <= insn.imm < len(fds):
        raise KernelError(E.FAULT, "fd_array")
    return fds[insn.imm]


def _map_of_fd(kernel: Kernel, task: Task, fd: int) -> int:
    file = kernel.files.get(task.pid, fd)
    if file.obj_kind != "map":
        raise KernelError(E.INVAL, f"fd {fd} is not a map")
    return file.obj_id


def _check_direct_value(kernel: Kernel, map_id: int, offset: int) -> None:
    """Test that an address inside a map's value can be had (map_direct_value_addr)."""
    used = kernel.maps.get(map_id)
    if offset >= BPF_MAX_VAR_OFF:
        raise KernelError(E.INVAL, "direct value offset")
    if offset >= used.direct_value_size():
        raise KernelError(E.INVAL, "direct value offset")


def _check_cgroup_storage(kernel: Kernel, program: Program, map_id: int) -> None:
    added = kernel.maps.get(map_id)
    if not added.one_per_prog:
        return
    types = [kernel.maps.get(used).rec.type for used in program.map_ids]
    if types.count(added.rec.type) > 1:
        raise KernelError(E.BUSY, f"a second {added.name}")


# --- control flow ----------------------------------------------------------------


def _successors(insn: Insn, index: int) -> list[int]:
    if insn.code == LD_IMM64:
        return [index + 2]
    following = [index + 1] if falls_through(insn) else []
    offset = jump_offset(insn)
    return following if offset is None else [*following, index + 1 + offset]


def _check_flow(program: Program, privileged: bool) -> None:
    """Refuse unreachable code, and loops of unprivileged loaders (check_cfg)."""
    code = program.code
    turns = list(code.special)
    seen = bytearray(len(code))
    pending = list(program.starts)
    while pending:
        index = pending.pop()
        at = bisect_left(turns, index)
        if index >= len(code) or at == len(turns):
            raise KernelError(E.INVAL, "control leaves the program")
        if seen[index]:
            continue
        turn = turns[at]
        insn = code.special[turn]
        end = turn + 2 if insn.code == LD_IMM64 else turn + 1
        seen[index:end] = b"\1" * (end - index)
        pending += _successors(insn, turn)
    unreachable = seen.find(0)
    if unreachable >= 0:
        raise KernelError(E.INVAL, f"unreachable insn {unreachable}")
    if not privileged and any((jump_offset(insn) or 0) < 0 for insn in code.special.values()):
        raise KernelError(E.INVAL, "back-edge")


def _check_calls(program: Program, nr_helpers: int) -> None:
    for index, insn in program.code.special.items():
        if insn.code != CALL or insn.src in (PSEUDO_CALL, PSEUDO_KFUNC_CALL):
            continue
        if insn.src or not 0 < insn.imm < nr_helpers:
            raise KernelError(E.INVAL, f"invalid func unknown#{insn.imm} at insn {index}")
