"""Ring buffers (kernel/bpf/ringbuf.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, body, declare

declare(
    130, "ringbuf_output", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
)  # fmt: skip
declare(
    131, "ringbuf_reserve", Ret.RINGBUF_MEM_OR_NULL,
    (Arg.CONST_MAP_PTR, Arg.CONST_ALLOC_SIZE_OR_ZERO, Arg.ANYTHING), acquires=True,
)  # fmt: skip
_DONE = (Arg.PTR_TO_RINGBUF_MEM | Flag.RELEASE, Arg.ANYTHING)
declare(132, "ringbuf_submit", Ret.VOID, _DONE)
declare(133, "ringbuf_discard", Ret.VOID, _DONE)
declare(134, "ringbuf_query", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.ANYTHING))


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime

U32 = 0xFFFFFFFF


class Reserved:
    """A record that a program fills in: where it is in the ring and in memory."""

    def __init__(self, map_: MapHandle, pos: int, region: Any) -> None:
        self.map_ = map_
        self.pos = pos
        self.region = region


def reserve(rt: Runtime, map_: MapHandle, size: int) -> Reserved | None:
    """Reserve a record and give it memory; None when the ring has no room."""
    pos = map_.map.reserve(size)  # type: ignore[attr-defined]
    if pos is None:
        return None
    region = rt.mem.alloc(max(size, 1), "mem")
    held = Reserved(map_, pos, region)
    rt.vm.reserved[region.start] = held
    return held


def commit(rt: Runtime, addr: int, flags: int, discard: bool) -> int:
    """Hand a reserved record over, or give it up."""
    held = rt.vm.reserved.pop(addr)
    ring = held.map_.map
    content = rt.mem.read(held.region.start, held.region.size)
    ring.write(held.pos, content[: ring.header(held.pos)[0]])
    if discard:
        ring.discard(held.pos, flags)
    else:
        ring.submit(held.pos, flags)
    rt.vm.retire(held.region)
    return 0


@body(130)
def ringbuf_output(rt: Runtime, map_: MapHandle, data: int, size: int, flags: int) -> int:
    """Copy a record into the ring: EINVAL, EAGAIN."""
    map_.map.output(rt.mem.read(data, size), flags)  # type: ignore[attr-defined]
    return 0


@body(131)
def ringbuf_reserve(rt: Runtime, map_: MapHandle, size: int, flags: int) -> int:
    """Reserve a record and return where to write it, 0 without room."""
    if flags:
        return 0
    held = reserve(rt, map_, size)
    return held.region.start if held is not None else 0


@body(132)
def ringbuf_submit(rt: Runtime, record: int, flags: int) -> int:
    """Hand a reserved record to the consumer."""
    return commit(rt, record, flags, discard=False)


@body(133)
def ringbuf_discard(rt: Runtime, record: int, flags: int) -> int:
    """Give a reserved record up."""
    return commit(rt, record, flags, discard=True)


@body(134)
def ringbuf_query(rt: Runtime, map_: MapHandle, flags: int) -> int:
    """Return bytes waiting, size or a position."""
    return int(map_.map.query(flags))  # type: ignore[attr-defined]
