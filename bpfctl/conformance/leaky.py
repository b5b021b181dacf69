"""A map type that charges by hand, as up to 5.10, and forgets one way out."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.mm.gfp import GFP_ACCOUNT, GFP_USER
from bpfctl.kernel.mm.rlimit import cost_pages
from bpfctl.kernel.records import Task

TABLE_BYTES = 8192


def charged_by_hand(kernel: Kernel, task: Task, entries: int) -> None:
    """Make a map: charge, allocate, check. The check comes too late and forgets the charge."""
    pages = cost_pages(TABLE_BYTES, kernel.config.page_size)
    kernel.memlock.charge(task, task.uid, pages)
    mem = Mem(kernel.mm, "map", 1, 0)
    mem.kmalloc("table", TABLE_BYTES, GFP_USER)
    if entries % 2:
        mem.free_all()
        raise KernelError(E.INVAL)  # no kernel.memlock.uncharge(task.uid, pages)


def charged_by_the_allocator(kernel: Kernel, task: Task, entries: int) -> None:
    """Make a map: allocate, check. Freeing is all there is to remember."""
    mem = Mem(kernel.mm, "map", 1, kernel.memcg.objcg_of(task))
    mem.kmalloc("table", TABLE_BYTES, GFP_USER | GFP_ACCOUNT)
    if entries % 2:
        mem.free_all()
        raise KernelError(E.INVAL)


def main() -> None:
    """Let a program try the same bad attribute again and again on both kernels."""
    kernel = Kernel.in_memory("5.10")
    task = kernel.spawn("retry", memlock=64 << 10)
    for attempt in range(1, 100):
        try:
            charged_by_hand(kernel, task, entries=3)
        except KernelError as exc:
            if exc.code == E.PERM:
                print(f"5.10: attempt {attempt} fails with EPERM, not EINVAL")
                break
    locked = kernel.memlock.locked_pages(task.uid) * kernel.config.page_size
    print(f"5.10: {locked} bytes stay locked, {kernel.mm.in_use()} are in use")

    kernel = Kernel.in_memory("6.12")
    kernel.memcg.create("/box")
    task = kernel.spawn("retry", cgroup="/box")
    for _ in range(100):
        try:
            charged_by_the_allocator(kernel, task, entries=3)
        except KernelError as exc:
            if exc.code != E.INVAL:
                raise
    charged = kernel.memcg.current(kernel.memcg.lookup("/box"))
    print(f"6.12: after 100 attempts {charged} bytes are charged, {kernel.mm.in_use()} are in use")


if __name__ == "__main__":
    main()
