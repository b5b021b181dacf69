"""Perf events: counters, samples, stacks (kernel/trace/bpf_trace.c, kernel/bpf/stackmap.c)."""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, btf, declare
from bpfctl.kernel.net.skb import Skb
from bpfctl.kernel.net.xdp import XdpBuff
from bpfctl.kernel.trace import ksyms
from bpfctl.kernel.trace import perf as events

_SAMPLE = (Arg.CONST_MAP_PTR, Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO)
_STACKID = (Arg.PTR_TO_CTX, Arg.CONST_MAP_PTR, Arg.ANYTHING)
_STACK = (Arg.PTR_TO_CTX, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING)

declare(22, "perf_event_read", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.ANYTHING), gpl_only=True)
declare(25, "perf_event_output", Ret.INTEGER, (Arg.PTR_TO_CTX, *_SAMPLE), gpl_only=True)
for _kind in ("skb", "xdp", "tp", "raw_tp", "netfilter"):
    declare(
        25, "perf_event_output", Ret.INTEGER, (Arg.PTR_TO_CTX, *_SAMPLE), variant=_kind,
        gpl_only=True,
    )  # fmt: skip
declare(27, "get_stackid", Ret.INTEGER, _STACKID, gpl_only=True)
declare(27, "get_stackid", Ret.INTEGER, _STACKID, variant="perf_event")
for _kind in ("tp", "raw_tp"):
    declare(27, "get_stackid", Ret.INTEGER, _STACKID, variant=_kind, gpl_only=True)
declare(
    55, "perf_event_read_value", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.ANYTHING, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE), gpl_only=True,
)  # fmt: skip
declare(
    56, "perf_prog_read_value", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE), gpl_only=True,
)  # fmt: skip
declare(67, "get_stack", Ret.INTEGER, _STACK, gpl_only=True)
for _kind in ("tp", "raw_tp", "perf_event"):
    declare(67, "get_stack", Ret.INTEGER, _STACK, variant=_kind, gpl_only=True)
