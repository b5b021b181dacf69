"""``bpfctl sim ls, rm, mkdir, object``: the virtual bpffs, and what maps refer to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.group import WordGroup, pass_app
from bpfctl.cli.ours import (
    App,
    CommandError,
    E,
    count_of,
    doing,
    done,
    emit_json,
    json_option,
    open_kernel,
    run_default,
    show_table,
)
from bpfctl.cli.pins import absolute

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import Pin, SimObject

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


def _entries(kernel: Kernel, found: Pin, recursive: bool) -> Iterator[Pin]:
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


def _remove(kernel: Kernel, path: str, recursive: bool) -> None:
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


def _make(kernel: Kernel, path: str, parents: bool) -> None:
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
    return {
        "id": found.id,
        "kind": found.kind,
        "name": found.name,
        "descriptors": found.refcnt,
        "facts": found.priv,
    }


@object_.command(name="list")
@json_option
@pass_app
def list_(app: App) -> None:
    """List the objects."""
    with open_kernel(app, write=False) as kernel:
        found = [_facts(each) for each in kernel.objects.records.find()]
    if not emit_json(app, found):
        rows = [
            (*list(each.values())[:-1], " ".join(f"{k}={v}" for k, v in each["facts"].items()))
            for each in found
        ]
        show_table(app, ("id", "kind", "name", "descriptors", "facts"), rows)


@object_.command()
@click.argument("kind")
@click.argument("facts", metavar="[NAME=VALUE]...", nargs=-1)
@click.option("--name", default="", help="Name, e.g. of a net device.")
@json_option
@pass_app
def create(app: App, kind: str, facts: tuple[str, ...], name: str) -> None:
    """Make an object; print its id."""
    from bpfctl.kernel.objects import KINDS

    parsed = dict(_parse_fact(fact) for fact in facts)
    hints = {E.INVAL: f"kinds are {', '.join(KINDS)}", E.EXIST: "choose another --name"}
    if kind == "netdev" and not name:
        raise CommandError("a net device needs a name", hint="say for example --name eth0")
    with open_kernel(app, write=True) as kernel:
        with doing(f"can't create {kind} '{name}'", hints):
            made = kernel.objects.create(kind, name, **parsed)
        done(app, str(made.id), **_facts(made))


def _parse_fact(text: str) -> tuple[str, int | str]:
    name, equals, value = text.partition("=")
    if not (equals and name.isidentifier() and name not in ("kind", "name")):
        raise CommandError(f"can't parse '{text}'", hint="say NAME=VALUE, such as ifindex=7")
    digits = value.removeprefix("-")
    return name, int(value) if digits.isascii() and digits.isdigit() and len(digits) < 19 else value


@object_.command(name="rm")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@json_option
@pass_app
def remove(app: App, ids: tuple[int, ...]) -> None:
    """Remove objects that no task holds open."""
    with open_kernel(app, write=True) as kernel:
        for obj_id in ids:
            with doing(
                f"can't remove object {obj_id}", {E.NOENT: "bpfctl sim object list shows them"}
            ):
                found = kernel.objects.get(obj_id)
            if found.refcnt:
                raise CommandError(
                    f"can't remove object {obj_id}: Device or resource busy",
                    hint=f"{count_of(found.refcnt, 'descriptor')} of it: see 'bpfctl task show'",
                )
            kernel.objects.records.remove(obj_id)
        done(app)
