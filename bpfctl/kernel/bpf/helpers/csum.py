"""Checksums (net/core/filter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32, skb_of
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, declare
from bpfctl.kernel.net import checksum
from bpfctl.kernel.net.skb import CHECKSUM_COMPLETE, CHECKSUM_PARTIAL, Skb
from bpfctl.kernel.net.skb_ops import csum_level as change_level

_REPLACE = (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING, Arg.ANYTHING, Arg.ANYTHING)

declare(10, "l3_csum_replace", Ret.INTEGER, _REPLACE, changes_pkt=True)
declare(11, "l4_csum_replace", Ret.INTEGER, _REPLACE, changes_pkt=True)
declare(
    28, "csum_diff", Ret.INTEGER,
    (
        Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO,
        Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING,
    ),
    pkt_access=True,
)  # fmt: skip
declare(40, "csum_update", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING))
declare(135, "csum_level", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING))


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime

MAX_OFFSET = 0xFFFF
FIELD_MASK = 0xF
PSEUDO_HDR, MARK_MANGLED_0, MARK_ENFORCE, IPV6 = 0x10, 0x20, 0x40, 0x80
MANGLED_0 = 0xFFFF
MAX_DIFF = 512


def _field(skb: Skb, offset: int) -> int | None:
    """Return the checksum at ``offset``, None if there is none."""
    if offset > MAX_OFFSET or offset & 1 or skb.ensure_writable(offset + 2):
        return None
    return int.from_bytes(skb.buf.read(skb.buf.data + offset, 2), "little")


def _replaced(old: int, before: int, after: int, size: int) -> int | None:
    """Return the checksum after a change, None for arguments that mean nothing."""
    if size == 0:
        return None if before else checksum.csum_replace_by_diff(old, after & U32)
    if size == 2:
        return checksum.csum_replace2(old, before & 0xFFFF, after & 0xFFFF)
    if size == 4:
        return checksum.csum_replace4(old, before & U32, after & U32)
    return None


def _store(rt: Runtime, offset: int, value: int) -> int:
    skb_of(rt).buf.write(skb_of(rt).buf.data + offset, value.to_bytes(2, "little"))
    skb_of(rt).sync()
    return 0


@body(10)
def l3_csum_replace(
    rt: Runtime, ctx: int, offset: int, before: int, after: int, flags: int
) -> int:
    """Update an IP header's checksum: EINVAL, EFAULT."""
    offset &= U32
    if flags & ~FIELD_MASK:
        return -E.INVAL
    old = _field(skb_of(rt), offset)
    if old is None:
        return -E.FAULT
    new = _replaced(old, before, after, flags & FIELD_MASK)
    return -E.INVAL if new is None else _store(rt, offset, new)


@body(11)
def l4_csum_replace(
    rt: Runtime, ctx: int, offset: int, before: int, after: int, flags: int
) -> int:
    """Update a transport header's checksum: EINVAL, EFAULT."""
    skb = skb_of(rt)
    offset &= U32
    known = FIELD_MASK | PSEUDO_HDR | MARK_MANGLED_0 | MARK_ENFORCE
    if rt.kernel.profile.runtime.l4_csum_ipv6:
        known |= IPV6
    if flags & ~known:
        return -E.INVAL
    old = _field(skb, offset)
    if old is None:
        return -E.FAULT
    may_be_none = flags & MARK_MANGLED_0
    if may_be_none and not flags & MARK_ENFORCE and not old:
        return 0
    new = _replaced(old, before, after, flags & FIELD_MASK)
    if new is None:
        return -E.INVAL
    if skb.ip_summed == CHECKSUM_PARTIAL:
        new = old
    if may_be_none and not new:
        new = MANGLED_0
    return _store(rt, offset, new)


@body(28)
def csum_diff(rt: Runtime, before: int, old: int, after: int, new: int, seed: int) -> int:
    """Return the difference that replacing one block by another makes to a checksum."""
    runtime = rt.kernel.profile.runtime
    old, new, seed = old & U32, new & U32, seed & U32
    if runtime.csum_diff_limited and ((old | new) & 3 or old + new > MAX_DIFF):
        return -E.INVAL
    removed = rt.mem.read(before, old) if old else b""
    added = rt.mem.read(after, new) if new else b""
    if not runtime.csum_diff_folds:
        inverted = bytes(byte ^ 0xFF for byte in removed)
        return checksum.csum_partial(inverted + added, seed)
    if removed and added:
        total = checksum.csum_partial(added, seed)
        total = checksum.csum_sub(total, checksum.csum_partial(removed))
    elif removed:
        total = ~checksum.csum_partial(removed, ~seed & U32) & U32
    else:
        total = checksum.csum_partial(added, seed)
    return checksum.from32to16(total)


@body(40)
def csum_update(rt: Runtime, ctx: int, value: int) -> int:
    """Add to the checksum of a packet that has a complete one; 524 else."""
    skb = skb_of(rt)
    if skb.ip_summed != CHECKSUM_COMPLETE:
        return -E.NOTSUPP
    skb.csum = checksum.csum_add(skb.csum, value & U32)
    return skb.csum


@body(135)
def csum_level(rt: Runtime, ctx: int, what: int) -> int:
    """Ask or change how many checksums the device has verified."""
    return change_level(skb_of(rt), what)
