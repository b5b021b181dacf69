"""The context of flow dissectors: a frame and struct bpf_flow_keys (net/core/flow_dissector.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.net.packet import PacketBuffer
from bpfctl.kernel.net.skb import SK_BUFF_SIZE, Field

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena

FLOW_KEYS_SIZE = 56
FLAGS = 48
_NHOFF, _THOFF, _N_PROTO = 0, 2, 10
_FLOW_KEYS = 144


class FlowDissector:
    """__sk_buff of which only data, data_end and flow_keys mean anything."""

    def __init__(self, mem: Arena, frame: bytes) -> None:
        self.mem = mem
        self.buf = PacketBuffer(mem, frame, 0, 0)
        self.ctx_region = mem.alloc(SK_BUFF_SIZE, "ctx")
        self.addr = self.ctx_region.start
        self._keys = mem.alloc(FLOW_KEYS_SIZE, "mem")
        mem.store(self.addr + Field.DATA, 4, self.buf.addr)
        mem.store(self.addr + Field.DATA_END, 4, self.buf.end)
        mem.store(self.addr + _FLOW_KEYS, 8, self._keys.start)

    def begin(self, proto: bytes, nhoff: int, flags: int) -> None:
        """Set the keys as the kernel does before a program runs."""
        at = self._keys.start
        self.mem.write(at, bytes(FLOW_KEYS_SIZE))
        self.mem.write(at + _N_PROTO, proto)
        self.mem.store(at + _NHOFF, 2, nhoff)
        self.mem.store(at + _THOFF, 2, nhoff)
        self.mem.store(at + FLAGS, 4, flags)

    def clamp(self, nhoff: int, length: int) -> None:
        """Bring the offsets that a program set back into the frame."""
        at = self._keys.start
        network = min(max(self.mem.load(at + _NHOFF, 2), nhoff), length)
        self.mem.store(at + _NHOFF, 2, network)
        transport = min(max(self.mem.load(at + _THOFF, 2), network), length)
        self.mem.store(at + _THOFF, 2, transport)

    def keys(self) -> bytes:
        """The keys."""
        return self.mem.read(self._keys.start, FLOW_KEYS_SIZE)

    def release(self) -> None:
        """Give the memory back."""
        self.buf.release()
        self.mem.free(self.ctx_region)
        self.mem.free(self._keys)
