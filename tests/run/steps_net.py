"""Network devices: XDP by netlink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.kernel.attach.xdp import XdpDevice, set_link_xdp
from bpfctl.kernel.net.dev import Seen

if TYPE_CHECKING:
    from run.lab import Lab

VETHS = {"v1": 2, "v0": 3, "v3": 4, "v2": 5}
PEERS = {"v0": "v1", "v1": "v0", "v2": "v3", "v3": "v2"}
MACS = {"v0": 1, "v1": 2, "v2": 3, "v3": 4}
DIRECTIONS = ("host", "broadcast", "multicast", "otherhost", "outgoing")
MODES = {"drv": 1, "skb": 2}


def make_veths(lab: Lab) -> None:
    """Make the devices of a ``veth`` environment."""
    for name, index in VETHS.items():
        lab.kernel.objects.create(
            "netdev", name, ifindex=index, peer=PEERS[name], mac=f"02:00:00:00:00:0{MACS[name]}"
        )
    # Low descriptors of the recorder were its own files, so that no ifindex was also one of ours.
    own = lab.kernel.objects.create("inode", "recorder")
    for _ in VETHS:
        lab.kernel.objects.open(lab.pid, own.id)


def ifindex(lab: Lab, name: str) -> int:
    """Return the index of a device.

    :raises NoObject: there is no such device.
    """
    from run.lab import NoObject

    for device in lab.kernel.objects.records.find(kind="netdev", name=name):
        return int(device.priv["ifindex"])
    raise NoObject(f"device {name}")


def _device(lab: Lab, step: dict[str, Any]) -> int:
    return lab.named(*step.get("target", "if:v0").split(":"))


def _prog(lab: Lab, number: int | None) -> int:
    return lab.prog_fd(number) if number is not None and number >= 0 else -1


def xdp_set(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    expected = _prog(lab, step["expected"]) if "expected" in step else None
    with lab.kernel.ctx.running(lab.kernel.task(lab.pid)) as task:
        assert task is not None
        set_link_xdp(
            lab.kernel, task, _device(lab, step), _prog(lab, step.get("prog")),
            step.get("flags") or 0, expected,
        )  # fmt: skip
    return {}


def xdp_show(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    found = lab.kernel.objects.netdev(_device(lab, step))
    assert found is not None
    running = XdpDevice(lab.kernel, found).running()
    if running is None:
        return {"xdp": None}
    mode, row = running
    names = {lab.prog_id(number): f"p{number}" for number in lab.progs}
    shown = {"mode": MODES[mode], "prog": names.get(row.prog_id, hex(row.prog_id))}
    return {"xdp": {"attached": [shown], **shown}}


def inject(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Send a frame on a device, and list what packet sockets on others saw."""
    frame = bytes.fromhex(step["frame"])
    watched = {ifindex(lab, name): name for name in step.get("watch", ())}
    seen: dict[str, list[dict[str, str]]] = {name: [] for name in watched.values()}

    def tap(packet: Seen) -> None:
        name = watched.get(packet.ifindex)
        if name is not None:
            data = "same" if packet.frame == frame else packet.frame.hex()
            seen[name].append({"data": data, "dir": DIRECTIONS[packet.pkt_type]})

    net = lab.kernel.net
    device = net.device(ifindex(lab, step["dev"]))
    assert device is not None
    net.taps.append(tap)
    try:
        with lab.kernel.ctx.running(lab.kernel.task(lab.pid)):
            for _ in range(step.get("count", 1)):
                net.send(device, frame)
    finally:
        net.taps.remove(tap)
    return {"seen": seen}


STEPS = {"xdp_set": xdp_set, "xdp_show": xdp_show, "inject": inject}
