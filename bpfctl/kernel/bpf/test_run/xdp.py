"""bpf_prog_test_run_xdp(): a frame on lo, with metadata, fragments and live frames."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.test_run.common import (
    ETH_HLEN,
    PAGE_SIZE,
    Test,
    bad,
    ctx_finish,
    ctx_init,
    data_finish,
    repeated,
    set_word,
    user_data,
    word,
)
from bpfctl.kernel.net.device import net_device
from bpfctl.kernel.net.xdp import HEADROOM, MAX_FRAGS, TAILROOM, XDP_MD_SIZE, XdpBuff
from bpfctl.uapi import BPF_F_TEST_XDP_LIVE_FRAMES, ProgRunResult

_DATA, _DATA_END, _DATA_META, _IFINDEX, _QUEUE, _EGRESS = range(0, 24, 4)
LIVE_BATCH_MAX = 256
LIVE_HEADROOM = 64
"""sizeof(struct xdp_page_head), in front of a live frame's room."""
RX_QUEUES = 1
MAP_ATTACH_TYPES = (33, 35)
"""xdp_devmap and xdp_cpumap."""


def run(test: Test) -> ProgRunResult:
    """Run an XDP program on the caller's frame.

    :raises KernelError: EINVAL, E2BIG, EMSGSIZE, ENODEV, ENOMEM, EFAULT.
    """
    attr, facts = test.attr, test.facts
    live = bool(attr.flags & BPF_F_TEST_XDP_LIVE_FRAMES)
    if test.prog.priv.get("attach_type") in MAP_ATTACH_TYPES:
        raise bad("a program of a devmap or cpumap")
    if not facts.xdp_ctx:
        return _old(test)
    if attr.flags & ~BPF_F_TEST_XDP_LIVE_FRAMES:
        raise bad(f"flags {attr.flags:#x}")
    headroom = HEADROOM
    if live:
        if attr.batch_size > LIVE_BATCH_MAX:
            raise KernelError(E.BIG, f"batch_size {attr.batch_size}")
        headroom += LIVE_HEADROOM
    elif attr.batch_size:
        raise bad("batch_size")
    size = attr.data_size_in
    if size < ETH_HLEN:
        raise bad(f"data_size_in {size}")
    ctx = ctx_init(attr, XDP_MD_SIZE)
    linear = size
    meta = 0
    if ctx is not None:
        meta = word(ctx, _DATA)
        end = word(ctx, _DATA_END)
        if word(ctx, _DATA_META) or end > size or meta > end:
            raise bad("context: data_meta, data_end or data")
        if live and (attr.data_out or attr.ctx_out):
            raise bad("live frames have no output")
        if _meta_invalid(test, meta) or meta > headroom - facts.xdp_frame:
            raise bad(f"metadata of {meta} bytes")
        linear = end
    linear = min(linear, PAGE_SIZE - headroom - TAILROOM)
    if linear and meta > linear:
        raise bad("data beyond data_end")
    content = user_data(attr, size)
    frags = _frags(content[linear:])
    ifindex, queue = _device(test, ctx)
    if live:
        return _live(test, content, meta)
    buff = XdpBuff(test.mem, content[:linear], meta, frags, facts.xdp_frame, facts.xdp_meta_max)
    buff.ifindex, buff.queue = ifindex, queue
    buff.sync()
    try:
        retval = repeated(test, buff)
        if ctx is not None:
            set_word(ctx, _DATA, buff.data - buff.data_meta)
            set_word(ctx, _DATA_END, buff.data_end - buff.data_meta)
            set_word(ctx, _DATA_META, 0)
        head = test.mem.read(buff.base + buff.data_meta, buff.data_end - buff.data_meta)
        behind = b"".join(bytes(frag) for frag in buff.frags)
        return ctx_finish(test, data_finish(test, head, retval, behind), ctx)
    finally:
        buff.release()


def _meta_invalid(test: Test, length: int) -> bool:
    return bool(length & 3) or length > test.facts.xdp_meta_max


def _frags(rest: bytes) -> list[bytearray]:
    frags = [bytearray(rest[at : at + PAGE_SIZE]) for at in range(0, len(rest), PAGE_SIZE)]
    if len(frags) > MAX_FRAGS:
        raise KernelError(E.NOMEM, "more fragments than a frame can have")
    return frags


def _device(test: Test, ctx: bytearray | None) -> tuple[int, int]:
    """Return the receiving device and queue (xdp_convert_md_to_buff)."""
    if ctx is None:
        return 1, 0
    if word(ctx, _EGRESS):
        raise bad("egress_ifindex")
    ifindex, queue = word(ctx, _IFINDEX), word(ctx, _QUEUE)
    if not ifindex:
        if queue:
            raise bad("rx_queue_index without a device")
        return 1, 0
    if not net_device(test.kernel, ifindex):
        raise KernelError(E.NODEV, f"ifindex {ifindex}")
    if queue >= RX_QUEUES:
        raise bad(f"rx_queue_index {queue}")
    return ifindex, queue


def _live(test: Test, content: bytes, meta: int) -> ProgRunResult:
    """Run on frames that go on through the stack; the result is always 0."""
    facts = test.facts
    for _ in range(test.attr.repeat or 1):
        buff = XdpBuff(test.mem, content, meta, [], facts.xdp_frame, facts.xdp_meta_max)
        try:
            test.run(buff)
        finally:
            buff.release()
    return data_finish(test, content, 0)


def _old(test: Test) -> ProgRunResult:
    """The runner before frames had a context: flags are not looked at."""
    attr = test.attr
    if attr.ctx_in is not None or attr.ctx_out:
        raise bad("no context before 5.15")
    size = attr.data_size_in
    room = PAGE_SIZE - HEADROOM - TAILROOM
    if size > room:
        raise KernelError(E.MSGSIZE, f"data_size_in {size}")
    content = user_data(attr, size)
    buff = XdpBuff(test.mem, content, 0, [], test.facts.xdp_frame, test.facts.xdp_meta_max)
    try:
        retval = repeated(test, buff)
        return data_finish(test, test.mem.read(buff.base + buff.data, buff.linear_len), retval)
    finally:
        buff.release()
