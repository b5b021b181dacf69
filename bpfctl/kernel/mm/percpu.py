"""The per-CPU allocator: one copy for each possible CPU."""

from __future__ import annotations

from bpfctl.kernel.mm.footprint import OBJCG_POINTER, Footprint

PCPU_MIN_ALLOC_SIZE = 4
PCPU_MIN_UNIT_SIZE = 32768


def percpu_footprint(size: int, cpus: int, owners_charged: bool) -> Footprint:
    """Cost of alloc_percpu(``size``): a copy for each CPU and an owner pointer per 4 bytes.

    The owner pointers are charged where the profile says so (``owners_charged``). Mirrors
    pcpu_memcg_pre_alloc_hook() / pcpu_obj_full_size().
    """
    unit = -(-size // PCPU_MIN_ALLOC_SIZE) * PCPU_MIN_ALLOC_SIZE
    owners = unit // PCPU_MIN_ALLOC_SIZE * OBJCG_POINTER if owners_charged else 0
    return Footprint("percpu", unit * cpus + owners, 0, "percpu", unit * cpus)
