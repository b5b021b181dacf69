"""``bpfctl task mmap|munmap|read|write``: mappings of maps in a long-lived task."""

from __future__ import annotations

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, doing, done, json_option, open_kernel
from bpfctl.cli.app.settings import parse_size
from bpfctl.errors import CommandError, E, TaskKilled
from bpfctl.system import System
from bpfctl.system.objects import Mapping, Task

_MMAP_HINTS = {
    E.BADF: "'bpfctl task show PID' lists its descriptors",
    E.NOTSUPP: "arrays with flags 0x400, ring buffers and arenas can be mapped",
    E.INVAL: "offset and length: whole pages, within the map; arrays: created with flags 0x400",
    E.PERM: "the map is frozen, or this part of it is read-only",
}


def task_of(kernel: System, pid: int) -> Task:
    """Return a task that a person named."""
    task = kernel.tasks.get(pid)
    if task is None or task.transient:
        raise CommandError(f"no task {pid}", hint="'bpfctl task show' lists the tasks there are")
    return task


def _mapping(kernel: System, pid: int, number: int) -> Mapping:
    task_of(kernel, pid)
    found = kernel.mappings.records.get(number)
    if found is None or found.pid != pid:
        raise CommandError(
            f"task {pid} has no mapping {number}", hint="'bpfctl task mmap' prints their numbers"
        )
    return found


@click.command()
@click.argument("pid", type=int)
@click.argument("fd", type=int)
@click.option("--offset", default="0", help="Where in the map, in bytes; default 0.")
@click.option("--length", help="Bytes; default: one page.")
@click.option("--write", is_flag=True, help="Map writable.")
@click.option("--private", is_flag=True, help="MAP_PRIVATE, which maps refuse.")
@json_option
@pass_app
def mmap(
    app: App, pid: int, fd: int, offset: str, length: str | None, write: bool, private: bool
) -> None:
    """Map the map behind a task's descriptor; print the mapping's number.

    Its pages and page tables are charged to the task's cgroup. A writable mapping keeps the map
    from being frozen.
    """
    with open_kernel(app, write=True) as kernel:
        task_of(kernel, pid)
        at = parse_size(offset, "offset")
        nbytes = kernel.config.page_size if length is None else parse_size(length, "length")
        try:
            with doing(f"task {pid} can't map fd {fd}", _MMAP_HINTS):
                number = kernel.mmap(pid, fd, at, nbytes, write, shared=not private)
        except TaskKilled as killed:
            raise _killed(pid, killed) from killed
        found = _mapping(kernel, pid, number)
        done(app, f"{number} at {found.start:#x}", mapping=number, address=found.start)


def _killed(pid: int, killed: TaskKilled) -> CommandError:
    return CommandError(f"task {pid} was killed: {killed}", hint=killed.hint)


@click.command()
@click.argument("pid", type=int)
@click.argument("mapping", type=int)
@json_option
@pass_app
def munmap(app: App, pid: int, mapping: int) -> None:
    """Unmap a whole mapping."""
    with open_kernel(app, write=True) as kernel:
        _mapping(kernel, pid, mapping)
        kernel.munmap(pid, mapping)
        done(app)


@click.command()
@click.argument("pid", type=int)
@click.argument("mapping", type=int)
@click.argument("at")
@click.argument("size")
@json_option
@pass_app
def read(app: App, pid: int, mapping: int, at: str, size: str) -> None:
    """Let a task read SIZE bytes at byte AT of a mapping; print them in hex."""
    with open_kernel(app, write=True) as kernel:
        _mapping(kernel, pid, mapping)
        with doing(f"task {pid} can't read there", {E.FAULT: "that is outside of the mapping"}):
            content = kernel.mem_read(pid, mapping, parse_size(at, "AT"), parse_size(size, "SIZE"))
        done(app, content.hex(" "), bytes=content.hex())


@click.command()
@click.argument("pid", type=int)
@click.argument("mapping", type=int)
@click.argument("at")
@click.argument("content", metavar="HEX")
@json_option
@pass_app
def write(app: App, pid: int, mapping: int, at: str, content: str) -> None:
    """Let a task write bytes (in hex) at byte AT of a mapping."""
    try:
        data = bytes.fromhex(content)
    except ValueError:
        raise CommandError(f"'{content}' is not hex", hint="two digits a byte: 0a00ff") from None
    with open_kernel(app, write=True) as kernel:
        _mapping(kernel, pid, mapping)
        with doing(f"task {pid} can't write there", {E.FAULT: "it is not mapped writable"}):
            kernel.mem_write(pid, mapping, parse_size(at, "AT"), data)
        done(app)
