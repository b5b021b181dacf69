"""``btf show``: BTF objects, their size, and who uses them."""

from __future__ import annotations

import os
from collections.abc import Callable

from bpfctl.cli.app.listing import show_all
from bpfctl.cli.app.select import take_id
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.cli.map.show import holders
from bpfctl.cli.prog.show import write_numbers, write_pids
from bpfctl.errors import CommandError, KernelError
from bpfctl.uapi import BtfInfo


def show(app: App, words: Words) -> int:
    """Run ``btf show [id N]``."""
    fd = None
    if words.left == 2:
        if not words.next_is("id"):
            raise CommandError(f"expected 'id', got: '{words.peek()}'?")
        words.take()
        fd = open_id(app, take_id(words))
    words.no_more()
    listing = _Listing(app)
    if fd is not None:
        listing.one(fd)
        return 0
    bpf = app.bpf
    following = (bpf.btf_get_next_id, bpf.btf_get_fd_by_id)
    return show_all(app, listing.one, *following, "BTF object", "BTF object")


def open_id(app: App, btf_id: int) -> int:
    """Return a descriptor of a BTF object.

    :raises CommandError: there is none of that id; the status is 255.
    """
    try:
        fd = app.bpf.btf_get_fd_by_id(btf_id)
    except KernelError as exc:
        raise CommandError(
            f"can't get BTF object by id ({btf_id}): {exc.strerror}", hint=exc.hint
        ) from exc
    app.opened(fd)
    return fd


class _Listing:
    """Prints BTF objects; knows the programs and maps that use each."""

    def __init__(self, app: App) -> None:
        self.app = app
        bpf = app.bpf
        self.progs = self._users(bpf.prog_get_next_id, bpf.prog_get_fd_by_id)
        self.maps = self._users(bpf.map_get_next_id, bpf.map_get_fd_by_id)
        self.holders = holders(app, "btf")

    def _users(
        self, next_id: Callable[[int], int], open_by_id: Callable[[int], int]
    ) -> dict[int, tuple[int, ...]]:
        """Return the ids of the objects that use each BTF object."""
        found: dict[int, tuple[int, ...]] = {}
        bpf = self.app.bpf
        for obj_id in bpf.ids(next_id):
            fd = open_by_id(obj_id)
            btf_id = getattr(bpf.obj_info(fd), "btf_id", 0)
            bpf.close(fd)
            if btf_id:
                found[btf_id] = (*found.get(btf_id, ()), obj_id)
        return found

    def one(self, fd: int) -> None:
        """Print one BTF object."""
        info = self.app.bpf.obj_info(fd)
        if not isinstance(info, BtfInfo):
            raise CommandError("can't get BTF object info: Invalid argument")
        if self.app.out.json is not None:
            self._json(info)
        else:
            self._plain(info)

    def _plain(self, info: BtfInfo) -> None:
        name = os.fsdecode(info.name) or "<anon>"
        if info.kernel_btf:
            name = f"[{name}]"
        text = f"{info.id}: name {name}  size {len(info.btf)}B"
        for word, users in (("prog_ids", self.progs), ("map_ids", self.maps)):
            if info.id in users:
                text += f"  {word} " + ",".join(map(str, users[info.id]))
        pids = self.holders.get(info.id)
        if pids:
            text += "\n\tpids " + ",".join(f"{comm}({pid})" for pid, comm in pids)
        self.app.out.put(text + "\n")

    def _json(self, info: BtfInfo) -> None:
        json = self.app.out.json
        assert json is not None
        json.begin_object()
        json.member("id", info.id)
        json.member("size", len(info.btf))
        write_numbers(json, "prog_ids", self.progs.get(info.id, ()))
        write_numbers(json, "map_ids", self.maps.get(info.id, ()))
        write_pids(json, self.holders.get(info.id))
        json.member("kernel", info.kernel_btf)
        if info.name:
            json.member("name", os.fsdecode(info.name))
        json.end_object()
