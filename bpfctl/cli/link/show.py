"""``link show``: links, where they are, and what holds them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from bpfctl.cli.app.listing import show_all
from bpfctl.cli.app.pins import pinned_paths
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.cli.link.select import link_fd
from bpfctl.cli.map.show import holders
from bpfctl.cli.prog.show import write_pids
from bpfctl.errors import CommandError
from bpfctl.libbpf.link import bpf_link_get_fd_by_id, bpf_link_get_next_id
from bpfctl.uapi_attach import ATTACH_TYPES, LINK_TYPES, LinkInfo

ONE_STATUS = 255
"""bpftool prints one link as asked and fails all the same."""


def show(app: App, words: Words) -> int:
    """Run ``link show [LINK]``."""
    listing = Listing(app)
    if words.left == 2 or words.left == 1:
        fd = link_fd(app, words)
        words.no_more()
        listing.one(fd)
        return ONE_STATUS
    words.no_more()
    bpf = app.bpf
    following = (partial(bpf_link_get_next_id, bpf), partial(bpf_link_get_fd_by_id, bpf))
    return show_all(app, listing.one, *following, "link", "link")


def attach_type_name(number: int) -> str:
    """Return the name of an attach type, its number where it has none."""
    return ATTACH_TYPES[number].name if number < len(ATTACH_TYPES) else str(number)


class Listing:
    """Prints links; knows their pins and holders."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.pins = pinned_paths(app, "link") if app.options.show_pinned else {}
        self.holders = holders(app, "link")

    def one(self, fd: int) -> None:
        """Print one link."""
        info = self.app.bpf.obj_info(fd)
        if not isinstance(info, LinkInfo):
            raise CommandError("can't get link info: Invalid argument")
        facts = FACTS.get(LINK_TYPES[info.type], _no_facts)(self.app, info.details)
        if self.app.out.json is not None:
            self._json(info, facts)
        else:
            self._plain(info, facts)

    def _plain(self, info: LinkInfo, facts: Facts) -> None:
        text = f"{info.id}: {LINK_TYPES[info.type]}  prog {info.prog_id}  "
        text += facts.plain
        for path in self.pins.get(info.id, ()):
            text += f"\n\tpinned {path}"
        pids = self.holders.get(info.id)
        if pids:
            text += "\n\tpids " + ",".join(f"{comm}({pid})" for pid, comm in pids)
        self.app.out.put(text + "\n")

    def _json(self, info: LinkInfo, facts: Facts) -> None:
        json = self.app.out.json
        assert json is not None
        json.begin_object()
        json.member("id", info.id)
        json.member("type", LINK_TYPES[info.type])
        json.member("prog_id", info.prog_id)
        for name, value in facts.members.items():
            json.member(name, value)
        pinned = self.pins.get(info.id)
        if pinned:
            json.name("pinned")
            json.begin_array()
            for path in pinned:
                json.string(path)
            json.end_array()
        write_pids(json, self.holders.get(info.id))
        json.end_object()


class Facts:
    """What the link's type adds: words behind the head, members of the JSON object."""

    def __init__(self, plain: str, members: dict[str, Any]) -> None:
        self.plain = plain
        self.members = members


def _no_facts(app: App, details: dict[str, Any]) -> Facts:
    return Facts("", {})


def _device(app: App, ifindex: int) -> str:
    for link in app.kernel.netlink.links():
        if link.ifindex == ifindex:
            return f"{link.name}({ifindex})"
    return f"<unknown>({ifindex})" if ifindex else "(detached)"


def _attach_type(details: dict[str, Any]) -> str:
    return attach_type_name(details["attach_type"])


def _cgroup(app: App, details: dict[str, Any]) -> Facts:
    name = _attach_type(details)
    plain = f"\n\tcgroup_id {details['cgroup_id']}  attach_type {name}  "
    return Facts(plain, {"cgroup_id": details["cgroup_id"], "attach_type": name})


def _netns(app: App, details: dict[str, Any]) -> Facts:
    name = _attach_type(details)
    plain = f"\n\tnetns_ino {details['netns_ino']}  attach_type {name}  "
    return Facts(plain, {"netns_ino": details["netns_ino"], "attach_type": name})


def _ifindex(app: App, ifindex: int) -> tuple[str, dict[str, Any]]:
    shown = _device(app, ifindex)
    name = shown.partition("(")[0]
    members: dict[str, Any] = {"devname": name} if ifindex else {}
    return shown, {**members, "ifindex": ifindex}


def _xdp(app: App, details: dict[str, Any]) -> Facts:
    shown, members = _ifindex(app, details["ifindex"])
    return Facts(f"\n\tifindex {shown}  ", members)


def _tcx(app: App, details: dict[str, Any]) -> Facts:
    shown, members = _ifindex(app, details["ifindex"])
    name = _attach_type(details)
    plain = f"\n\tifindex {shown}  attach_type {name}  "
    return Facts(plain, {**members, "attach_type": name})


def _raw_tracepoint(app: App, details: dict[str, Any]) -> Facts:
    name = details["tp_name"]
    return Facts(f"\n\ttp '{name}'  ", {"tp_name": name})


FACTS: dict[str, Callable[[App, dict[str, Any]], Facts]] = {
    "cgroup": _cgroup,
    "netns": _netns,
    "xdp": _xdp,
    "tcx": _tcx,
    "raw_tracepoint": _raw_tracepoint,
}
