"""What one object of an allocator costs: the common result of slab, page, vmalloc and percpu."""

from __future__ import annotations

from bpfctl.light import dataclass

# An accounted slab object, or 4 bytes of an accounted per-CPU chunk, has an owner pointer.
OBJCG_POINTER = 8


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory of one object.

    ``nbytes`` are charged by the byte (through the object stock), ``pages`` by the page;
    ``stat`` is the memory.stat field that moves, ``real`` the bytes of machine memory taken.
    """

    allocator: str
    nbytes: int
    pages: int
    stat: str
    real: int

    def charge(self, page_size: int) -> int:
        """Bytes that one object adds to its objcg."""
        return self.nbytes + self.pages * page_size
