"""Small things that most programs may call, tail calls and locks (kernel/bpf/helpers.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, body, declare

declare(7, "get_prandom_u32")
declare(8, "get_smp_processor_id")
declare(12, "tail_call", Ret.VOID, (Arg.PTR_TO_CTX, Arg.CONST_MAP_PTR, Arg.ANYTHING))
declare(42, "get_numa_node_id")
declare(93, "spin_lock", Ret.VOID, (Arg.PTR_TO_SPIN_LOCK,))
declare(94, "spin_unlock", Ret.VOID, (Arg.PTR_TO_SPIN_LOCK,))
declare(
    153, "per_cpu_ptr", Ret.MEM_OR_BTF_ID_OR_NULL | Flag.RDONLY,
    (Arg.PTR_TO_PERCPU_BTF_ID, Arg.ANYTHING),
)  # fmt: skip
declare(154, "this_cpu_ptr", Ret.MEM_OR_BTF_ID | Flag.RDONLY, (Arg.PTR_TO_PERCPU_BTF_ID,))
declare(186, "get_retval")
declare(187, "set_retval", Ret.INTEGER, (Arg.ANYTHING,))
declare(
    194, "kptr_xchg", Ret.BTF_ID_OR_NULL,
    (Arg.KPTR_XCHG_DEST, Arg.PTR_TO_BTF_ID_OR_NULL | Flag.RELEASE), acquires=True,
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime


@body(7)
def get_prandom_u32(rt: Runtime) -> int:
    """Draw a random number from the machine's generator."""
    return rt.kernel.rng.u32()


@body(8)
def get_smp_processor_id(rt: Runtime) -> int:
    """Return the CPU."""
    return rt.cpu


@body(42)
def get_numa_node_id(rt: Runtime) -> int:
    """Return the node of the CPU: CPUs are spread over the nodes in blocks."""
    config = rt.kernel.config
    return rt.cpu * config.numa_nodes // config.possible_cpus


@body(93)
def spin_lock(rt: Runtime, lock: int) -> int:
    """Take a lock. Programs never run beside each other here, so nobody waits."""
    rt.mem.store(lock, 4, 1)
    return 0


@body(94)
def spin_unlock(rt: Runtime, lock: int) -> int:
    """Release a lock."""
    rt.mem.store(lock, 4, 0)
    return 0
