"""Accounting before 5.11: RLIMIT_MEMLOCK of the task against locked_vm of its user."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.mm.page import page_align
from bpfctl.kernel.records import Task, User
from bpfctl.kernel.storage import Registry
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
            raise KernelError(E.PERM, "RLIMIT_MEMLOCK", hint=self._hint(task, user, pages))
        user.locked_vm_pages = wanted

    def _hint(self, task: Task, user: User, pages: int) -> str:
        size = self.page_size
        return (
            f"RLIMIT_MEMLOCK of {task.memlock_soft} bytes: user {user.uid} has "
            f"{user.locked_vm_pages * size} bytes locked, this asks for {pages * size} more; "
            f"--memlock {(user.locked_vm_pages + pages) * size} would suffice"
        )

    def uncharge(self, uid: int, pages: int) -> None:
        """Give ``pages`` of ``uid`` back."""
        self.user(uid).locked_vm_pages -= pages
