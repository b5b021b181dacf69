"""Perf events for maps and programs: what they count, on which CPU, their rings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.trace.rings import Rings

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import SimObject

BPF_OUTPUT = "bpf_output"
RECORD_HEADER = 12
"""struct perf_event_header and the size of the raw data."""
_RING = "perf"


def raw_record(data: bytes) -> bytes:
    """Return the raw part of a sample: what was sent, padded so that its size field ends on 8."""
    size = -(-(len(data) + 4) // 8) * 8 - 4
    return data.ljust(size, b"\0")


def output(kernel: Kernel, event: SimObject, data: bytes) -> bool:
    """Put a sample into the ring of an event; False when it was lost, or there is no ring."""
    pages = event.priv.get("pages", 0)
    if not pages:
        return False
    raw = raw_record(data)
    limit = pages * kernel.config.page_size - RECORD_HEADER
    return Rings(kernel.storage).append(_RING, event.id, raw, limit, overwrite=False)


def take(kernel: Kernel, event_id: int) -> tuple[list[bytes], int]:
    """Read the samples that wait, and how many were lost since the last reading."""
    rings = Rings(kernel.storage)
    lost = rings.lost(_RING, event_id)
    taken = rings.take(_RING, event_id)
    rings.forget_lost(_RING, event_id)
    return taken, lost


def closed(kernel: Kernel, event_id: int) -> None:
    """Told that an event is gone."""
    Rings(kernel.storage).clear(_RING, event_id)
