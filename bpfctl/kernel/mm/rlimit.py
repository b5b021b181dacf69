"""Accounting before 5.11: RLIMIT_MEMLOCK of the task against locked_vm of its user."""

from __future__ import annotations

from bpfctl.errors import E, KernelError, Refusal
from bpfctl.kernel.mm.page import page_align
from bpfctl.kernel.records import Task, User
from bpfctl.kernel.storage import Registry
from bpfctl.kernel.task import CAP_IPC_LOCK, capable
from bpfctl.uapi import U32_MAX


def cost_pages(cost: int, page_size: int) -> int:
    """Pages that a map of ``cost`` bytes is charged (bpf_map_charge_init).

    :raises KernelError: E2BIG from 4 GiB - 1 page on.
    """
    if cost >= U32_MAX - page_size:
        raise KernelError(E.BIG, f"cost of {cost} bytes")
    return page_align(cost, page_size) // page_size


class MemlockAccount:
    """locked_vm of every user; one counter for all maps, programs and other lockers of a uid."""

    def __init__(self, users: Registry[User], page_size: int) -> None:
        self.users = users
        self.page_size = page_size

    def user(self, uid: int) -> User:
        """Return the user, made on first sight."""
        found = self.users.get(uid)
        if found is None:
            found = User(uid)
            self.users.add(found)
        return found

    def locked_pages(self, uid: int) -> int:
        """Return what ``uid`` has locked, in pages."""
        found = self.users.get(uid)
        return found.locked_vm_pages if found else 0

    def charge(self, task: Task, uid: int, pages: int) -> None:
        """Add ``pages`` to ``uid``, held against the soft limit of ``task`` (bpf_charge_memlock).

        Root and capabilities are not exempt. A limit that is no multiple of a page counts for
        its whole pages only.

        :raises KernelError: EPERM past the limit; nothing is charged then.
        """
        user = self.user(uid)
        wanted = user.locked_vm_pages + pages
        if task.memlock_soft is not None and wanted > task.memlock_soft // self.page_size:
            raise KernelError(E.PERM, "RLIMIT_MEMLOCK", self._refusal(task, user, pages))
        user.locked_vm_pages = wanted

    def _refusal(self, task: Task, user: User, pages: int) -> Refusal:
        size, limit = self.page_size, task.memlock_soft or 0
        used = user.locked_vm_pages * size
        return Refusal("RLIMIT_MEMLOCK", str(user.uid), limit, used, pages * size)

    def uncharge(self, uid: int, pages: int) -> None:
        """Give ``pages`` of ``uid`` back."""
        self.user(uid).locked_vm_pages -= pages

    def pin(self, task: Task, nbytes: int) -> None:
        """Lock ``nbytes`` on the user's account for a subsystem that shares it with BPF.

        Perf rings, AF_XDP umems and io_uring buffers count against the same locked_vm.

        :raises KernelError: EPERM past RLIMIT_MEMLOCK.
        """
        pages = page_align(nbytes, self.page_size) // self.page_size
        self.charge(task, task.uid, pages)
        task.pinned_pages += pages

    def unpin(self, task: Task) -> None:
        """Give back all that :meth:`pin` locked for ``task``."""
        if task.pinned_pages:
            self.uncharge(task.uid, task.pinned_pages)
            task.pinned_pages = 0

    def mlock(self, task: Task, nbytes: int) -> None:
        """mlock(2): held against the same limit, but counted for each process on its own.

        :raises KernelError: EPERM with a limit of 0, ENOMEM past it; not with CAP_IPC_LOCK.
        """
        pages = page_align(nbytes, self.page_size) // self.page_size
        limit = task.memlock_soft
        if limit is not None and not capable(task, CAP_IPC_LOCK):
            if limit == 0:
                raise KernelError(E.PERM, "mlock")
            if task.mlocked_pages + pages > limit // self.page_size:
                raise KernelError(E.NOMEM, "mlock")
        task.mlocked_pages += pages
