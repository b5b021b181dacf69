"""Packets on veth pairs: XDP in both modes, tc, redirects."""

from __future__ import annotations

import pytest

from bpfctl.isa.asm import assemble
from bpfctl.kernel.attach.xdp import set_link_xdp
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.net.dev import PACKET_HOST, PACKET_OUTGOING
from bpfctl.uapi import PROG_TYPE_NUMBER, Cmd, ProgLoadAttr
from bpfctl.uapi_attach import (
    ATTACH_TYPE_NUMBER,
    XDP_FLAGS_DRV_MODE,
    XDP_FLAGS_SKB_MODE,
    ProgAttachAttr,
)

FRAME = bytes.fromhex("020000000001 020000000002 88b5") + bytes(46)
PAIR = {"v0": ("v1", 1), "v1": ("v0", 2), "w0": ("w1", 3), "w1": ("w0", 4)}


class World:
    """Two veth pairs, v0-v1 and w0-w1, and what packet sockets saw on them."""

    def __init__(self) -> None:
        self.kernel = Kernel.in_memory("6.18")
        self.pid = self.kernel.start_command()
        for name, (peer, low) in PAIR.items():
            mac = f"02:00:00:00:00:{low:02x}"
            self.kernel.objects.create("netdev", name, peer=peer, mac=mac)
        self.seen: list[tuple[str, int]] = []
        self.frames: list[bytes] = []
        self.kernel.net.taps.append(self._saw)

    def _saw(self, packet) -> None:
        found = self.kernel.objects.netdev(packet.ifindex)
        assert found is not None
        self.seen.append((found.name, packet.pkt_type))
        self.frames.append(packet.frame)

    def index(self, name: str) -> int:
        found = next(iter(self.kernel.objects.records.find(kind="netdev", name=name)))
        return found.priv["ifindex"]

    def load(self, text: str, prog_type: str = "xdp") -> int:
        attr = ProgLoadAttr(PROG_TYPE_NUMBER[prog_type], assemble(text))
        return self.kernel.bpf(self.pid, Cmd.PROG_LOAD, attr)

    def xdp(self, name: str, text: str, flags: int) -> None:
        task = self.kernel.task(self.pid)
        with self.kernel.ctx.running(task):
            set_link_xdp(self.kernel, task, self.index(name), self.load(text), flags, None)

    def tcx(self, name: str, text: str, end: str) -> None:
        prog = self.load(text, "sched_cls")
        attach_type = ATTACH_TYPE_NUMBER[f"tcx_{end}"]
        attr = ProgAttachAttr(self.index(name), prog, attach_type)
        self.kernel.bpf(self.pid, Cmd.PROG_ATTACH, attr)

    def send(self, name: str, frame: bytes = FRAME) -> list[tuple[str, int]]:
        """Send a frame; return who saw one since."""
        self.seen.clear()
        self.frames.clear()
        net = self.kernel.net
        device = net.device(self.index(name))
        assert device is not None
        with self.kernel.ctx.running(self.kernel.task(self.pid)):
            net.send(device, frame)
        return self.seen


OUT = ("v1", PACKET_OUTGOING)
IN = ("v0", PACKET_HOST)


@pytest.fixture
def world() -> World:
    return World()


def test_without_programs(world):
    assert world.send("v1") == [OUT, IN]
    assert world.frames == [FRAME, FRAME]


@pytest.mark.parametrize("flags", [XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE])
@pytest.mark.parametrize(("action", "seen"), [(0, [OUT]), (1, [OUT]), (2, [OUT, IN]), (9, [OUT])])
def test_actions(world, flags, action, seen):
    world.xdp("v0", f"r0 = {action}; exit", flags)
    assert world.send("v1") == seen


def test_a_generic_program_sends_back(world):
    world.xdp("v0", "r0 = 3; exit", XDP_FLAGS_SKB_MODE)
    assert world.send("v1") == [OUT, ("v1", 3)]


def test_a_driver_takes_frames_only_for_a_peer_that_runs_xdp(world):
    redirect = f"r1 = {world.index('w0')}; r2 = 0; call 23; exit"
    world.xdp("v0", redirect, XDP_FLAGS_DRV_MODE)
    assert world.send("v1") == [OUT]
    world.xdp("w1", "r0 = 2; exit", XDP_FLAGS_DRV_MODE)
    assert world.send("v1") == [OUT, ("w1", 3)]


@pytest.mark.parametrize(("verdict", "seen"), [(-1, [OUT, IN]), (0, [OUT, IN]), (2, [])])
def test_egress(world, verdict, seen):
    world.tcx("v1", f"r0 = {verdict}; exit", "egress")
    assert world.send("v1") == seen


def test_only_the_next_verdict_lets_the_next_program_run(world):
    world.tcx("v1", "r0 = 0; exit", "egress")
    world.tcx("v1", "r0 = 2; exit", "egress")
    assert world.send("v1") == [OUT, IN]


def test_a_loop_of_redirects_ends(world):
    for one, other in (("v1", "w1"), ("w1", "v1")):
        world.tcx(one, f"r1 = {world.index(other)}; r2 = 0; call 23; exit", "egress")
    assert world.send("v1") == []


def test_a_device_that_is_down(world):
    found = world.kernel.objects.netdev(world.index("v0"))
    found.priv["up"] = False
    assert world.send("v1") == [OUT]
    assert found.priv["stats"] == {"rx_dropped_packets": 1}
