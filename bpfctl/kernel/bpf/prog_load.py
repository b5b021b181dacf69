"""BPF_PROG_LOAD: what a program goes through before it has an id (bpf_prog_load of syscall.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.isa.insn import INSN_BYTES, Code
from bpfctl.kernel.bpf.jit import image_bytes
from bpfctl.kernel.bpf.map_create import check_name
from bpfctl.kernel.bpf.modelled import refuse_what_cannot_run
from bpfctl.kernel.bpf.prog import map_ids
from bpfctl.kernel.bpf.prog_attr import check_attr
from bpfctl.kernel.bpf.prog_check import Program, verify
from bpfctl.kernel.bpf.prog_mem import ProgMemory
from bpfctl.kernel.bpf.prog_tag import tag
from bpfctl.kernel.bpf.progtypes import by_number
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.license import gpl_compatible
from bpfctl.kernel.records import ProgRecord, Task
from bpfctl.uapi import BindMapAttr, ProgLoadAttr

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel


def _check_tail_calls(kernel: Kernel, rec: ProgRecord) -> None:
    """Fix or test who owns the program arrays that are used (bpf_check_tail_call)."""
    for map_id in map_ids(rec):
        used = kernel.maps.get(map_id)
        if used.tail_calls and not used.prog_compatible(rec):
            raise KernelError(E.INVAL, "another type of program owns the array")


def _check_kind_and_name(kernel: Kernel, attr: ProgLoadAttr) -> None:
    prog_type = by_number(attr.prog_type)
    known = 0 < attr.prog_type < kernel.profile.prog_types
    if not known or (prog_type is not None and not prog_type.built_in):
        raise KernelError(E.INVAL, f"program type {attr.prog_type}")
    check_name(attr.prog_name.split(b"\0")[0])


def _jit(kernel: Kernel, rec: ProgRecord, memory: ProgMemory, program: Program) -> None:
    if not kernel.config.jit_enable:
        return
    program = program.shown()
    functions = program.functions()
    memory.alloc_jit([end - start for start, end in functions], program.attr.line_info_cnt)
    progs = kernel.profile.progs
    rec.jited_len = sum(
        image_bytes(program.code, start, end, progs.jit_prologue, progs.jit_exit)
        for start, end in functions
    )


def _verify(kernel: Kernel, task: Task, attr: ProgLoadAttr, attach_type: int) -> Program:
    """Walk the program as the kernel's verifier does; where that is not modelled, check its form.

    :raises KernelError: why it is refused; the words are in ``attr.log``.
    """
    from bpfctl.kernel.bpf.verifier.check import check, unmodelled

    if unmodelled(attr):
        return verify(kernel, task, attr, attach_type)
    verified = check(kernel, task, attr, attach_type)
    code = Code(attr.insns)
    for index in code.special:
        if code[index] != verified.insns[index]:
            code.replace(index, verified.insns[index])
            code.replace(index + 1, verified.insns[index + 1])
    return Program(
        attr, attach_type, code, verified.map_ids, verified.starts, verified.btf_id, verified
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
    program = _verify(kernel, task, attr, attach_type)
    if kernel.refuses_unmodelled:
        refuse_what_cannot_run(attr.insns)
    memory.grow(task, len(program.code))
    memory.alloc_info(attr.func_info_cnt, attr.line_info_cnt)
    memory.alloc_used_maps(len(program.map_ids))
    rec.insns = bytes(program.code.raw)
    rec.map_ids = ",".join(str(map_id) for map_id in program.map_ids)
    rec.btf_id = program.btf_id
    if len(program.starts) > 1:
        rec.priv["starts"] = program.starts
    if program.verified is not None:
        rec.priv["verified"] = 1
        from bpfctl.kernel.bpf.prog_xlated import keep

        memory.grow(task, len(keep(rec, program.verified)) // INSN_BYTES)
    _jit(kernel, rec, memory, program)
    _check_tail_calls(kernel, rec)


def load(kernel: Kernel, task: Task, attr: ProgLoadAttr) -> int:
    """Check, charge and allocate a program, and return its descriptor.

    Nothing is charged or allocated any more when this raises.

    :raises KernelError: EPERM, E2BIG, EINVAL, EBADF, ENOMEM and what :func:`verify` says.
    """
    attach_type = check_attr(kernel, task, attr)
    rec = ProgRecord(
        id=kernel.progs.ids.peek(),
        type=attr.prog_type,
        name=attr.prog_name.split(b"\0")[0],
        tag=tag(attr.insns, kernel.profile.tag_digest),
        gpl_compatible=int(gpl_compatible(attr.license)),
        load_time=kernel.clock.wall(),
        uid=task.uid,
        objcg=0 if kernel.config.cgroup_memory == "nobpf" else kernel.current_objcg(),
        refcnt=1,
        priv={
            "attach_type": attach_type,
            "attach_btf_id": attr.attach_btf_id,
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
