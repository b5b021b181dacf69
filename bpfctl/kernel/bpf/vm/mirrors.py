"""Addresses that stand for objects of the kernel: tasks, sockets, cgroups.

Nothing is known of the structs themselves, so what is there cannot be read: probe_read() of such
an address fails with EFAULT.
"""

from __future__ import annotations

from bpfctl.kernel.bpf.vm.arena import Arena, Region

MIRROR_BYTES = 64
NO_ACCESS = 0


class Mirrors:
    """The objects that programs hold pointers to."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._regions: dict[tuple[str, int], Region] = {}
        self._at: dict[int, tuple[str, int]] = {}

    def address(self, kind: str, number: int) -> int:
        """Return the address of an object."""
        found = self._regions.get((kind, number))
        if found is None:
            found = self._arena.alloc(MIRROR_BYTES, "mirror", NO_ACCESS)
            self._regions[kind, number] = found
            self._at[found.start] = (kind, number)
        return found.start

    def at(self, addr: int, kind: str) -> int | None:
        """Return the number of the object of ``kind`` at an address, None if there is none."""
        found = self._at.get(addr)
        return found[1] if found is not None and found[0] == kind else None
