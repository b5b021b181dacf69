"""A context that is nothing but bytes: arguments of tracepoints, of system call programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena


class PlainContext:
    """``content`` in the arena, readable and writable."""

    def __init__(self, mem: Arena, content: bytes) -> None:
        self.mem = mem
        self.size = len(content)
        self.ctx_region = mem.alloc(max(self.size, 8), "ctx")
        self.addr = self.ctx_region.start
        mem.write(self.addr, content)

    def content(self) -> bytes:
        """The bytes as they are now."""
        return self.mem.read(self.addr, self.size)

    def release(self) -> None:
        """Give the memory back."""
        self.mem.free(self.ctx_region)
