"""Frames through XDP programs: actions and redirects (net/core/filter.c, net/core/dev.c).

Native and generic mode differ in what a redirect reaches: a native frame goes to the target's
driver, which may not take it; a generic one is a packet of the stack and simply sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bpfctl.kernel.attach.state import AttachState
from bpfctl.kernel.attach.xdp import DRV, hook_of
from bpfctl.kernel.bpf.vm.vm import Vm
from bpfctl.kernel.net.device import NetDevice
from bpfctl.kernel.net.xdp import XdpBuff

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)
ACTIONS = {0: "aborted", 1: "drop", 2: "pass", 3: "tx", 4: "redirect"}
BROADCAST, EXCLUDE_INGRESS = 8, 16
DEV_MAPS = ("devmap", "devmap_hash")


class Wire(Protocol):
    """The devices as XDP needs them: :class:`~bpfctl.kernel.net.dev.Net`."""

    @property
    def kernel(self) -> Kernel: ...

    def device(self, ifindex: int) -> NetDevice | None: ...

    def peer(self, device: NetDevice) -> NetDevice | None: ...

    def has_native(self, device: NetDevice) -> bool: ...

    def may_forward(self, device: NetDevice, length: int) -> bool: ...

    def did(self, what: str) -> None: ...

    def count(self, device: NetDevice, what: str, nbytes: int = 0) -> None: ...

    def xmit(self, device: NetDevice, frame: bytes, taps: bool = True) -> None: ...

    def receive(self, device: NetDevice, frame: bytes, queue: int = 0) -> None: ...

    def netif_receive(self, device: NetDevice, frame: bytes) -> None: ...


class XdpPath:
    """What XDP does to the frames of a :class:`~bpfctl.kernel.net.dev.Net`."""

    def __init__(self, net: Wire) -> None:
        self._net = net
        self._kernel = net.kernel

    def run(self, device: NetDevice, frame: bytes, queue: int, mode: str) -> bytes | None:
        """Run the program of one mode; return the frame that goes on to the stack, or None."""
        rows = self._kernel.part(AttachState).points.at(hook_of(mode), device.ifindex)
        if not rows:
            return frame
        action, out, target = self._program(rows[0].prog_id, device, frame, queue)
        self._net.did(f"xdp_{ACTIONS.get(action, 'unknown')}")
        if action == XDP_PASS:
            return out
        if action == XDP_TX:
            self._tx(device, out, mode)
        elif action == XDP_REDIRECT and target is not None:
            self._redirect(device, out, mode, *target)
        else:
            self._net.count(device, "rx_dropped")
        return None

    def _program(
        self, prog_id: int, device: NetDevice, frame: bytes, queue: int = 0, egress: int = 0
    ) -> tuple[int, bytes, tuple[int, int, int] | None]:
        kernel = self._kernel
        facts = kernel.profile.runtime
        buff = XdpBuff(
            kernel.part(Vm).arena, frame, frame_size=facts.xdp_frame, meta_max=facts.xdp_meta_max
        )
        try:
            buff.ifindex, buff.queue, buff.egress_ifindex = device.ifindex, queue, egress
            buff.sync()
            r0, state = kernel.part(Vm).run_state(prog_id, buff, kernel.ctx.cpu)
            out = kernel.part(Vm).arena.read(buff.base + buff.data, buff.linear_len)
            return r0 & 0xFFFFFFFF, out, state.get("redirect")
        finally:
            buff.release()

    def _tx(self, device: NetDevice, frame: bytes, mode: str) -> None:
        if mode == DRV:
            self._driver_xmit(device, frame)
        else:
            self._net.xmit(device, frame, taps=False)

    def _driver_xmit(self, device: NetDevice, frame: bytes) -> bool:
        """ndo_xdp_xmit: a veth hands a frame to its peer only if that runs XDP itself."""
        other = self._net.peer(device)
        if other is None:
            self._net.count(device, "tx", len(frame))
            return True
        if not self._net.has_native(other):
            self._net.count(device, "tx_dropped")
            return False
        self._net.count(device, "tx", len(frame))
        self._net.receive(other, frame)
        return True

    # --- redirects -------------------------------------------------------------------

    def _redirect(
        self, device: NetDevice, frame: bytes, mode: str, map_id: int, key: int, flags: int
    ) -> None:
        if not map_id:
            self._forward(device, key, 0, frame, mode)
            return
        found = self._kernel.maps.get(map_id)
        if found.name in DEV_MAPS:
            for ifindex, prog_id in self._dev_targets(map_id, key, flags, device):
                self._forward(device, ifindex, prog_id, frame, mode)
        elif found.name == "cpumap":
            self._to_cpu(device, map_id, key, frame)
        else:
            self._net.count(device, "rx_dropped")

    def _entry(self, map_id: int, key: bytes) -> tuple[int, int] | None:
        cell = self._kernel.maps.get(map_id).cells.get(key)
        if cell is None:
            return None
        value = cell[0]
        return int.from_bytes(value[:4], "little"), int.from_bytes(value[4:8], "little")

    def _dev_targets(
        self, map_id: int, key: int, flags: int, device: NetDevice
    ) -> list[tuple[int, int]]:
        if not flags & BROADCAST:
            found = self._entry(map_id, (key & 0xFFFFFFFF).to_bytes(4, "little"))
            return [found] if found is not None else []
        cells = self._kernel.maps.get(map_id).cells
        targets = []
        for raw, _, _, _ in list(cells.rows()):
            found = self._entry(map_id, raw)
            if found is None or (flags & EXCLUDE_INGRESS and found[0] == device.ifindex):
                continue
            targets.append(found)
        return targets

    def _forward(
        self, device: NetDevice, ifindex: int, prog_id: int, frame: bytes, mode: str
    ) -> None:
        """Send a frame out of another device, through the program of the map entry."""
        target = self._net.device(ifindex)
        if target is None or not self._net.may_forward(target, len(frame)):
            self._net.count(device, "rx_dropped")
            return
        if prog_id:
            action, frame, _ = self._program(prog_id, device, frame, egress=ifindex)
            if action != XDP_PASS:
                self._net.count(target, "tx_dropped")
                return
        if mode == DRV:
            self._driver_xmit(target, frame)
        else:
            self._net.xmit(target, frame, taps=False)

    def _to_cpu(self, device: NetDevice, map_id: int, cpu: int, frame: bytes) -> None:
        """Let the thread of a CPU map entry take the frame up the stack there."""
        found = self._entry(map_id, (cpu & 0xFFFFFFFF).to_bytes(4, "little"))
        if found is None:
            self._net.count(device, "rx_dropped")
            return
        with self._kernel.ctx.on_cpu(cpu):
            if found[1]:
                action, frame, target = self._program(found[1], device, frame)
                if action == XDP_REDIRECT and target is not None:
                    self._redirect(device, frame, DRV, *target)
                    return
                if action != XDP_PASS:
                    self._net.count(device, "rx_dropped")
                    return
            self._net.netif_receive(device, frame)
