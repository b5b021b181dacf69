"""``prog show``: one program in a few lines, or as a JSON object."""

from __future__ import annotations

import time

from bpfctl.cli.app.listing import show_all, show_some
from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.pins import pinned_paths
from bpfctl.cli.app.select import prog_fds
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.cli.map.show import holders
from bpfctl.cli.prog.meta import show_metadata
from bpfctl.cli.prog.names import full_name, type_name
from bpfctl.errors import CommandError, KernelError
from bpfctl.uapi import ProgInfo

NSEC_PER_SEC = 1_000_000_000


def show(app: App, words: Words) -> int:
    """Run ``prog show [PROG]``."""
    if words.left == 2:
        fds = prog_fds(app, words)
        return show_some(app, _Listing(app).one, fds) if fds else -1
    words.no_more()
    bpf = app.bpf
    one = _Listing(app).one
    return show_all(app, one, bpf.prog_get_next_id, bpf.prog_get_fd_by_id, "prog", "program")


def prog_info(app: App, fd: int) -> ProgInfo:
    """Return struct bpf_prog_info of a program that is open."""
    try:
        return app.bpf.prog_info(fd)
    except KernelError as exc:
        raise CommandError(f"can't get prog info: {exc.strerror}", hint=exc.hint) from exc


def header_plain(app: App, info: ProgInfo) -> str:
    """Return ``ID: TYPE  name NAME  tag TAG  gpl``."""
    kind = type_name(info) or f"type {info.type}"
    name = f"name {full_name(app, info)}  " if info.name else ""
    gpl = "  gpl" if info.gpl_compatible else ""
    stats = ""
    if info.run_time_ns:
        stats = f" run_time_ns {info.run_time_ns} run_cnt {info.run_cnt}"
    if info.recursion_misses:
        stats += f" recursion_misses {info.recursion_misses}"
    return f"{info.id}: {kind}  {name}tag {info.tag.hex()}{gpl}{stats}\n"


def header_json(app: App, json: JsonWriter, info: ProgInfo) -> None:
    """Write the members id, type, name, tag and gpl_compatible."""
    json.member("id", info.id)
    kind = type_name(info)
    json.member("type", info.type if kind is None else kind)
    if info.name:
        json.member("name", full_name(app, info))
    json.member("tag", info.tag.hex())
    json.member("gpl_compatible", info.gpl_compatible)
    if info.run_time_ns:
        json.member("run_time_ns", info.run_time_ns)
        json.member("run_cnt", info.run_cnt)
    if info.recursion_misses:
        json.member("recursion_misses", info.recursion_misses)


class _Listing:
    """Prints programs; knows pinned paths and holders of all of them."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.pins = pinned_paths(app, "prog") if app.options.show_pinned else {}
        self.holders = holders(app, "prog")

    def one(self, fd: int) -> None:
        """Print one program."""
        info = prog_info(self.app, fd)
        memlock = self.app.bpf.fdinfo(fd).get("memlock")
        if self.app.out.json is not None:
            self._json(self.app.out.json, info, memlock)
        else:
            self._plain(info, memlock)

    def _plain(self, info: ProgInfo, memlock: str | None) -> None:
        loaded = time.localtime(info.load_time / NSEC_PER_SEC)
        text = [
            header_plain(self.app, info),
            f"\tloaded_at {time.strftime('%Y-%m-%dT%H:%M:%S%z', loaded)}"
            f"  uid {info.created_by_uid}\n",
            f"\txlated {info.xlated_prog_len}B",
            f"  jited {info.jited_prog_len}B" if info.jited_prog_len else "  not jited",
        ]
        if memlock is not None:
            text.append(f"  memlock {memlock}B")
        if info.map_ids:
            text.append("  map_ids " + ",".join(map(str, info.map_ids)))
        text += [f"\n\tpinned {path}" for path in self.pins.get(info.id, ())]
        if info.btf_id:
            text.append(f"\n\tbtf_id {info.btf_id}")
        pids = self.holders.get(info.id)
        if pids:
            text.append("\n\tpids " + ",".join(f"{comm}({pid})" for pid, comm in pids))
        text.append("\n")
        self.app.out.put("".join(text))
        show_metadata(self.app, info)

    def _json(self, json: JsonWriter, info: ProgInfo, memlock: str | None) -> None:
        json.begin_object()
        header_json(self.app, json, info)
        json.member("loaded_at", info.load_time // NSEC_PER_SEC)
        json.member("uid", info.created_by_uid)
        json.member("orphaned", False)
        json.member("bytes_xlated", info.xlated_prog_len)
        json.member("jited", info.jited_prog_len != 0)
        if info.jited_prog_len:
            json.member("bytes_jited", info.jited_prog_len)
        if memlock is not None:
            json.member("bytes_memlock", int(memlock))
        if info.map_ids:
            write_numbers(json, "map_ids", info.map_ids)
        if info.btf_id:
            json.member("btf_id", info.btf_id)
        if self.pins:
            json.name("pinned")
            json.begin_array()
            for path in self.pins.get(info.id, ()):
                json.string(path)
            json.end_array()
        write_pids(json, self.holders.get(info.id))
        show_metadata(self.app, info)
        json.end_object()


def write_numbers(json: JsonWriter, name: str, numbers: tuple[int, ...]) -> None:
    """Write a member that is an array of numbers."""
    json.name(name)
    json.begin_array()
    for number in numbers:
        json.number(number)
    json.end_array()


def write_pids(json: JsonWriter, pids: list[tuple[int, str]] | None) -> None:
    """Write who holds an object, if anybody does."""
    if not pids:
        return
    json.name("pids")
    json.begin_array()
    for pid, comm in pids:
        json.begin_object()
        json.member("pid", pid)
        json.member("comm", comm)
        json.end_object()
    json.end_array()
