"""``prog load`` and ``prog loadall``: arguments, the object, its pins."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfctl.cli.app.pins import exists, is_bpffs, prepare
from bpfctl.cli.app.select import map_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words, strtoul
from bpfctl.cli.map.create import find_netdev, raise_memlock
from bpfctl.errors import CommandError, Failure, KernelError
from bpfctl.libbpf.object_error import ObjectError
from bpfctl.libbpf.paths import absolute, dirname

if TYPE_CHECKING:
    from bpfctl.libbpf.load import LoadedProgram, Loader
    from bpfctl.libbpf.object import BpfObject

_DEV_DEPRECATED = (
    "Warning: 'bpftool prog load [...] dev <ifname>' syntax is deprecated.\n"
    "Going further, please use 'offload_dev <ifname>' to offload program to device.\n"
    "For applications using XDP hints only, use 'xdpmeta_dev <ifname>'."
)
# Types of programs that libbpf attaches to what their section names.
_ATTACHING = frozenset(
    ("kprobe", "tracepoint", "raw_tracepoint", "raw_tracepoint_writable", "tracing", "lsm", "ext")
)
# Said by libbpf, which then leaves it to its caller to fail.
SILENT = ""


def load(app: App, words: Words) -> None:
    """Run ``prog load OBJ PATH ...``: pin the first program at PATH."""
    if app.options.use_loader:
        _load_and_drop(app, words)
    else:
        _load(app, words, first_only=True)


def loadall(app: App, words: Words) -> None:
    """Run ``prog loadall OBJ PATH ...``: pin all programs in directory PATH."""
    _load(app, words, first_only=False)


@dataclass(slots=True)
class _Replacement:
    """A map that takes the place of one of the object: by number, or by ``name``."""

    index: int
    name: str | None
    fd: int


@dataclass(slots=True)
class _Arguments:
    """What follows OBJ and PATH. ``kind`` is program and attach type, if one was given."""

    kind: tuple[int, int | None] | None = None
    replacements: list[_Replacement] = field(default_factory=list)
    offload: int = 0
    xdpmeta: int = 0
    pinmaps: str | None = None
    autoattach: bool = False
    kernel_btf: str = ""


class _Parser:
    """Reads the arguments; keywords match in bpftool's order."""

    def __init__(self, app: App, words: Words) -> None:
        self.app = app
        self.words = words
        self.found = _Arguments()

    def parse(self) -> _Arguments:
        words = self.words
        while words.left:
            word = words.take()
            if "type".startswith(word):
                self._type()
            elif "map".startswith(word):
                self._map()
            elif "dev".startswith(word):
                self.app.out.info(_DEV_DEPRECATED)
                self._offload()
            elif "offload_dev".startswith(word):
                self._offload()
            elif "xdpmeta_dev".startswith(word):
                self._xdpmeta()
            elif "pinmaps".startswith(word):
                words.need(1)
                self.found.pinmaps = words.take()
            elif "autoattach".startswith(word):
                self.found.autoattach = True
            elif "kernel_btf".startswith(word):
                words.need(1)
                self.found.kernel_btf = words.take()
            else:
                raise CommandError(
                    f"expected no more arguments, 'type', 'map' or 'dev', got: '{word}'?"
                )
        return self.found

    def _type(self) -> None:
        if self.found.kind:
            raise CommandError("program type already specified")
        self.words.need(1)
        word = self.words.take()
        from bpfctl.libbpf.sections import find_section_def

        definition = find_section_def(word) or find_section_def(word + "/")
        if definition is None:
            raise unknown_section(self.app, word + "/")
        self.found.kind = definition.prog_type, definition.attach_type

    def _map(self) -> None:
        words = self.words
        words.need(4)
        if words.next_is("idx"):
            words.take()
            word = words.take()
            index = strtoul(word, 0)
            if index is None:
                raise CommandError(f"can't parse {word} as IDX")
            found = _Replacement((index & 0xFFFFFFFF ^ 0x80000000) - 0x80000000, None, 0)
        elif words.next_is("name"):
            words.take()
            found = _Replacement(-1, words.take(), 0)
        else:
            raise CommandError(f"expected 'idx' or 'name', got: '{words.peek()}'?")
        found.fd = map_fd(self.app, words)
        self.found.replacements.append(found)

    def _offload(self) -> None:
        if self.found.offload:
            raise CommandError("offload_dev already specified")
        if self.found.xdpmeta:
            raise CommandError("xdpmeta_dev and offload_dev are mutually exclusive")
        self.found.offload = self._device()

    def _xdpmeta(self) -> None:
        if self.found.xdpmeta:
            raise CommandError("xdpmeta_dev already specified")
        if self.found.offload:
            raise CommandError("xdpmeta_dev and offload_dev are mutually exclusive")
        self.found.xdpmeta = self._device()

    def _device(self) -> int:
        self.words.need(1)
        name = self.words.take()
        ifindex = find_netdev(self.app, name)
        if not ifindex:
            raise CommandError(f"unrecognized netdevice '{name}': No such device")
        return ifindex


