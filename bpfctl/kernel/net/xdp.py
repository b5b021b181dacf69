"""struct xdp_buff: a frame in one page, with metadata in front and fragments behind.

Mirrors include/net/xdp.h and the xdp part of net/core/filter.c. Programs see struct xdp_md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena

PAGE_SIZE = 4096
HEADROOM = 256
ETH_HLEN = 14
TAILROOM = 320
"""SKB_DATA_ALIGN(sizeof(struct skb_shared_info))."""
MAX_LINEAR = PAGE_SIZE - HEADROOM - TAILROOM
MAX_FRAGS = 17
MAX_OFFSET = 0xFFFF

XDP_MD_SIZE = 24
_DATA, _DATA_END, _DATA_META, _IFINDEX, _QUEUE, _EGRESS = 0, 4, 8, 12, 16, 20


class XdpBuff:
    """One frame. ``data``, ``data_end`` and ``data_meta`` are offsets from the page's start.

    ``frame_size`` is sizeof(struct xdp_frame), which lives at the start of the page and which
    nothing may grow into; ``meta_max`` the largest metadata, in bytes.
    """

    def __init__(
        self,
        mem: Arena,
        content: bytes,
        meta: int = 0,
        frags: list[bytearray] | None = None,
        frame_size: int = 40,
        meta_max: int = 255,
        headroom: int = HEADROOM,
    ) -> None:
        self.mem = mem
        self.region = mem.alloc(PAGE_SIZE, "packet")
        self.base = self.region.start
        self.ctx_region = mem.alloc(XDP_MD_SIZE, "ctx")
        self.addr = self.ctx_region.start
        self.frame_size = frame_size
        self.meta_max = meta_max
        self.frags = frags or []
        self.has_frags = bool(self.frags)
        self.data_meta = headroom - meta
        self.data = headroom
        self.data_end = headroom - meta + len(content)
        mem.write(self.base + self.data_meta, content)
        self.ifindex = 1
        self.queue = 0
        self.egress_ifindex = 0
        self.sync()

    def sync(self) -> None:
        """Write the fields that programs see."""
        for offset, value in (
            (_DATA, self.base + self.data),
            (_DATA_END, self.base + self.data_end),
            (_DATA_META, self.base + self.data_meta),
            (_IFINDEX, self.ifindex),
            (_QUEUE, self.queue),
            (_EGRESS, self.egress_ifindex),
        ):
            self.mem.store(self.addr + offset, 4, value)

    def release(self) -> None:
        """Give the memory back."""
        self.mem.free(self.region)
        self.mem.free(self.ctx_region)

    @property
    def meta_len(self) -> int:
        """Bytes of metadata."""
        return self.data - self.data_meta

    @property
    def linear_len(self) -> int:
        """Bytes from data to data_end."""
        return self.data_end - self.data

    @property
    def frags_len(self) -> int:
        """Bytes in fragments."""
        return sum(map(len, self.frags))

    @property
    def len(self) -> int:
        """xdp_get_buff_len()."""
        return self.linear_len + self.frags_len

    def adjust_head(self, delta: int) -> int:
        """bpf_xdp_adjust_head: EINVAL outside of the room, 14 bytes must stay."""
        data = self.data + delta
        if data < self.frame_size + self.meta_len or data > self.data_end - ETH_HLEN:
            return -E.INVAL
        if self.meta_len:
            meta = self.mem.read(self.base + self.data_meta, self.meta_len)
            self.mem.write(self.base + self.data_meta + delta, meta)
        self.data_meta += delta
        self.data = data
        self.sync()
        return 0

    def adjust_meta(self, delta: int) -> int:
        """bpf_xdp_adjust_meta: EINVAL outside of the room, EACCES for a bad length."""
        meta = self.data_meta + delta
        if meta < self.frame_size or meta > self.data:
            return -E.INVAL
        if self.meta_invalid(self.data - meta):
            return -E.ACCES
        self.data_meta = meta
        self.sync()
        return 0

    def meta_invalid(self, length: int) -> bool:
        """xdp_metalen_invalid()."""
        return bool(length & 3) or length > self.meta_max

    def adjust_tail(self, delta: int) -> int:
        """bpf_xdp_adjust_tail: EINVAL beyond the room or below 14 bytes."""
        if self.has_frags:
            failed = self._shrink_frags(-delta) if delta < 0 else self._grow_frags(delta)
            self.sync()
            return failed
        end = self.data_end + delta
        if end > PAGE_SIZE - TAILROOM or end < self.data + ETH_HLEN:
            return -E.INVAL
        if delta > 0:
            self.mem.write(self.base + self.data_end, bytes(delta))
        self.data_end = end
        self.sync()
        return 0

    def _shrink_frags(self, count: int) -> int:
        if count > self.len - ETH_HLEN:
            return -E.INVAL
        while count and self.frags:
            last = self.frags[-1]
            cut = min(count, len(last))
            del last[len(last) - cut :]
            count -= cut
            if not last:
                self.frags.pop()
        if not self.frags:
            self.has_frags = False
            self.data_end -= count
        return 0

    def _grow_frags(self, count: int) -> int:
        last = self.frags[-1]
        if count > PAGE_SIZE - len(last):
            return -E.INVAL
        last.extend(bytes(count))
        return 0

    def load(self, offset: int, size: int) -> bytes | int:
        """Return ``size`` bytes at ``offset``, or a negative errno (bpf_xdp_pointer)."""
        failed = self._check_range(offset, size)
        if failed:
            return failed
        return self._whole()[offset : offset + size]

    def store(self, offset: int, content: bytes) -> int:
        """Overwrite bytes at ``offset``; 0 or a negative errno."""
        failed = self._check_range(offset, len(content))
        if failed:
            return failed
        linear = min(max(self.linear_len - offset, 0), len(content))
        self.mem.write(self.base + self.data + offset, content[:linear])
        at = max(offset - self.linear_len, 0)
        rest = content[linear:]
        for frag in self.frags:
            if not rest:
                break
            if at < len(frag):
                part = rest[: len(frag) - at]
                frag[at : at + len(part)] = part
                rest = rest[len(part) :]
            at = max(at - len(frag), 0)
        return 0

    def _check_range(self, offset: int, size: int) -> int:
        if offset > MAX_OFFSET or size > MAX_OFFSET:
            return -E.FAULT
        return -E.INVAL if offset + size > self.len else 0

    def _whole(self) -> bytes:
        linear = self.mem.read(self.base + self.data, self.linear_len)
        return linear + b"".join(bytes(frag) for frag in self.frags)
