"""The slab allocator (SLUB): kmalloc size classes and caches."""

from __future__ import annotations

from bisect import bisect_left

from bpfctl.kernel.mm.footprint import OBJCG_POINTER, Footprint
from bpfctl.kernel.mm.page import order_pages

KMALLOC_CLASSES = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192)
KMALLOC_MAX_CACHE_SIZE = KMALLOC_CLASSES[-1]
KMALLOC_MAX_SIZE = 4 << 20


def kmalloc_class(size: int) -> int:
    """Size in bytes of the kmalloc cache that serves ``size`` (at most 8192) bytes."""
    return KMALLOC_CLASSES[bisect_left(KMALLOC_CLASSES, size)]


def kmalloc_footprint(size: int, page_size: int) -> Footprint:
    """Cost of kmalloc(``size``): class + owner pointer, or whole pages above 8 KiB.

    kmalloc_large pages are counted in slab_unreclaimable too (6.1, 6.12: measured).
    """
    if size <= KMALLOC_MAX_CACHE_SIZE:
        served = kmalloc_class(size)
        return Footprint("kmalloc", served + OBJCG_POINTER, 0, "slab_unreclaimable", served)
    pages = order_pages(size, page_size)
    return Footprint("kmalloc_large", 0, pages, "slab_unreclaimable", pages * page_size)


def cache_footprint(object_size: int, reclaimable: bool = False) -> Footprint:
    """Cost of one object of a SLAB_ACCOUNT cache with objects of ``object_size`` bytes."""
    stat = "slab_reclaimable" if reclaimable else "slab_unreclaimable"
    return Footprint("kmem_cache", object_size + OBJCG_POINTER, 0, stat, object_size)