def unknown_section(app: App, section: str) -> CommandError:
    """Say as libbpf does that a section name stands for no program type; bpftool adds nothing."""
    from bpfctl.libbpf.sections import supported_sections

    names = " ".join(supported_sections())
    _warner(app)(f"failed to guess program type from ELF section '{section}'")
    _warner(app)(f"supported section(type) names are: {names}")
    return CommandError(SILENT)


class _warner:
    """Prints messages of libbpf: on stderr, with JSON output, too."""

    def __init__(self, app: App) -> None:
        self.app = app

    def __call__(self, text: str) -> None:
        self.app.out.err(f"libbpf: {text}\n")


def open_file(app: App, path: str) -> BpfObject:
    """Read an object file.

    :raises CommandError: it is none; why was printed.
    """
    from bpfctl.libbpf.object import open_object
    from bpfctl.libbpf.object_maps import LoadRules

    warn = _warner(app)
    try:
        found = open_object(path, LoadRules(relaxed=app.options.mapcompat))
    except ObjectError as exc:
        warn(exc.libbpf_line)
    else:
        if not any(spec.origin == "legacy" for spec in found.maps):
            return found
        warn(
            "elf: legacy map definitions in 'maps' section are not supported by libbpf v1.0+"
        )
    raise CommandError("failed to open object file")


def _open(app: App, path: str, found: _Arguments) -> Loader:
    """Open an object and settle the types of its programs and which maps are replaced."""
    from bpfctl.libbpf.load import Loader, set_type
    from bpfctl.libbpf.options import LoadOptions
    from bpfctl.libbpf.sections import find_section_def

    obj = open_file(app, path)
    for spec in obj.programs:
        kind = found.kind
        if kind is None:
            definition = find_section_def(spec.section)
            if definition is None:
                raise unknown_section(app, spec.section.removeprefix("?"))
            kind = definition.prog_type, definition.attach_type
        set_type(spec, *kind)
    options = LoadOptions(kernel_btf=found.kernel_btf)
    loader = Loader(app.bpf, obj, _warner(app), app.kernel.profile.release, options)
    _replace_maps(loader, found.replacements)
    return loader


def _replace_maps(loader: Loader, replacements: list[_Replacement]) -> None:
    """Put the given maps into the places of the object's."""
    names = [made.name for made in loader.maps]
    for found in replacements:
        if found.name is not None:
            if found.name not in names:
                raise CommandError(f"unable to find map '{found.name}'")
            found.index = names.index(found.name)
    pending = sorted(replacements, key=lambda found: found.index)
    for index in range(len(names)):
        if not pending or pending[0].index != index:
            continue
        loader.reuse(index, pending.pop(0).fd)
        if pending and pending[0].index == index:
            raise CommandError(f"replacement for map idx {index} specified more than once")
    if pending:
        raise CommandError(f"map idx '{pending[0].index}' not used")


