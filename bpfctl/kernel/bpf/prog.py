"""Programs: the objects, and what BPF_PROG_LOAD allocates and charges."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.idr import Ids
from bpfctl.kernel.bpf.insn import (
    CALL,
    INSN_BYTES,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    decode,
    encode,
)
from bpfctl.kernel.bpf.jit import image_bytes
from bpfctl.kernel.bpf.map_create import check_name
from bpfctl.kernel.bpf.prog_check import Program, check_attr, verify
from bpfctl.kernel.bpf.prog_mem import ProgMemory
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.records import ProgRecord, Task
from bpfctl.uapi import BindMapAttr, ProgInfo, ProgLoadAttr

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

GPL_LICENSES = frozenset(
    (
        b"GPL",
        b"GPL v2",
        b"GPL and additional rights",
        b"Dual BSD/GPL",
        b"Dual MIT/GPL",
        b"Dual MPL/GPL",
    )
)
TAG_BYTES = 8
# Where x86-64 has modules: stands for the address of a function before it has one.
MODULES_VADDR = 0xFFFFFFFFC0000000


def tag(insns: bytes, digest: str) -> bytes:
    """Return the tag of a program: a digest of its instructions without map descriptors.

    ``insns`` as given to BPF_PROG_LOAD; ``digest`` a hashlib name. Mirrors
    bpf_prog_calc_tag().
    """
    words = bytearray(insns)
    for at in range(0, len(words), INSN_BYTES):
        src = words[at + 1] >> 4
        if words[at] != LD_IMM64 or src not in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
            continue
        words[at + 4 : at + 8] = bytes(4)
        follower = at + INSN_BYTES
        if words[follower : follower + 4] == bytes(4):
            words[follower + 4 : follower + 8] = bytes(4)
    return hashlib.new(digest, words, usedforsecurity=False).digest()[:TAG_BYTES]


def split_functions(insns: bytes, starts: list[int]) -> list[bytes]:
    """Return the functions of a program as the JIT gets them (jit_subprogs).

    ``starts`` are their first insns, none for a program of one function. A call says which
    function it goes to in its offset, and nothing in its immediate.
    """
    ends = [*starts[1:], len(insns) // INSN_BYTES]
    code = bytearray(insns)
    for at in range(0, len(code) if starts else 0, INSN_BYTES):
        insn = decode(code[at : at + INSN_BYTES])
        called = insn.code == CALL and insn.src == PSEUDO_CALL
        if not called and not (insn.code == LD_IMM64 and insn.src == PSEUDO_FUNC):
            continue
        number = starts.index(at // INSN_BYTES + insn.imm + 1)
        address = 1 if called else MODULES_VADDR
        code[at : at + INSN_BYTES] = encode(insn.code, insn.dst, insn.src, number, address)
        if not called:
            code[at + INSN_BYTES : at + 2 * INSN_BYTES] = encode(0, imm=MODULES_VADDR >> 32)
    return [
        bytes(code[start * INSN_BYTES : end * INSN_BYTES])
        for start, end in zip(starts, ends, strict=False)
    ]


class Progs:
    """Loaded programs, referenced by descriptors, pins and program arrays."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.records = kernel.storage.registry(ProgRecord)
        self.ids = Ids(kernel.storage, "prog_id", self.records)  # type: ignore[arg-type]

    def get(self, prog_id: int) -> ProgRecord:
        """Return a loaded program.

        :raises KernelError: ENOENT.
        """
        found = self.records.get(prog_id)
        if found is None:
            raise KernelError(E.NOENT, f"prog {prog_id}")
        return found

    def inc(self, prog_id: int) -> None:
        """Take a reference."""
        self.get(prog_id).refcnt += 1

    def put(self, prog_id: int) -> None:
        """Drop a reference; the last one frees the program and its maps' references."""
        rec = self.get(prog_id)
        rec.refcnt -= 1
        if rec.refcnt:
            return
        ProgMemory(self._kernel, rec).release()
        self.records.remove(prog_id)
        for map_id in map_ids(rec):
            self._kernel.maps.put(map_id, user=False)
        if rec.btf_id:
            self._kernel.btfs.put(rec.btf_id)

    def fdinfo(self, prog_id: int) -> dict[str, str]:
        """Return the lines of /proc/PID/fdinfo/FD."""
        rec = self.get(prog_id)
        return {
            "prog_type": str(rec.type),
            "prog_jited": str(int(rec.jited_len > 0)),
            "prog_tag": rec.tag.hex(),
            "memlock": str(rec.pages * self._kernel.config.page_size),
            "prog_id": str(rec.id),
        }

    def info(self, prog_id: int) -> ProgInfo:
        """Return struct bpf_prog_info."""
        rec = self.get(prog_id)
        return ProgInfo(
            rec.type,
            rec.id,
            rec.tag,
            rec.jited_len,
            len(rec.insns),
            rec.load_time,
            rec.uid,
            map_ids(rec),
            rec.name,
            bool(rec.gpl_compatible),
            rec.btf_id,
            rec.insns,
            bytes.fromhex(rec.priv.get("func_info", "")),
            bytes.fromhex(rec.priv.get("line_info", "")),
            self._function_tags(rec),
        )

    def _function_tags(self, rec: ProgRecord) -> tuple[bytes, ...]:
        starts = rec.priv.get("starts", ())
        digest = self._kernel.profile.tag_digest
        return tuple(tag(code, digest) for code in split_functions(rec.insns, list(starts)))


