"""vmalloc: whole pages, charged one by one, mapped side by side."""

from __future__ import annotations

from bpfctl.kernel.mm.footprint import Footprint


def vmalloc_footprint(size: int, page_size: int) -> Footprint:
    """Cost of vmalloc(``size``). Guard page, page array and vm_struct are not accounted."""
    pages = -(-size // page_size)
    return Footprint("vmalloc", 0, pages, "vmalloc", pages * page_size)
