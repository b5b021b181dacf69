"""What syscall programs ask: bpf(2) itself, BTF, symbols (kernel/bpf/syscall.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32
from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, args, body, declare, fixed
from bpfctl.kernel.trace import ksyms

_OUT = fixed(8, Flag.UNINIT | Flag.WRITE | Flag.ALIGNED)

declare(166, "sys_bpf", Ret.INTEGER, (Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE))
declare(
    167, "btf_find_by_name_kind", Ret.INTEGER,
    (Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING, Arg.ANYTHING),
)  # fmt: skip
declare(168, "sys_close", Ret.INTEGER, (Arg.ANYTHING,))
declare(
    179, "kallsyms_lookup_name", Ret.INTEGER,
    (Arg.PTR_TO_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING, _OUT),
    changes={
        "int_pointers": {
            "args": args(
                Arg.PTR_TO_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING, Arg.PTR_TO_LONG
            )
        }
    },
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime



@body(179)
def kallsyms_lookup_name(rt: Runtime, name: int, size: int, flags: int, result: int) -> int:
    """Return the address of a symbol: EINVAL, ENOENT."""
    raw = rt.mem.read(name, size & U32)
    if flags & U32 or len(raw) <= 1 or raw[-1]:
        return -E.INVAL
    found = ksyms.lookup(raw.split(b"\0")[0].decode("latin-1"))
    rt.mem.store(result, 8, found or 0)
    return 0 if found is not None else -E.NOENT


@body(168)
def sys_close(rt: Runtime, fd: int) -> int:
    """Close a descriptor of the task: EINVAL (not of a BPF object), EBADF."""
    if rt.task is None:
        return -E.INVAL
    rt.kernel.close(rt.task.pid, fd & U32)
    return 0


@body(167)
def btf_find_by_name_kind(rt: Runtime, name: int, size: int, kind: int, flags: int) -> int:
    """Return the id of a type of the kernel's BTF: EINVAL, ENOENT."""
    from bpfctl.btf.parse import parse_btf
    from bpfctl.kernel.vmlinux import vmlinux_btf

    raw = rt.mem.read(name, size & U32)
    if flags & U32 or len(raw) <= 1 or raw[-1]:
        return -E.INVAL
    wanted = raw.split(b"\0")[0].decode("latin-1")
    types = parse_btf(vmlinux_btf(rt.kernel.profile)).types
    for found in types:
        if found.kind == kind & U32 and getattr(found, "name", "") == wanted:
            return found.id
    return -E.NOENT
