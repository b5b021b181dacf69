"""``net show``: programs of devices, of the network namespace, of netfilter."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.cli.map.create import find_netdev
from bpfctl.errors import CommandError, KernelError
from bpfctl.libbpf.link import bpf_prog_query
from bpfctl.uapi import ProgInfo
from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER, ProgQueryAttr

_MODES = {"drv": "driver", "skb": "generic", "hw": "offload"}
_ENDS = {"tcx_ingress": "tcx/ingress", "tcx_egress": "tcx/egress"}
_ROOM = 64


def show(app: App, words: Words) -> None:
    """Run ``net show [dev NAME]``."""
    only = 0
    if words.left == 2 and words.next_is("dev"):
        words.take()
        name = words.take()
        only = find_netdev(app, name)
        if not only:
            raise CommandError(f"invalid devname {name}")
    elif words.left:
        raise UsageExit
    devices = [link for link in app.kernel.netlink.links() if only in (0, link.ifindex)]
    xdp = [entry for device in devices for entry in _xdp(device)]
    tc = [entry for device in devices for entry in _tc(app, device)]
    dissectors = list(_flow_dissectors(app))
    if app.out.json is not None:
        _json(app, {"xdp": xdp, "tc": tc, "flow_dissector": dissectors, "netfilter": []})
        return
    put = app.out.put
    put("xdp:\n")
    for entry in xdp:
        put(f"{entry['devname']}({entry['ifindex']}) {entry['mode']} id {entry['id']}\n")
    put("\ntc:\n")
    for entry in tc:
        put(f"{entry['devname']}({entry['ifindex']}) {entry['kind']} {entry['name']} ")
        put(f"prog_id {entry['prog_id']} ")
        put(f"link_id {entry['link_id']} \n" if entry["link_id"] else "\n")
    put("\nflow_dissector:\n")
    for entry in dissectors:
        put(f"id {entry['id']}\n")
    put("\nnetfilter:\n\n")


def _xdp(device: Any) -> Iterator[dict[str, Any]]:
    for mode, prog_id in device.xdp.items():
        yield {
            "devname": device.name,
            "ifindex": device.ifindex,
            "mode": _MODES[mode],
            "id": prog_id,
        }


def _tc(app: App, device: Any) -> Iterator[dict[str, Any]]:
    for end, kind in _ENDS.items():
        attr = ProgQueryAttr(device.ifindex, ATTACH_TYPE_NUMBER[end], 0, _ROOM, want_link_ids=True)
        try:
            found = bpf_prog_query(app.bpf, attr)
        except KernelError:
            continue  # a kernel without tcx
        for prog_id, link_id in zip(found.prog_ids, found.link_ids, strict=True):
            yield {
                "devname": device.name,
                "ifindex": device.ifindex,
                "kind": kind,
                "name": _name(app, prog_id),
                "prog_id": prog_id,
                "prog_flags": [],
                "link_id": link_id,
                "link_flags": [],
            }


def _flow_dissectors(app: App) -> Iterator[dict[str, Any]]:
    objects = app.kernel.objects
    netns = objects.open(app.bpf.pid, objects.find_or_create("netns", "init").id)
    attr = ProgQueryAttr(netns, ATTACH_TYPE_NUMBER["flow_dissector"], 0, _ROOM)
    for prog_id in bpf_prog_query(app.bpf, attr).prog_ids:
        yield {"id": prog_id}


def _name(app: App, prog_id: int) -> str:
    fd = app.bpf.prog_get_fd_by_id(prog_id)
    info = app.bpf.obj_info(fd)
    app.bpf.close(fd)
    return os.fsdecode(info.name) if isinstance(info, ProgInfo) else ""


def _json(app: App, facts: dict[str, list[dict[str, Any]]]) -> None:
    json = app.out.json
    assert json is not None
    json.begin_array()
    json.begin_object()
    for section, entries in facts.items():
        json.name(section)
        json.begin_array()
        for entry in entries:
            json.begin_object()
            for name, value in entry.items():
                if isinstance(value, list):
                    json.name(name)
                    json.begin_array()
                    json.end_array()
                else:
                    json.member(name, value)
            json.end_object()
        json.end_array()
    json.end_object()
    json.end_array()
