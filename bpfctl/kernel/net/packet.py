"""The memory of one packet: a region of the arena with room in front of and behind the data.

Offsets inside the region stand for the kernel's pointers (``skb->head`` is offset 0), so the
packet can move to a larger region without changing one of them, as pskb_expand_head() does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena


class PacketBuffer:
    """A linear buffer: ``data`` .. ``tail`` is the packet, offsets in bytes from the start."""

    def __init__(self, mem: Arena, content: bytes, headroom: int, tailroom: int) -> None:
        self.mem = mem
        self.size = headroom + len(content) + tailroom
        self.region = mem.alloc(self.size, "packet")
        self.base = self.region.start
        self.data = headroom
        self.tail = headroom + len(content)
        mem.write(self.base + headroom, content)

    @property
    def len(self) -> int:
        """Bytes from data to tail."""
        return self.tail - self.data

    @property
    def addr(self) -> int:
        """Arena address of the first byte."""
        return self.base + self.data

    @property
    def end(self) -> int:
        """Arena address behind the last byte."""
        return self.base + self.tail

    def read(self, at: int, size: int) -> bytes:
        """Read ``size`` bytes at buffer offset ``at``."""
        return self.mem.read(self.base + at, size)

    def write(self, at: int, content: bytes) -> None:
        """Write at buffer offset ``at``."""
        self.mem.write(self.base + at, content)

    def bytes(self) -> bytes:
        """The packet."""
        return self.read(self.data, self.len)

    def expand(self, head: int, tail: int) -> int:
        """Move to a region with ``head`` more bytes in front and ``tail`` behind.

        :return: by how much every offset grew.
        """
        old = self.mem.read(self.base, self.size)
        self.mem.free(self.region)
        self.size += head + tail
        self.region = self.mem.alloc(self.size, "packet")
        self.base = self.region.start
        self.mem.write(self.base + head, old)
        self.data += head
        self.tail += head
        return head

    def release(self) -> None:
        """Give the memory back."""
        self.mem.free(self.region)
