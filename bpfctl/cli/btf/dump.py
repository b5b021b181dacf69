"""``btf dump``: the types of a BTF object, a map, a program or a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.select import map_fd_and_info, prog_fd, take_id
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.cli.btf.source import btf_info
from bpfctl.cli.prog.show import prog_info
from bpfctl.errors import CommandError, E, KernelError, strerror
from bpfctl.libbpf.object_error import LIBBPF_ERRNO_FORMAT, ObjectError

if TYPE_CHECKING:
    from bpfctl.btf.parse import Btf

_INVAL = -E.INVAL & 0xFF


class _Source:
    """Where types come from: a BTF id of the kernel, or types read already.

    ``roots`` are the types asked for, None for all.
    """

    def __init__(self, btf_id: int = 0, btf: Btf | None = None) -> None:
        self.btf_id = btf_id
        self.btf = btf
        self.roots: list[int] | None = None


def dump(app: App, words: Words) -> None:
    """Run ``btf dump SOURCE [format raw|c] [unsorted]``."""
    _need(app, words)
    word = words.take()
    for keyword, read in _SOURCES.items():
        if keyword.startswith(word):
            source = read(app, words)
            break
    else:
        raise CommandError(f"unrecognized BTF source specifier: '{word}'")
    as_c, ordered = _options(words)
    btf = source.btf if source.btf is not None else _kernel_types(app, source.btf_id)
    if as_c:
        _dump_c(app, btf, source.roots, ordered)
    else:
        _dump_raw(app, btf, source.roots)


def _need(app: App, words: Words) -> None:
    complaint = words.shortage(2)
    if complaint:
        app.out.error(complaint)
        raise UsageExit


def _map(app: App, words: Words) -> _Source:
    _need(app, words)
    _, info = map_fd_and_info(app, words)
    source = _Source(info.btf_id)
    key, value = info.btf_key_type_id, info.btf_value_type_id
    for keyword, roots in (("key", [key]), ("value", [value]), ("all", None), ("kv", [key, value])):
        if words.next_is(keyword):
            words.take()
            source.roots = roots
            return source
    source.roots = [key, value]
    return source


def _prog(app: App, words: Words) -> _Source:
    _need(app, words)
    return _Source(prog_info(app, prog_fd(app, words)).btf_id)


def _id(app: App, words: Words) -> _Source:
    return _Source(take_id(words))


def _file(app: App, words: Words) -> _Source:
    path = words.take()
    return _Source(btf=_read_file(app, path))


# In the order in which prefixes match.
_SOURCES: dict[str, Callable[[App, Words], _Source]] = {
    "map": _map,
    "prog": _prog,
    "id": _id,
    "file": _file,
}


def _read_file(app: App, path: str) -> Btf:
    from bpfctl.libbpf.object import open_btf

    try:
        return open_btf(path, _base(app))
    except ObjectError as exc:
        err = E.IO if exc.errno == E.ISDIR else exc.errno or E.NOENT
        if err == LIBBPF_ERRNO_FORMAT:
            app.out.err(f"libbpf: failed to get EHDR from {path}\n")
        elif err == E.NODATA:
            app.out.err(f"libbpf: failed to find '.BTF' ELF section in {path}\n")
        raise CommandError(
            f"failed to load BTF from {path}: {strerror(err)}", -err & 0xFF
        ) from exc


def _base(app: App) -> Btf | None:
    """Return the types of ``-B``, which those of a split BTF follow."""
    path = app.options.base_btf
    if path is None:
        return None
    from bpfctl.libbpf.object import open_btf

    try:
        return open_btf(path)
    except ObjectError as exc:
        raise CommandError(f"failed to parse base BTF at '{path}': {-exc.errno}\n") from exc


def _options(words: Words) -> tuple[bool, bool]:
    """Read what follows the source: is it to be C, and sorted?"""
    as_c, ordered = False, True
    while words.left:
        word = words.take()
        if "format".startswith(word):
            if not words.left:
                raise CommandError("expecting value for 'format' option\n", _INVAL)
            name = words.take()
            if name not in ("c", "raw"):
                raise CommandError(
                    f"unrecognized format specifier: '{name}', possible values: raw, c", _INVAL
                )
            as_c = name == "c"
        elif "unsorted".startswith(word):
            ordered = False
        else:
            raise CommandError(f"unrecognized option: '{word}'", _INVAL)
    return as_c, ordered


def _kernel_types(app: App, btf_id: int) -> Btf:
    from bpfctl.btf.parse import parse_btf
    from bpfctl.btf.types import BtfError

    try:
        return parse_btf(btf_info(app, btf_id).btf, _base(app))
    except KernelError as exc:
        if app.options.base_btf is None:
            app.out.error(f"can't get BTF object by id ({btf_id}): {exc.strerror}")
        raise CommandError(
            f"get btf by id ({btf_id}): {exc.strerror}", -exc.code & 0xFF, exc.hint
        ) from exc
    except BtfError as exc:
        raise CommandError(f"get btf by id ({btf_id}): {strerror(E.INVAL)}", _INVAL) from exc


def _dump_raw(app: App, btf: Btf, roots: list[int] | None) -> None:
    from bpfctl.btf.dump import dump_raw, dump_records

    json = app.out.json
    if json is None:
        for line in dump_raw(btf, roots):
            app.out.put(line + "\n")
        return
    json.begin_object()
    json.name("types")
    write_records(json, dump_records(btf, roots))
    json.end_object()


def write_records(json: JsonWriter, records: list[dict[str, Any]]) -> None:
    """Write records as objects; a list in one of them is an array of records."""
    json.begin_array()
    for record in records:
        json.begin_object()
        for name, value in record.items():
            if isinstance(value, list):
                json.name(name)
                write_records(json, value)
            else:
                json.member(name, value)
        json.end_object()
    json.end_array()


def _dump_c(app: App, btf: Btf, roots: list[int] | None, ordered: bool) -> None:
    if app.out.json is not None:
        raise CommandError(
            "JSON output for C-syntax dump is not supported", -E.OPNOTSUPP & 0xFF
        )
    from bpfctl.btf.c_dump import dump_c

    app.out.put(dump_c(btf, roots, ordered))
