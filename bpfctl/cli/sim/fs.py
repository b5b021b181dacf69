"""``bpfctl sim ls, rm, mkdir, object``: the virtual bpffs, and what maps refer to."""

from __future__ import annotations

from collections.abc import Iterator
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
    show_table,
)
from bpfctl.libbpf.paths import absolute

if TYPE_CHECKING:
    from bpfctl.system import System
    from bpfctl.system.objects import Pin, SimObject

BPFFS = "/sys/fs/bpf"
_DIRS = ("dir", "mount")
_NO_FILE = f"bpfctl sim ls {BPFFS} shows what there is"


@click.command()
@click.argument("path", default=BPFFS)
@click.option("-R", "--recursive", is_flag=True, help="Directories below, too.")
@json_option
@pass_app
def ls(app: App, path: str, recursive: bool) -> None:
    """List a directory of the virtual bpffs."""
    with open_kernel(app, write=False) as kernel:
        found = kernel.bpffs.get(absolute(path))
        if found is None:
            raise CommandError(f"can't list '{path}': No such file or directory", hint=_NO_FILE)
        entries = list(_entries(kernel, found, recursive))
    facts = [{"path": pin.path, "kind": pin.kind, "id": pin.obj_id or None} for pin in entries]
    if emit_json(app, facts):
        return
    for pin in entries:
        name = pin.path if recursive or pin is found else pin.path.rpartition("/")[2]
        what = "/" if pin.kind in _DIRS else f"  {pin.kind} {pin.obj_id}"
        app.out.put(f"{name}{what}\n")


def _entries(kernel: System, found: Pin, recursive: bool) -> Iterator[Pin]:
    if found.kind not in _DIRS:
        yield found
        return
    for entry in kernel.bpffs.list(found.path):
        yield entry
        if recursive and entry.kind in _DIRS:
            yield from _entries(kernel, entry, recursive)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Directories with all that is in them.")
@click.option("-f", "--force", is_flag=True, help="Be content with what is not there.")
@json_option
@pass_app
def rm(app: App, paths: tuple[str, ...], recursive: bool, force: bool) -> None:
    """Remove pins from the virtual bpffs; what nothing else holds is freed."""
    hints = {
        E.NOENT: _NO_FILE,
        E.NOTEMPTY: "add -r to remove what is in it",
        E.BUSY: "it is a mount point",
        E.ISDIR: "add -r to remove a directory",
    }
    with open_kernel(app, write=True) as kernel:
        for path in paths:
            full = absolute(path)
            if force and not kernel.bpffs.exists(full):
                continue
            with doing(f"can't remove '{path}'", hints):
                _remove(kernel, full, recursive)
        done(app)


def _remove(kernel: System, path: str, recursive: bool) -> None:
    if recursive and kernel.bpffs.is_dir(path):
        for entry in kernel.bpffs.list(path):
            _remove(kernel, entry.path, recursive)
    kernel.unlink(path)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("-p", "--parents", is_flag=True, help="Make parents; existing ones are fine.")
@json_option
@pass_app
def mkdir(app: App, paths: tuple[str, ...], parents: bool) -> None:
    """Make directories in the virtual bpffs."""
    hints = {
        E.NOENT: "its parent does not exist: add -p",
        E.EXIST: "with -p an existing directory is fine",
        E.PERM: "names in a bpffs have no dots",
    }
    with open_kernel(app, write=True) as kernel:
        for path in paths:
            full = absolute(path)
            with doing(f"can't create directory '{path}'", hints):
                if not kernel.bpffs.is_bpffs(full):
                    raise CommandError(
                        f"can't create directory '{path}': it is in no bpffs",
                        hint=f"the virtual bpffs is {BPFFS}",
                    )
                _make(kernel, full, parents)
        done(app)


def _make(kernel: System, path: str, parents: bool) -> None:
    if parents and kernel.bpffs.is_dir(path):
        return
    parent = path.rpartition("/")[0]
    if parents and parent and not kernel.bpffs.exists(parent):
        _make(kernel, parent, parents)
    kernel.bpffs.mkdir(path)


@click.group(name="object", cls=WordGroup, invoke_without_command=True)
@json_option
@click.pass_context
def object_(ctx: click.Context) -> None:
    """Sockets, inodes, net devices and the like, which maps refer to."""
    run_default(ctx, list_)


def _facts(found: SimObject) -> dict[str, Any]:
    from bpfctl.system.objects import shown

    return {"id": found.id, "kind": found.kind, "name": found.name, **shown(found)}


_COLUMNS = ("id", "kind", "name", "descriptors", "maps", "gone")


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _row(facts: dict[str, Any]) -> list[str]:
    others = [f"{name}={_word(facts[name])}" for name in facts if name not in _COLUMNS]
    return [*(_word(facts[name]) for name in _COLUMNS), " ".join(others)]


@object_.command(name="list")
@json_option
@pass_app
def list_(app: App) -> None:
    """List the objects."""
    with open_kernel(app, write=False) as kernel:
        found = [_facts(each) for each in kernel.objects.records.find()]
    if not emit_json(app, found):
        show_table(app, (*_COLUMNS, "attributes"), [_row(facts) for facts in found])


@object_.command()
@click.argument("kind")
@click.argument("attributes", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--name", default="", help="Its name; what that means depends on KIND.")
@json_option
@pass_app
def create(app: App, kind: str, attributes: tuple[str, ...], name: str) -> None:
    """Make an object; print its id. 'sim object kinds' lists kinds and attributes."""
    from bpfctl.system.objects import parse_attributes

    hints = {
        E.INVAL: "see 'bpfctl sim object kinds'",
        E.EXIST: "see 'bpfctl sim object list'",
        E.NOENT: "bpfctl task show lists the tasks",
    }
    what = f"can't create {kind}" + (f" '{name}'" if name else "")
    with open_kernel(app, write=True) as kernel, doing(what, hints):
        made = kernel.objects.create(kind, name, **parse_attributes(kind, list(attributes)))
        done(app, str(made.id), **_facts(made))


@object_.command()
@json_option
@pass_app
def kinds(app: App) -> None:
    """List the kinds of objects, what their names mean, and their attributes."""
    from bpfctl.system.objects import KINDS

    for name, kind in KINDS.items() if app.out.json is None else ():
        app.out.put(f"{name}: {kind.help}\n  --name: {kind.named}\n")
        for attribute in kind.attributes:
            app.out.put(f"  {attribute.name}: {attribute.help}: {attribute.expected()}\n")
    emit_json(
        app,
        {
            name: {
                "about": kind.help,
                "name": kind.named,
                "attributes": {a.name: f"{a.help}: {a.expected()}" for a in kind.attributes},
            }
            for name, kind in KINDS.items()
        },
    )


@object_.command(name="rm")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@json_option
@pass_app
def remove(app: App, ids: tuple[int, ...]) -> None:
    """End the life of objects: unregister a device, end a task, remove a cgroup."""
    hints = {
        E.NOENT: "bpfctl sim object list shows them",
        E.BUSY: "tasks or cgroups are in it: see 'bpfctl memcg tree'",
    }
    with open_kernel(app, write=True) as kernel:
        for obj_id in ids:
            with doing(f"can't remove object {obj_id}", hints):
                kernel.objects.remove(obj_id)
        done(app)
