"""``bpfctl sim net``: devices, and packets on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.app.group import WordGroup, pass_app
from bpfctl.cli.app.ours import (
    App,
    CommandError,
    E,
    doing,
    done,
    emit_json,
    json_option,
    open_kernel,
    run_default,
    show_facts,
    show_table,
)

if TYPE_CHECKING:
    from bpfctl.system import System
    from bpfctl.system.net import NetDevice
    from bpfctl.system.objects import SimObject

PROTOCOLS = ("udp", "tcp", "icmp")
MAX_COUNT = 10_000_000
_LIST = "'bpfctl sim net list' shows the devices there are"


@click.group(cls=WordGroup, invoke_without_command=True)
@click.pass_context
def net(ctx: click.Context) -> None:
    """Net devices, and packets that arrive on them."""
    run_default(ctx, list_)


def _record(kernel: System, name: str) -> SimObject:
    for found in kernel.objects.records.find(kind="netdev", name=name):
        return found
    raise CommandError(f"no such device: '{name}'", hint=_LIST)


def _device(kernel: System, name: str) -> NetDevice:
    from bpfctl.system.net import net_device

    device = net_device(kernel, int(_record(kernel, name).priv["ifindex"]))
    assert device is not None
    return device


# --- devices ------------------------------------------------------------------


@net.command(name="list")
@json_option
@pass_app
def list_(app: App) -> None:
    """List devices, their programs and counters."""
    from bpfctl.system.net import net_device

    rows = []
    with open_kernel(app, write=False) as kernel:
        for link in kernel.netlink.links():
            device = net_device(kernel, link.ifindex)
            record = kernel.objects.netdev(link.ifindex)
            assert device is not None
            assert record is not None
            stats = record.priv.get("stats", {})
            xdp = ", ".join(f"{mode}:{prog}" for mode, prog in link.xdp.items())
            rows.append(
                {
                    "name": link.name, "ifindex": link.ifindex, "peer": device.peer,
                    "mac": device.address.hex(":"), "mtu": device.mtu, "queues": device.queues,
                    "up": device.up, "xdp": xdp, **_counters(stats),
                }
            )  # fmt: skip
    if not emit_json(app, rows):
        show_table(app, list(rows[0]), [list(row.values()) for row in rows])


def _counters(stats: dict[str, int]) -> dict[str, int]:
    names = ("rx_packets", "rx_bytes", "tx_packets", "tx_bytes")
    drops = {f"{way}_dropped": stats.get(f"{way}_dropped_packets", 0) for way in ("rx", "tx")}
    return {**{name: stats.get(name, 0) for name in names}, **drops}


@net.command()
@click.argument("names", metavar="NAME PEER", nargs=2)
@click.option("--mtu", type=click.IntRange(68, 65535), default=1500, show_default=True)
@click.option("--queues", type=click.IntRange(1, 1024), default=1, show_default=True)
@json_option
@pass_app
def veth(app: App, names: tuple[str, str], mtu: int, queues: int) -> None:
    """Make a pair of devices: what one sends arrives at the other."""
    with open_kernel(app, write=True) as kernel:
        for name, peer in (names, names[::-1]):
            with doing(f"can't make device '{name}'", {E.EXIST: "it is there already"}):
                kernel.objects.create("netdev", name, peer=peer, mtu=mtu, queues=queues)
        done(app)


@net.command()
@click.argument("name")
@click.option("--mtu", type=click.IntRange(68, 65535), default=1500, show_default=True)
@click.option("--queues", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--xdp/--no-xdp", default=True, help="Its driver runs XDP programs (native mode).")
@json_option
@pass_app
def dev(app: App, name: str, mtu: int, queues: int, xdp: bool) -> None:
    """Make a device whose packets come from and go to the outside."""
    with open_kernel(app, write=True) as kernel:
        with doing(f"can't make device '{name}'", {E.EXIST: "it is there already"}):
            kernel.objects.create("netdev", name, mtu=mtu, queues=queues, xdp=xdp)
        done(app)


@net.command(name="set")
@click.argument("name")
@click.option("--up/--down", "up", default=None, help="Whether it sends and receives.")
@click.option("--mtu", type=click.IntRange(68, 65535))
@json_option
@pass_app
def set_(app: App, name: str, up: bool | None, mtu: int | None) -> None:
    """Change a device."""
    with open_kernel(app, write=True) as kernel:
        record = _record(kernel, name)
        for fact, value in (("up", up), ("mtu", mtu)):
            if value is not None:
                record.priv[fact] = value
        done(app)


@net.command(name="rm")
@click.argument("name")
@json_option
@pass_app
def remove(app: App, name: str) -> None:
    """Remove a device; the other end of a pair goes with it."""
    with open_kernel(app, write=True) as kernel:
        record = _record(kernel, name)
        peers = [record]
        if record.priv.get("peer"):
            peers += kernel.objects.records.find(kind="netdev", name=record.priv["peer"])
        for found in peers:
            with doing(f"can't remove device '{found.name}'", {}):
                kernel.objects.remove(found.id)
        done(app)


# --- packets --------------------------------------------------------------------


def _traffic_options(command: Any) -> Any:
    for option in reversed(
        (
            click.argument("device"),
            click.option(
                "--count", type=click.IntRange(1, MAX_COUNT), help="How many packets (default: 1)."
            ),
            click.option("--size", type=click.IntRange(14, 65549), default=64, show_default=True,
                         help="Bytes of a frame."),
            click.option("--proto", type=click.Choice(PROTOCOLS), default="udp", show_default=True),
            click.option("--flows", type=click.IntRange(1, 65535), default=1, show_default=True,
                         help="Addresses and ports in turn."),
            click.option("--dport", type=click.IntRange(0, 65535), default=9, show_default=True),
            click.option("--vlan", type=click.IntRange(0, 4094), default=0, help="A tag; 0: none."),
            click.option("-6", "--ipv6", is_flag=True, help="IPv6 instead of IPv4."),
            click.option("--seed", type=click.IntRange(0), default=0, help="Of addresses."),
            click.option("--queue", type=click.IntRange(0), default=0, help="Receive queue."),
            click.option("--cpu", type=click.IntRange(0), default=0, help="The CPU that works."),
            click.option("--pcap", type=click.Path(), help="Packets of a pcap or pcapng file."),
            click.option("--write", "write_path", type=click.Path(),
                         help="Write what leaves the machine, and what the stack gets, as pcap."),
            json_option,
            pass_app,
        )
    ):  # fmt: skip
        command = option(command)
    return command


@net.command()
@_traffic_options
def rx(app: App, **options: Any) -> None:
    """Let packets arrive at a device: generated ones, or those of a file."""
    _run(app, "rx", options)


@net.command()
@_traffic_options
def tx(app: App, **options: Any) -> None:
    """Send packets out of a device, as a packet socket does."""
    _run(app, "tx", options)


def _frames(device: NetDevice, peer: NetDevice | None, way: str, options: Any) -> Iterator[bytes]:
    from bpfctl.system.net import pktgen

    if options["pcap"]:
        from bpfctl.system.pcap import read_frames

        yield from read_frames(options["pcap"], options["count"])
        return
    other = peer.address if peer is not None else bytes.fromhex("02ffff000001")
    source, target = (device.address, other) if way == "tx" else (other, device.address)
    traffic = pktgen.Traffic(
        options["proto"], options["size"], options["flows"], options["vlan"], options["ipv6"],
        options["dport"], options["seed"],
    )  # fmt: skip
    yield from pktgen.some(traffic, options["count"] or 1, source, target)


def _run(app: App, way: str, options: dict[str, Any]) -> None:
    with ExitStack() as stack:
        kernel = stack.enter_context(open_kernel(app, write=True))
        device = _device(kernel, options["device"])
        if options["cpu"] >= kernel.possible_cpus():
            raise CommandError(f"there is no CPU {options['cpu']}")
        if options["queue"] >= device.queues:
            raise CommandError(
                f"device '{device.name}' has {device.queues} queues",
                hint=f"bpfctl sim net dev NAME --queues {options['queue'] + 1} makes one with more",
            )
        world = kernel.net
        if options["write_path"]:
            from bpfctl.system.pcap import Writer

            writer = stack.enter_context(Writer(options["write_path"]))
            world.taps.append(lambda seen: writer.write(seen.frame))
        stack.enter_context(kernel.ctx.on_cpu(options["cpu"]))
        count = 0
        for frame in _frames(device, world.peer(device), way, options):
            count += 1
            if way == "rx":
                world.receive(device, frame, options["queue"])
            else:
                world.send(device, frame)
        facts = {"device": device.name, "packets": count, **world.tally}
        if world.tally and kernel.vm.engine is not None:
            facts["engine"] = kernel.vm.engine.name
    if not emit_json(app, facts):
        show_facts(app, facts)
