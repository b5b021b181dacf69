"""``bpfctl memcg``: the memory cgroups (v2) of the simulated system."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.app.group import WordGroup, pass_app
from bpfctl.cli.app.ours import (
    App,
    CommandError,
    E,
    count_of,
    doing,
    done,
    emit_json,
    json_option,
    limit,
    open_kernel,
    run_default,
    show_facts,
    show_table,
    size_text,
)
from bpfctl.errors import KernelError
from bpfctl.system.cgroups import KNOBS, ROOT_ID

if TYPE_CHECKING:
    from bpfctl.system import System
    from bpfctl.system.objects import Memcg

BAR_CELLS = 10
_MISSING = "bpfctl memcg tree shows the cgroups there are"
_ROOT_HINT = "the root cgroup has no limits: make one with 'bpfctl memcg create /NAME'"


@click.group(cls=WordGroup, invoke_without_command=True)
@json_option
@click.pass_context
def memcg(ctx: click.Context) -> None:
    """Memory cgroups: make, limit and look at them.

    PATH is a cgroup v2 path such as /web/db, sizes are bytes, 64K, 16M, 1G or max.
    """
    run_default(ctx, tree)


def _knob_options(command: Any) -> Any:
    for knob in KNOBS:
        option = click.option(f"--{knob}", metavar="SIZE", help=f"Write memory.{knob}.")
        command = option(command)
    return command


@memcg.command()
@click.argument("path")
@click.option(
    "-p", "--parents", is_flag=True, help="Make missing parents; an existing PATH is fine."
)
@_knob_options
@json_option
@pass_app
def create(app: App, /, path: str, parents: bool, **knobs: str | None) -> None:
    """Make the cgroup PATH."""
    limits = _limits_of(knobs)
    with open_kernel(app, write=True) as kernel:
        if parents:
            _make_parents(kernel, path)
        if not (parents and _exists(kernel, path)):
            with doing(
                f"can't create cgroup '{path}'",
                {E.NOENT: "its parent does not exist: add -p", E.EXIST: "choose another name"},
            ):
                kernel.memcg.create(path)
        _write_knobs(app, kernel, path, limits)
        done(app, path=kernel.memcg.lookup(path).path)


def _exists(kernel: System, path: str) -> bool:
    try:
        kernel.memcg.lookup(path)
    except KernelError as exc:
        if exc.code != E.NOENT:
            raise
        return False
    return True


def _make_parents(kernel: System, path: str) -> None:
    parts = [part for part in path.split("/") if part]
    for depth in range(1, len(parts)):
        parent = "/" + "/".join(parts[:depth])
        if not _exists(kernel, parent):
            with doing(f"can't create cgroup '{parent}'"):
                kernel.memcg.create(parent)


def _limits_of(knobs: dict[str, str | None]) -> dict[str, int | None]:
    return {knob: limit(text, f"memory.{knob}") for knob, text in knobs.items() if text is not None}


def _parse_assignments(assignments: tuple[str, ...]) -> dict[str, int | None]:
    """Return limits by knob of words such as ``memory.max=64M``."""
    limits: dict[str, int | None] = {}
    for word in assignments:
        name, equals, text = word.partition("=")
        knob = name.removeprefix("memory.")
        if not equals or knob not in KNOBS:
            files = ", ".join(f"memory.{known}" for known in KNOBS)
            raise CommandError(
                f"can't write '{word}'", hint=f"say FILE=SIZE, where FILE is one of {files}"
            )
        limits[knob] = limit(text, f"memory.{knob}")
    return limits


def _write_knobs(app: App, kernel: System, path: str, limits: dict[str, int | None]) -> None:
    for knob, nbytes in limits.items():
        hint = _MISSING
        with doing(f"can't look up cgroup '{path}'", {E.NOENT: _MISSING}):
            found = kernel.memcg.lookup(path)
        if found.id == ROOT_ID:
            hint = _ROOT_HINT
        elif kernel.memcg.mode == "off":
            hint = "this kernel runs without the memory controller (cgroup_memory off)"
        with doing(f"can't write memory.{knob} of '{path}'", {E.NOENT: hint}):
            killed = kernel.set_memory_knob(path, knob, nbytes)
        if killed and app.out.json is None:
            pids = ", ".join(str(pid) for pid in killed)
            app.out.err(f"the OOM killer of {found.path} took task {pids}\n")


@memcg.command(name="set")
@click.argument("path")
@click.argument("assignments", metavar="[FILE=SIZE]...", nargs=-1)
@_knob_options
@json_option
@pass_app
def set_(app: App, /, path: str, assignments: tuple[str, ...], **knobs: str | None) -> None:
    """Write limits of the cgroup PATH: memory.max=64M, or --max 64M."""
    limits = {**_parse_assignments(assignments), **_limits_of(knobs)}
    if not limits:
        raise CommandError("nothing to set", hint="say for example memory.max=64M")
    with open_kernel(app, write=True) as kernel:
        _write_knobs(app, kernel, path, limits)
        done(app)


def _lookup(kernel: System, path: str) -> Memcg:
    with doing(f"can't look up cgroup '{path}'", {E.NOENT: _MISSING}):
        return kernel.memcg.lookup(path)


def _limit_of(kernel: System, found: Memcg, knob: str) -> int | str:
    pages = getattr(found, f"{knob}_pages")
    return "max" if pages is None else int(pages) * kernel.memcg.page_size


def _files(kernel: System, found: Memcg) -> dict[str, Any]:
    """Return the files of a cgroup by name, as cgroupfs has them for it."""
    tree = kernel.memcg
    procs = [task.pid for task in tree.tasks.find(cgroup=found.id)]
    files: dict[str, Any] = {}
    if tree.mode != "off":
        if found.id != ROOT_ID:
            files["memory.current"] = tree.current(found)
            if kernel.profile.accounting.memory_peak:
                files["memory.peak"] = found.peak_pages * tree.page_size
            for knob in KNOBS:
                files[f"memory.{knob}"] = _limit_of(kernel, found, knob)
            files["memory.events"] = tree.events(found)
            files["memory.events.local"] = tree.events(found, local=True)
        files["memory.stat"] = kernel.memory_stat(found)
    files["cgroup.procs"] = procs
    return files


@memcg.command()
@click.argument("path", default="/")
@click.argument("file", required=False)
@json_option
@pass_app
def show(app: App, path: str, file: str | None) -> None:
    """Print the files of the cgroup PATH, or one FILE of it."""
    with open_kernel(app, write=False) as kernel:
        found = _lookup(kernel, path)
        files = _files(kernel, found)
        if file is not None:
            _show_file(app, path, files, file)
        elif not emit_json(app, {"path": found.path, **files}):
            procs = files.pop("cgroup.procs")
            show_facts(app, {**files, "cgroup.procs": " ".join(map(str, procs))})


def _show_file(app: App, path: str, files: dict[str, Any], name: str) -> None:
    if name not in files:
        raise CommandError(
            f"can't read '{name}' of '{path}': No such file or directory",
            hint=f"its files are {', '.join(files)}",
        )
    value = files[name]
    if emit_json(app, value):
        return
    if isinstance(value, dict):
        lines = [f"{key} {number}" for key, number in value.items()]
    else:
        lines = [str(item) for item in (value if isinstance(value, list) else [value])]
    app.out.put("".join(f"{line}\n" for line in lines))


@memcg.command()
@click.argument("path", default="/")
@json_option
@pass_app
def stat(app: App, path: str) -> None:
    """Print memory.stat of the cgroup PATH: the fields that BPF moves, in bytes."""
    with open_kernel(app, write=False) as kernel:
        _show_file(app, path, _files(kernel, _lookup(kernel, path)), "memory.stat")


@memcg.command()
@click.argument("path")
@click.option("--local", is_flag=True, help="Without those of descendants.")
@json_option
@pass_app
def events(app: App, path: str, local: bool) -> None:
    """Print memory.events of the cgroup PATH."""
    name = "memory.events.local" if local else "memory.events"
    with open_kernel(app, write=False) as kernel:
        _show_file(app, path, _files(kernel, _lookup(kernel, path)), name)


@memcg.command()
@click.argument("path", default="/")
@json_option
@pass_app
def tree(app: App, path: str) -> None:
    """Draw the cgroups below PATH with usage, limits and tasks."""
    with open_kernel(app, write=False) as kernel:
        found = _lookup(kernel, path)
        if emit_json(app, _branch(kernel, found)):
            return
        rows = list(_rows(kernel, found))
        headers = ("cgroup", "current", "max", "", "high", "tasks")
        show_table(app, headers, rows)


def _branch(kernel: System, found: Memcg) -> dict[str, Any]:
    """Return a subtree, nested as it is. Trees may be deeper than calls may be."""
    top: dict[str, Any] = {}
    above: list[list[dict[str, Any]]] = []
    for depth, each in kernel.memcg.walk(found.id):
        children: list[dict[str, Any]] = []
        node = {
            "path": each.path,
            "memory.current": kernel.memcg.current(each),
            "memory.max": _limit_of(kernel, each, "max"),
            "memory.high": _limit_of(kernel, each, "high"),
            "cgroup.procs": _files(kernel, each)["cgroup.procs"],
            "children": children,
        }
        del above[depth:]
        if depth:
            above[-1].append(node)
        else:
            top = node
        above.append(children)
    # The JSON encoder calls itself for each level.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _PER_LEVEL * _depth(kernel, found) + 1000))
    return top


_PER_LEVEL = 8


def _depth(kernel: System, found: Memcg) -> int:
    return max(depth for depth, _ in kernel.memcg.walk(found.id))


def _rows(kernel: System, found: Memcg) -> Iterator[tuple[str, ...]]:
    """Yield a row for each cgroup of a subtree, with the lines that lead to it."""
    page_size = kernel.memcg.page_size
    # What leads to the children of each level, and how many of these are still to come.
    below: list[str] = []
    to_come: list[int] = []
    for depth, each in kernel.memcg.walk(found.id):
        del below[depth:], to_come[depth:]
        lead = inner = ""
        if depth:
            to_come[-1] -= 1
            last = not to_come[-1]
            lead = below[-1] + ("└─ " if last else "├─ ")
            inner = below[-1] + ("   " if last else "│  ")
        below.append(inner)
        to_come.append(sum(1 for _ in kernel.memcg.children(each.id)))
        tasks = [f"{task.pid} ({task.comm})" for task in kernel.memcg.tasks.find(cgroup=each.id)]
        yield (
            lead + (each.name or each.path),
            size_text(kernel.memcg.current(each)),
            _bytes_text(each.max_pages, page_size),
            usage_bar(each.usage_pages, each.max_pages),
            _bytes_text(each.high_pages, page_size),
            ", ".join(tasks),
        )


def _bytes_text(pages: int | None, page_size: int) -> str:
    return size_text(None if pages is None else pages * page_size)


def usage_bar(usage: int, maximum: int | None) -> str:
    """Return ``[####......] 40%`` of usage against limit, "" without a limit."""
    if maximum is None:
        return ""
    share = usage / maximum if maximum else 1.0
    cells = min(BAR_CELLS, int(share * BAR_CELLS + 0.5))
    return f"[{'#' * cells}{'.' * (BAR_CELLS - cells)}] {share:.0%}"


@memcg.command()
@click.argument("pid", type=int)
@click.argument("path")
@json_option
@pass_app
def move(app: App, pid: int, path: str) -> None:
    """Move the task PID into the cgroup PATH; what it was charged stays where it is."""
    with open_kernel(app, write=True) as kernel:
        found = _lookup(kernel, path)
        with doing(f"can't move task {pid}", {E.NOENT: "bpfctl task show lists the tasks"}):
            kernel.memcg.move(kernel.task(pid), found.path)
        done(app)


@memcg.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@json_option
@pass_app
def rm(app: App, paths: tuple[str, ...]) -> None:
    """Remove cgroups; what they paid for stays charged to their ancestors."""
    with open_kernel(app, write=True) as kernel:
        for path in paths:
            hints = {E.NOENT: _MISSING, E.BUSY: _busy_hint(kernel, path)}
            with doing(f"can't remove cgroup '{path}'", hints):
                kernel.memcg.remove(path)
        done(app)


def _busy_hint(kernel: System, path: str) -> str:
    """Say what keeps a cgroup from going."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return "the root cgroup cannot be removed"
    if not _exists(kernel, path):
        return ""
    found = kernel.memcg.lookup(path)
    tasks = [task.pid for task in kernel.memcg.tasks.find(cgroup=found.id)]
    if tasks:
        moved = f"bpfctl memcg move {tasks[0]} /"
        return f"{count_of(len(tasks), 'task')} in it: move them away ({moved}) or end them"
    children = [child.path for child in kernel.memcg.children(found.id)]
    return f"remove {', '.join(children)} first" if children else ""