def map_ids(rec: ProgRecord) -> tuple[int, ...]:
    """Return the ids of the maps that a program uses, in order of first use."""
    return tuple(int(word) for word in rec.map_ids.split(",") if word)


def _check_tail_calls(kernel: Kernel, rec: ProgRecord) -> None:
    """Fix or test who owns the program arrays that are used (bpf_check_tail_call)."""
    for map_id in map_ids(rec):
        used = kernel.maps.get(map_id)
        if used.name == "prog_array":
            owner = {"type": rec.type, "jited": int(rec.jited_len > 0)}
            if used.rec.priv.setdefault("owner", owner) != owner:
                raise KernelError(E.INVAL, "another type of program owns the array")


def _check_kind_and_name(kernel: Kernel, attr: ProgLoadAttr) -> None:
    if not 0 < attr.prog_type < kernel.profile.prog_types:
        raise KernelError(E.INVAL, f"program type {attr.prog_type}")
    check_name(attr.prog_name.split(b"\0")[0])


def _jit(kernel: Kernel, rec: ProgRecord, memory: ProgMemory, program: Program) -> None:
    if not kernel.config.jit_enable:
        return
    functions = program.functions()
    memory.alloc_jit([end - start for start, end in functions], program.attr.line_info_cnt)
    progs = kernel.profile.progs
    rec.jited_len = sum(
        image_bytes(program.code, start, end, progs.jit_prologue, progs.jit_exit)
        for start, end in functions
    )


def _build(
    kernel: Kernel,
    task: Task,
    rec: ProgRecord,
    memory: ProgMemory,
    attr: ProgLoadAttr,
    attach_type: int,
) -> None:
    """Do all of bpf_prog_load() that may fail before the program gets its id."""
    nr_insns = len(attr.insns) // INSN_BYTES
    try:
        memory.alloc(nr_insns)
    except KernelError as exc:
        raise KernelError(kernel.profile.progs.alloc_errno, exc.detail, exc.hint) from exc
    memory.charge(task)
    _check_kind_and_name(kernel, attr)
    memory.borrow_for_verifier(nr_insns)
    program = verify(kernel, task, attr, attach_type)
    memory.grow(task, len(program.code))
    memory.alloc_info(attr.func_info_cnt, attr.line_info_cnt)
    memory.alloc_used_maps(len(program.map_ids))
    rec.insns = bytes(program.code.raw)
    rec.map_ids = ",".join(str(map_id) for map_id in program.map_ids)
    rec.btf_id = program.btf_id
    if len(program.starts) > 1:
        rec.priv["starts"] = program.starts
    _jit(kernel, rec, memory, program)
    _check_tail_calls(kernel, rec)


def prog_load(kernel: Kernel, task: Task, attr: ProgLoadAttr) -> int:
    """BPF_PROG_LOAD: check, charge, allocate, and return the descriptor.

    Nothing is charged or allocated any more when this raises.

    :raises KernelError: EPERM, E2BIG, EINVAL, EBADF, ENOMEM and what :func:`verify` says.
    """
    attach_type = check_attr(kernel, task, attr)
    rec = ProgRecord(
        id=kernel.progs.ids.peek(),
        type=attr.prog_type,
        name=attr.prog_name.split(b"\0")[0],
        tag=tag(attr.insns, kernel.profile.tag_digest),
        gpl_compatible=int(attr.license.split(b"\0")[0] in GPL_LICENSES),
        load_time=time.time_ns(),
        uid=task.uid,
        objcg=0 if kernel.config.cgroup_memory == "nobpf" else kernel.current_objcg(),
        refcnt=1,
        priv={
            "attach_type": attach_type,
            "nr_func_info": attr.func_info_cnt,
            "nr_line_info": attr.line_info_cnt,
            "func_info": attr.func_info.hex(),
            "line_info": attr.line_info.hex(),
        },
    )
    memory = ProgMemory(kernel, rec)
    try:
        _build(kernel, task, rec, memory, attr, attach_type)
    except BaseException:
        memory.release()
        raise
    return _publish(kernel, task, rec)


def _publish(kernel: Kernel, task: Task, rec: ProgRecord) -> int:
    rec.id = kernel.progs.ids.take()
    kernel.progs.records.add(rec)
    for map_id in map_ids(rec):
        kernel.maps.inc(map_id, user=False)
    if rec.btf_id:
        kernel.btfs.inc(rec.btf_id)
    try:
        return kernel.files.open(task, "prog", rec.id, FMODE_READ | FMODE_WRITE)
    except BaseException:
        kernel.progs.put(rec.id)
        raise


def prog_bind_map(kernel: Kernel, task: Task, attr: BindMapAttr) -> None:
    """BPF_PROG_BIND_MAP: make a program hold a map, once.

    :raises KernelError: EBADF; EINVAL for other kinds of objects; ENOMEM.
    """
    prog_file = kernel.files.get(task.pid, attr.prog_fd)
    map_file = kernel.files.get(task.pid, attr.map_fd)
    if prog_file.obj_kind != "prog" or map_file.obj_kind != "map":
        raise KernelError(E.INVAL, "not a program and a map")
    rec = kernel.progs.get(prog_file.obj_id)
    held = map_ids(rec)
    if map_file.obj_id in held:
        return
    ProgMemory(kernel, rec).replace_used_maps(len(held) + 1)
    rec.map_ids = ",".join(str(map_id) for map_id in (*held, map_file.obj_id))
    kernel.maps.inc(map_file.obj_id, user=False)