declare(111, "skb_output", Ret.INTEGER, (btf("sk_buff"), *_SAMPLE), gpl_only=True)
declare(
    119, "read_branch_records", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_OR_NULL, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
    gpl_only=True,
)  # fmt: skip
declare(121, "xdp_output", Ret.INTEGER, (btf("xdp_buff"), *_SAMPLE), gpl_only=True)
declare(
    141, "get_task_stack", Ret.INTEGER,
    (btf("task_struct"), Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
)  # fmt: skip
declare(
    176, "get_branch_snapshot", Ret.INTEGER,
    (Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING), gpl_only=True,
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime
    from bpfctl.kernel.records import SimObject


INDEX_MASK = U32
CURRENT_CPU = U32
CTXLEN_SHIFT = 32
CTXLEN_MASK = 0xFFFFF << CTXLEN_SHIFT
SKIP_MASK = 0xFF
USER_STACK, USER_BUILD_ID = 0x100, 0x800
FRAME, BUILD_ID_FRAME = 8, 32
COUNTER_SIZE = 24


def _event(rt: Runtime, map_: MapHandle, flags: int) -> SimObject | int:
    """Return the event of a slot, or a negative errno."""
    index = flags & INDEX_MASK
    if index == CURRENT_CPU:
        index = rt.cpu
    if index >= map_.rec.max_entries:
        return -E.BIG
    cell = map_.map.cells.get(index.to_bytes(4, "little"))
    if cell is None:
        return -E.NOENT
    return rt.kernel.objects.get(int.from_bytes(cell[0][:4], "little"))


def _context_bytes(rt: Runtime, count: int) -> bytes | None:
    """Return the first bytes of the packet, None when it is shorter."""
    packet = rt.ctx
    if isinstance(packet, Skb):
        return packet.read(0, count)
    if isinstance(packet, XdpBuff):
        found = packet.load(0, count)
        return found if isinstance(found, bytes) else None
    return b""


def send(rt: Runtime, map_: MapHandle, flags: int, data: bytes) -> int:
    """Put a sample into the ring of a slot's event (__bpf_perf_event_output)."""
    event = _event(rt, map_, flags)
    if isinstance(event, int):
        return event
    if event.priv.get("event", events.BPF_OUTPUT) != events.BPF_OUTPUT:
        return -E.INVAL
    if event.priv.get("cpu", 0) != rt.cpu:
        return -E.OPNOTSUPP
    return 0 if events.output(rt.kernel, event, data) else -E.NOSPC


@body(25)
def perf_event_output(
    rt: Runtime, ctx: int, map_: MapHandle, flags: int, data: int, size: int
) -> int:
    """Send a sample, with the beginning of the packet behind it if asked for."""
    carries = isinstance(rt.ctx, Skb | XdpBuff)
    if flags & ~(INDEX_MASK | (CTXLEN_MASK if carries else 0)):
        return -E.INVAL
    behind = _context_bytes(rt, (flags & CTXLEN_MASK) >> CTXLEN_SHIFT)
    if behind is None:
        return -E.FAULT
    return send(rt, map_, flags, rt.mem.read(data, size) + behind)


def _counter(rt: Runtime, map_: MapHandle, flags: int) -> tuple[int, int] | int:
    """Return value and time of a counter, or a negative errno (get_map_perf_counter)."""
    if flags & ~INDEX_MASK:
        return -E.INVAL
    event = _event(rt, map_, flags)
    if isinstance(event, int):
        return event
    if event.priv.get("cpu", 0) != rt.cpu:
        return -E.INVAL
    return event.priv.get("count", 0), rt.kernel.clock.ns - event.priv.get("since", 0)


@body(22)
def perf_event_read(rt: Runtime, map_: MapHandle, flags: int) -> int:
    """Return a counter's value, or a negative errno."""
    found = _counter(rt, map_, flags)
    return found if isinstance(found, int) else found[0]


@body(55)
def perf_event_read_value(rt: Runtime, map_: MapHandle, flags: int, buf: int, size: int) -> int:
    """Copy value, time enabled and time running of a counter."""
    found = _counter(rt, map_, flags) if size == COUNTER_SIZE else -E.INVAL
    if isinstance(found, int):
        rt.mem.write(buf, bytes(size))
        return found
    value, time = found
    rt.mem.write(buf, pack("<QQQ", value, time, time))
    return 0


def _chain(rt: Runtime, user: bool) -> list[int]:
    if user:
        return ksyms.user_stack()
    return ksyms.test_run_stack(rt.prog, rt.kernel.profile.runtime.stack_frames)


@body(27)
def get_stackid(rt: Runtime, ctx: int, map_: MapHandle, flags: int) -> int:
    """Store the call chain in a map and return its id."""
    chain = _chain(rt, bool(flags & USER_STACK))
    stored: int = map_.map.get_stackid(chain, flags)  # type: ignore[attr-defined]
    return stored


@body(67)
def get_stack(rt: Runtime, ctx: int, buf: int, size: int, flags: int) -> int:
    """Copy the call chain; return its bytes."""
    size &= U32
    result = _stack(rt, size, flags)
    if isinstance(result, int):
        rt.mem.write(buf, bytes(size))
        return result
    rt.mem.write(buf, result.ljust(size, b"\0"))
    return len(result)


def _stack(rt: Runtime, size: int, flags: int) -> bytes | int:
    user, build_id = flags & USER_STACK, flags & USER_BUILD_ID
    if flags & ~(SKIP_MASK | USER_STACK | USER_BUILD_ID) or (build_id and not user):
        return -E.INVAL
    frame = BUILD_ID_FRAME if build_id else FRAME
    if size % frame:
        return -E.INVAL
    chain = _chain(rt, bool(user))[flags & SKIP_MASK :]
    if not chain:
        return -E.FAULT
    chain = chain[: size // frame]
    if build_id:
        return b"".join(pack("<i20sQ", 2, b"", ip) for ip in chain)
    return pack(f"<{len(chain)}Q", *chain)