def _load(app: App, words: Words, first_only: bool) -> None:
    words.need(2)
    path, target = words.take(), words.take()
    found = _Parser(app, words).parse()
    raise_memlock(app)
    loader = _open(app, path, found)
    if found.offload or found.xdpmeta:
        raise CommandError("bpfctl does not simulate programs on devices yet")
    loader.load()
    try:
        _pin_programs(app, loader, target, first_only, found.autoattach)
        if found.pinmaps is not None:
            _pin_maps(app, loader, target, first_only, found.pinmaps)
    finally:
        if app.kernel.tasks.get(app.bpf.pid) is not None:  # not killed meanwhile
            loader.close()
    app.out.done()


def _load_and_drop(app: App, words: Words) -> None:
    """Load an object by way of a loader program (``-L``): nothing stays of it."""
    words.need(1)
    path = words.take()
    raise_memlock(app)
    loader = _open(app, path, _Arguments())
    loader.load()
    loader.close()


# --- pins ------------------------------------------------------------------------


def _pin_programs(
    app: App, loader: Loader, target: str, first_only: bool, autoattach: bool
) -> None:
    from bpfctl.libbpf.pinning import pin_programs

    if not first_only:
        prepare_dir(app, target)
        try:
            if autoattach:
                _attach_all(app, loader, target)
            else:
                pin_programs(loader, target)
        except KernelError as exc:
            raise CommandError("failed to pin all programs", hint=exc.hint) from exc
        return
    prepare(app, target)
    if not loader.programs:
        raise CommandError("object file doesn't contain any bpf program")
    program = loader.programs[0]
    try:
        if autoattach:
            _attach(app, program, target)
        else:
            app.bpf.obj_pin(program.fd, absolute(target))
    except KernelError as exc:
        section = program.spec.section.removeprefix("?")
        raise CommandError(f"failed to pin program {section}", hint=exc.hint) from exc


def _attach_all(app: App, loader: Loader, target: str) -> None:
    from bpfctl.libbpf.pinning import unpin

    done: list[str] = []
    try:
        for program in loader.programs:
            path = f"{target}/{program.name}"
            _attach(app, program, path)
            done.append(path)
    except (KernelError, Failure):
        unpin(app.bpf, done)
        raise


def _attach(app: App, program: LoadedProgram, path: str) -> None:
    """Pin a program that attaches to nothing by itself."""
    spec = program.spec
    if spec.attach_to and spec.type_name in _ATTACHING and "lsm_cgroup" not in spec.section:
        raise CommandError(f"bpfctl does not simulate links yet, as '{program.name}' needs one")
    app.out.info(
        f"Program {program.name} does not support autoattach, falling back to pinning"
    )
    app.bpf.obj_pin(program.fd, absolute(path))


def _pin_maps(app: App, loader: Loader, target: str, first_only: bool, pinmaps: str) -> None:
    """Pin the maps; if that fails, the programs are unpinned again."""
    from bpfctl.libbpf.pinning import pin_maps, unpin, unpin_programs

    try:
        prepare_dir(app, pinmaps)
        try:
            pin_maps(loader, pinmaps)
        except KernelError as exc:
            raise CommandError("failed to pin all maps", hint=exc.hint) from exc
    except Failure:
        if first_only:
            unpin(app.bpf, [target])
        else:
            unpin_programs(loader, target)
        raise


def prepare_dir(app: App, directory: str) -> None:
    """Check that ``directory`` is, or can be made, in a bpffs; mount one there if need be.

    :raises CommandError: nothing can be pinned in it.
    """
    if is_bpffs(app, directory):
        return
    there = exists(app, directory)
    if not there:
        parent = dirname(directory)
        if is_bpffs(app, parent):
            return
        if not exists(app, parent):
            raise CommandError(
                f"can't create dir '{directory}' to pin BPF object: "
                f"parent dir '{parent}' doesn't exist"
            )
    if app.options.nomount:
        raise CommandError("no BPF file system found, not mounting it due to --nomount option")
    if not there:
        try:
            os.mkdir(directory, 0o700)
        except OSError as exc:
            raise CommandError(f"failed to create dir '{directory}': {exc.strerror}") from exc
    elif not os.path.isdir(directory):
        raise CommandError(
            f"can't mount BPF file system on given dir '{directory}': Not a directory"
        )
    app.kernel.bpffs.mount(absolute(directory))
