"""The page allocator: powers of two of pages."""

from __future__ import annotations

from bpfctl.kernel.mm.footprint import Footprint

PAGE_ALLOC_COSTLY_ORDER = 3


def page_align(size: int, page_size: int) -> int:
    """Round ``size`` bytes up to whole pages (PAGE_ALIGN)."""
    return -(-size // page_size) * page_size


def order_pages(size: int, page_size: int) -> int:
    """Pages of the smallest order that holds ``size`` bytes (get_order)."""
    pages = max(1, -(-size // page_size))
    return 1 << (pages - 1).bit_length()


def page_footprint(nr_pages: int, page_size: int) -> Footprint:
    """Cost of ``nr_pages`` single pages (ring buffers, arenas): in memory.stat:kernel only."""
    return Footprint("page", 0, nr_pages, "", nr_pages * page_size)


def pagetable_footprint(page_size: int) -> Footprint:
    """Cost of one page table of a process."""
    return Footprint("pagetable", 0, 1, "pagetables", page_size)
