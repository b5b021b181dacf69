"""Packets on devices: XDP, taps, tc, transmission (net/core/dev.c, drivers/net/veth.c).

A packet that comes in passes the native XDP program, the generic one, the packet sockets and the
programs at the ingress; one that goes out the programs at the egress and the packet sockets.
Everything happens in the command that caused it, with the packet as bytes between the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bpfctl.kernel.attach.state import AttachState
from bpfctl.kernel.attach.tcx import EGRESS, INGRESS
from bpfctl.kernel.attach.tcx import hook_of as tcx_hook
from bpfctl.kernel.attach.xdp import DRV, SKB, XdpDevice
from bpfctl.kernel.bpf.vm.vm import Vm
from bpfctl.kernel.net.device import NetDevice, net_device
from bpfctl.kernel.net.skb import Skb
from bpfctl.kernel.net.xdp_path import XdpPath
from bpfctl.kernel.records import SimObject

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST, PACKET_OUTGOING = range(5)
TC_ACT_UNSPEC, TC_ACT_OK, TC_ACT_SHOT, TC_ACT_REDIRECT = -1, 0, 2, 7
TCX_NEXT, TCX_PASS, TCX_DROP, TCX_REDIRECT = TC_ACT_UNSPEC, TC_ACT_OK, TC_ACT_SHOT, TC_ACT_REDIRECT
TC_WORDS = {-1: "next", 0: "pass", 2: "drop", 7: "redirect"}
F_INGRESS = 1
XMIT_RECURSION_LIMIT = 8
ETH_HLEN = 14
VLAN_HLEN = 4


class Seen(NamedTuple):
    """A packet as a packet socket sees it: on which device, the frame, its packet type."""

    ifindex: int
    frame: bytes
    pkt_type: int


Tap = Callable[[Seen], None]


class Net:
    """The devices of a machine at work. ``taps`` are told of every packet in and out."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.taps: list[Tap] = []
        self.tally: dict[str, int] = {}
        self.xdp = XdpPath(self)
        self._depth = 0

    # --- devices -----------------------------------------------------------

    def device(self, ifindex: int) -> NetDevice | None:
        """Return a device by index."""
        return net_device(self.kernel, ifindex)

    def peer(self, device: NetDevice) -> NetDevice | None:
        """Return the other end of a veth pair; lo is its own."""
        if device.loopback:
            return device
        if not device.peer:
            return None
        for found in self.kernel.objects.records.find(kind="netdev", name=device.peer):
            return net_device(self.kernel, int(found.priv["ifindex"]))
        return None

    def did(self, what: str) -> None:
        """Count something that a program decided, such as ``xdp_drop``."""
        self.tally[what] = self.tally.get(what, 0) + 1

    def count(self, device: NetDevice, what: str, nbytes: int = 0) -> None:
        """Add to a device's counters: ``rx``, ``tx`` packets and bytes, or drops."""
        record = self._record(device)
        stats = record.priv.setdefault("stats", {})
        stats[f"{what}_packets"] = stats.get(f"{what}_packets", 0) + 1
        if nbytes:
            stats[f"{what}_bytes"] = stats.get(f"{what}_bytes", 0) + nbytes

    def _record(self, device: NetDevice) -> SimObject:
        found = self.kernel.objects.netdev(device.ifindex)
        assert found is not None
        return found

    def may_forward(self, device: NetDevice, length: int) -> bool:
        """Tell whether a device takes a redirected frame of ``length`` bytes (xdp_ok_fwd_dev)."""
        return device.up and length <= device.mtu + ETH_HLEN + VLAN_HLEN

    # --- out -----------------------------------------------------------------

    def send(self, device: NetDevice, frame: bytes) -> None:
        """Queue a frame on a device, as a socket does (__dev_queue_xmit)."""
        if self._depth >= XMIT_RECURSION_LIMIT:
            self.count(device, "tx_dropped")
            return
        self._depth += 1
        try:
            passed = self._tc(device, frame, EGRESS)
            if passed is not None:
                self.xmit(device, passed)
        finally:
            self._depth -= 1

    def xmit(self, device: NetDevice, frame: bytes, taps: bool = True) -> None:
        """Put a frame on the wire of a device (dev_hard_start_xmit)."""
        if not device.up:
            self.count(device, "tx_dropped")
            return
        if taps:
            self._tap(device, frame, PACKET_OUTGOING)
        self.count(device, "tx", len(frame))
        other = self.peer(device)
        if other is not None:
            self.receive(other, frame)

    # --- in --------------------------------------------------------------------

    def receive(self, device: NetDevice, frame: bytes, queue: int = 0) -> None:
        """Take in a frame that arrives at a device: its XDP programs see it first."""
        if not device.up:
            self.count(device, "rx_dropped")
            return
        self.count(device, "rx", len(frame))
        if self._depth >= XMIT_RECURSION_LIMIT:
            return
        self._depth += 1
        try:
            for mode in (DRV, SKB):
                passed = self.xdp.run(device, frame, queue, mode)
                if passed is None:
                    return
                frame = passed
            self.netif_receive(device, frame)
        finally:
            self._depth -= 1

    def netif_receive(self, device: NetDevice, frame: bytes) -> None:
        """Take a frame up the stack, behind XDP (__netif_receive_skb_core)."""
        self._tap(device, frame, self._pkt_type(device, frame))
        self._tc(device, frame, INGRESS)

    @staticmethod
    def _pkt_type(device: NetDevice, frame: bytes) -> int:
        target = frame[:6]
        if target == device.broadcast and target != device.address:
            return PACKET_BROADCAST
        if target[:1] and target[0] & 1:
            return PACKET_MULTICAST
        return PACKET_HOST if target == device.address else PACKET_OTHERHOST

    def _tap(self, device: NetDevice, frame: bytes, pkt_type: int) -> None:
        for tap in self.taps:
            tap(Seen(device.ifindex, frame, pkt_type))

    # --- tc ----------------------------------------------------------------------

    def _tc(self, device: NetDevice, frame: bytes, attach_type: int) -> bytes | None:
        """Run the programs at an end of a device; return the frame that goes on, or None."""
        rows = self.kernel.part(AttachState).points.at(tcx_hook(attach_type), device.ifindex)
        if not rows:
            return frame
        kernel = self.kernel
        skb = Skb(kernel.part(Vm).arena, frame, kernel.profile.runtime.skb_ctx)
        try:
            skb.ifindex = device.ifindex
            skb.eth_type_trans(device.address, device.broadcast)
            skb.push(ETH_HLEN)
            skb.direct = True
            verdict, target = TCX_NEXT, None
            for row in rows:
                skb.sync()
                r0, state = kernel.part(Vm).run_state(row.prog_id, skb, kernel.ctx.cpu)
                verdict = _signed(r0)
                if verdict != TCX_NEXT:
                    target = state.get("redirect")
                    break
            frame = skb.frame()
        finally:
            skb.release()
        end = "ingress" if attach_type == INGRESS else "egress"
        self.did(f"tc_{end}_{TC_WORDS.get(verdict, 'other')}")
        if verdict == TCX_REDIRECT and target is not None:
            self._redirect(target[1], target[2], frame)
            return None
        if verdict in (TCX_DROP, TCX_REDIRECT):
            self.count(device, "rx_dropped" if attach_type == INGRESS else "tx_dropped")
            return None
        return frame

    def _redirect(self, ifindex: int, flags: int, frame: bytes) -> None:
        """Send a frame where a tc program said (skb_do_redirect)."""
        device = self.device(ifindex)
        if device is None or not device.up:
            return
        if flags & F_INGRESS:
            self.receive(device, frame)
        else:
            self.send(device, frame)

    def has_native(self, device: NetDevice) -> bool:
        """Tell whether a native XDP program is attached to a device."""
        return XdpDevice(self.kernel, self._record(device)).current(DRV) is not None


def _signed(r0: int) -> int:
    word = r0 & 0xFFFFFFFF
    return word - (1 << 32) if word >> 31 else word
