"""``bpftool gen min_core_btf``: of the kernel's types, what the relocations of objects need."""

from __future__ import annotations

from bpfctl.btf.parse import Btf
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.errors import CommandError, strerror


def min_core_btf(app: App, words: Words) -> None:
    """Read INPUT (the types of a kernel) and OBJECT..., write OUTPUT."""
    if words.left < 3:
        app.out.error(words.shortage(3))
        raise UsageExit
    source, target = words.take(), words.take()
    objects = []
    while words.left:
        objects.append(words.take())
    blob = needed(app, _types(app, source), objects)
    try:
        with open(target, "wb") as file:
            file.write(blob)
    except OSError as exc:
        why = strerror(exc.errno or 0)
        raise CommandError(f"failed to write '{target}': {why}", 256 - (exc.errno or 1)) from exc


def _types(app: App, path: str) -> Btf:
    from bpfctl.libbpf.object import open_btf
    from bpfctl.libbpf.object_error import ObjectError

    try:
        return open_btf(path)
    except ObjectError as exc:
        why = strerror(exc.errno)
        app.out.error(f"failed parsing '{path}' BTF file: {why}")
        raise CommandError(
            f"failed to allocate info structure: {why}", 256 - exc.errno
        ) from exc


def needed(app: App, types: Btf, objects: list[str]) -> bytes:
    """Return the blob with all that the programs of ``objects`` ask of ``types``."""
    from bpfctl.btf.types import BtfError
    from bpfctl.cli.prog.load import open_file
    from bpfctl.libbpf.core.apply import Target
    from bpfctl.libbpf.core.match import match
    from bpfctl.libbpf.core.minimal import Minimal
    from bpfctl.libbpf.core.spec import RelocationKind, parse_spec

    target, minimal = Target(types), Minimal(types)
    for path in objects:
        obj = open_file(app, path)
        relocations = [each for spec in obj.programs for each in spec.core_relos]
        for relocation in relocations:
            if obj.btf is None or relocation.kind == RelocationKind.TYPE_ID_LOCAL:
                continue
            try:
                local = parse_spec(obj.btf, relocation)
                for candidate in target.candidates.of(obj.btf.type(relocation.type_id)):
                    found = match(local, types, candidate)
                    if found is not None:
                        minimal.keep(found)
            except BtfError as exc:
                raise CommandError(f"failed to process '{path}': {exc.reason}") from exc
    return minimal.encode()
