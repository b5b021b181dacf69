"""struct bpf_nf_ctx: what netfilter programs see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.net.skb import Skb

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena

NFPROTO_IPV4, NFPROTO_IPV6 = 2, 10
_CTX_SIZE = 16
_STATE_SIZE = 48


class NfContext:
    """Pointers to the hook's state and to the packet."""

    def __init__(self, mem: Arena, skb: Skb, hook: int, family: int) -> None:
        self.mem = mem
        self.skb = skb
        self.ctx_region = mem.alloc(_CTX_SIZE, "ctx")
        self.addr = self.ctx_region.start
        self._state = mem.alloc(_STATE_SIZE, "mirror")
        mem.store(self._state.start, 1, hook)
        mem.store(self._state.start + 1, 1, family)
        mem.store(self.addr, 8, self._state.start)
        mem.store(self.addr + 8, 8, skb.addr)

    def release(self) -> None:
        """Give the memory back."""
        self.mem.free(self.ctx_region)
        self.mem.free(self._state)
