"""Loading an object: its BTF, maps and programs through bpf(2), as libbpf 1.5 does it.

Imports nothing of the object reader, so that names of this module come cheap.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from bpfctl.errors import E, Failure, Hint, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.options import LoadOptions
from bpfctl.libbpf.relocate import NO_FD
from bpfctl.libbpf.steps import ANY_BTF_ID, DEFAULT_BPFFS, Steps, Warn, make_parent_dir
from bpfctl.uapi import BPF_OBJ_NAME_LEN, PROG_TYPE_NUMBER, MapInfo, ProgLoadAttr

if TYPE_CHECKING:
    from bpfctl.libbpf.core.apply import Target
    from bpfctl.libbpf.mapspec import MapSpec
    from bpfctl.libbpf.object import BpfObject
    from bpfctl.libbpf.object_progs import ProgramSpec

_PROG_ARRAY = "prog_array"
# r0 = 0; exit
_TRIVIAL = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
_PROBE_TYPES = ("socket_filter", "tracepoint")
_GET_ATTACH_COOKIE = 174
# What the kernel's types call the targets of programs, by attach type, and of what kind they are.
_TARGETS = {
    "trace_raw_tp": ("btf_trace_", "TYPEDEF"),
    "lsm_mac": ("bpf_lsm_", "FUNC"),
    "lsm_cgroup": ("bpf_lsm_", "FUNC"),
    "trace_iter": ("bpf_iter_", "FUNC"),
}
_POISONED = re.compile(
    r"^(\d+): \(85\) call unknown#(1958\d{5})\ninvalid func unknown#\2\n", re.MULTILINE
)


@lru_cache(maxsize=8)
def kernel_types(blob: bytes) -> Target:
    """Return the types of a kernel, parsed once."""
    from bpfctl.btf.parse import parse_btf
    from bpfctl.libbpf.core.apply import Target

    return Target(parse_btf(blob))


class LoadError(Failure):
    """An object could not be loaded; why has been said through the ``warn`` of the load."""

    def __init__(self, err: int, hint: Hint = "") -> None:
        super().__init__("failed to load object file", hint=hint)
        self.errno = err


def set_type(spec: ProgramSpec, prog_type: int, attach_type: int | None) -> None:
    """Make a program be of another type than its section says.

    What the section asks for besides (a target, flags) is then forgotten.
    """
    if spec.type != prog_type:
        spec.type, spec.prog_flags, spec.attach_to = prog_type, 0, ""
    spec.attach_type = attach_type


@dataclass(slots=True)
class LoadedMap:
    """A map of an object: its definition, and its descriptor once there is one.

    ``name`` is the declared one, or that of the map that takes its place. ``pin_path`` is where
    it is pinned or will be.
    """

    spec: MapSpec
    name: str
    fd: int = NO_FD
    reused: bool = False
    pin_path: str = ""
    pinned: bool = False

    @property
    def label(self) -> str:
        return f"map '{self.name}'"


@dataclass(slots=True)
class LoadedProgram:
    """A program of an object and its descriptor, -1 if it was not loaded."""

    spec: ProgramSpec
    fd: int = NO_FD

    @property
    def name(self) -> str:
        return self.spec.name


class Loader(Steps):
    """One object on its way into the kernel.

    ``release`` is what uname(2) says of the kernel, for programs that ask for
    LINUX_KERNEL_VERSION.
    """

    def __init__(
        self,
        bpf: Bpf,
        obj: BpfObject,
        warn: Warn,
        release: str = "",
        options: LoadOptions | None = None,
    ) -> None:
        super().__init__(bpf, warn, options=options or LoadOptions())
        self.obj = obj
        self.release = release
        self._target: Target | None = None
        self._config = b""
        self.maps: list[LoadedMap] = []
        kernel = bpf.kernel
        for spec in obj.maps:
            made = LoadedMap(spec.resolve(kernel.possible_cpus(), kernel.page_size()), spec.name)
            if spec.pinning:
                made.pin_path = f"{DEFAULT_BPFFS}/{spec.name}"
            self.maps.append(made)
        self.programs = [LoadedProgram(spec) for spec in obj.programs]

    def reuse(self, index: int, fd: int) -> None:
        """Put an existing map in the place of map ``index`` (bpf_map__reuse_fd).

        Its definition and name replace those of the object. The loader keeps ``fd`` open.
        """
        found = self.maps[index]
        info = self.bpf.map_info(fd)
        cut = len(info.name) == BPF_OBJ_NAME_LEN - 1 and info.name == found.spec.kernel_name
        if not cut:
            found.name = info.name.decode(errors="replace")
        found.spec = _as_it_is(found.spec, info)
        found.fd, found.reused = fd, True

    def load(self) -> None:
        """Create everything, or nothing.

        :raises LoadError: the kernel refused something.
        """
        try:
            self._probe()
            self._resolve_externs()
            self._refuse_struct_ops()
            self._relocate_core()
            if self.obj.btf is not None:
                from bpfctl.libbpf.btf_sanitize import sanitize

                self.load_btf(sanitize(self.bpf, self.obj.btf))
            for made in self.maps:
                self._create(made)
            for program in self.programs:
                if program.spec.autoload:
                    self._load_or_go_on(program)
            for made in self.maps:
                if made.spec.type_name == _PROG_ARRAY and not made.reused:
                    fds = {program.name: program.fd for program in self.programs}
                    self.fill_slots(made.fd, made.label, made.spec.slots, "prog", fds)
        except KernelError as exc:
            self._undo()
            self.warn(f"failed to load object '{self.obj.path}'")
            raise LoadError(exc.code, exc.hint) from exc

    def close(self) -> None:
        """Close all descriptors; what is pinned or in use elsewhere stays."""
        held: list[LoadedMap | LoadedProgram] = [*self.programs, *self.maps]
        for owner in held:
            if owner.fd != NO_FD:
                self.bpf.close(owner.fd)
                owner.fd = NO_FD
        if self.btf_fd:
            self.bpf.close(self.btf_fd)
            self.btf_fd = 0

    def _undo(self) -> None:
        for made in self.maps:
            if made.pinned and not made.reused:
                self.bpf.kernel.unlink(made.pin_path)
                made.pinned = False
        self.close()

    # --- before anything is created ----------------------------------------

    def _probe(self) -> None:
        """Find out whether programs can be loaded at all (bpf_object__probe_loading)."""
        for name in _PROBE_TYPES:
            try:
                fd = self.bpf.prog_load(ProgLoadAttr(PROG_TYPE_NUMBER[name], _TRIVIAL))
            except KernelError as exc:
                refused = exc
            else:
                self.bpf.close(fd)
                return
        self.warn(
            f"Error in bpf_object__probe_loading():{refused.strerror}({refused.code}). Couldn't "
            "load trivial BPF program. Make sure your kernel supports BPF (CONFIG_BPF_SYSCALL=y) "
            "and/or that RLIMIT_MEMLOCK is set to big enough value."
        )
        raise refused

    def _kernel_types(self) -> Target:
        """Return the kernel's types, or those of the file given for them.

        :raises KernelError: that file is none.
        """
        if self._target is None:
            path = self.options.kernel_btf
            self._target = kernel_types(self.bpf.kernel.vmlinux_btf()) if not path else None
            if self._target is None:
                from bpfctl.libbpf.core.apply import Target
                from bpfctl.libbpf.object import open_btf

                try:
                    self._target = Target(open_btf(path))
                except Failure as exc:
                    errno = getattr(exc, "errno", 0) or E.INVAL
                    self.warn(f"failed to parse target BTF: {-errno}")
                    raise KernelError(errno, exc.text) from exc
        return self._target

    def _resolve_externs(self) -> None:
        """Find what the object takes from the kernel's configuration and symbols."""
        obj = self.obj
        if not obj.externs or obj.btf is None:
            return
        from bpfctl.libbpf.externs import kconfig_data, resolve_ksyms

        values = {**self._virtual(), **self.bpf.kernel.kconfig(), **self.options.kconfig}
        size = max((each.offset + each.size for each in obj.externs), default=0)
        self._config = kconfig_data(size, obj.externs, obj.btf, values, self.warn)
        if any(not each.size for each in obj.externs):
            types = self._kernel_types().btf
            self.symbols = resolve_ksyms(obj.externs, obj.btf, types, self.warn)

    def _virtual(self) -> dict[str, str]:
        """Return the options that libbpf makes up."""
        major, _, minor = self.release.partition(".")
        code = int(major or 0) << 16 | int(minor.partition(".")[0] or 0) << 8
        cookie = self.bpf.kernel.helper_known(_GET_ATTACH_COOKIE)
        return {
            "LINUX_KERNEL_VERSION": str(code),
            "LINUX_HAS_BPF_COOKIE": "y" if cookie else "n",
            "LINUX_HAS_SYSCALL_WRAPPER": "y",
        }

    def _relocate_core(self) -> None:
        """Fit the programs to the kernel's types (bpf_object__relocate_core)."""
        from bpfctl.libbpf.core.apply import relocate_core
        from bpfctl.libbpf.core.value import CoreError

        for program in self.programs:
            spec = program.spec
            if not spec.core_relos or not spec.autoload or self.obj.btf is None:
                continue
            code = bytearray(spec.insns)
            target = self._kernel_types()
            try:
                relocate_core(spec.name, code, spec.core_relos, self.obj.btf, target, self.warn)
            except CoreError as exc:
                self.warn(f"failed to perform CO-RE relocations: {-exc.errno}")
                raise KernelError(exc.errno, str(exc)) from exc
            program.spec = replace(spec, insns=bytes(code))

    def target(self, spec: ProgramSpec, label: str) -> int:
        """Return the id of what a program attaches to; any id where the types are not all there.

        :raises KernelError: ESRCH: the kernel whose types were given has no such function.
        """
        number = super().target(spec, label)
        if number != ANY_BTF_ID or not self.options.kernel_btf:
            return number
        from bpfctl.btf.types import Kind
        from bpfctl.uapi_attach import ATTACH_TYPES

        attach = ATTACH_TYPES[spec.attach_type or 0].name
        prefix, kind = _TARGETS.get(attach, ("", Kind.FUNC.name))
        found = self._kernel_types().btf.find(prefix + spec.attach_to, Kind[kind])
        if found is None:
            self.warn(
                f"{label}: failed to find kernel BTF type ID of '{spec.attach_to}': {-E.SRCH}"
            )
            self.warn(f"{label}: failed to prepare load attributes: {-E.SRCH}")
            raise KernelError(E.SRCH, spec.attach_to)
        return found.id

    def explain_log(self, spec: ProgramSpec, log: str) -> str:
        found = _POISONED.search(log)
        if not found or self.obj.btf is None:
            return log
        from bpfctl.libbpf.core.apply import POISON_CALL, explain

        text = explain(int(found[2]) - POISON_CALL, spec.core_relos, self.obj.btf)
        if not text:
            return log
        words = f"{found[1]}: <invalid CO-RE relocation>\n"
        words += f"failed to resolve CO-RE relocation {text}\n"
        return log[: found.start()] + words + log[found.end() :]

    def _refuse_struct_ops(self) -> None:
        """Refuse tables of operations: their types are those of a running kernel's BTF."""
        for made in self.maps:
            if made.spec.origin == "struct_ops" and made.spec.autocreate and not made.reused:
                btf = self.obj.btf
                name = btf.type(made.spec.btf_value_type_id).name if btf else made.name
                self.warn(f"struct_ops init_kern: struct {name} is not found in kernel BTF")
                raise KernelError(E.OPNOTSUPP, "struct_ops")

    # --- maps ----------------------------------------------------------------

    def _create(self, made: LoadedMap) -> None:
        """Create a map with its first contents, or take the pinned one (create_maps)."""
        if not made.spec.autocreate:
            return
        try:
            if made.pin_path and not made.reused:
                self._reuse_pinned(made)
            if not made.reused:
                self._create_new(made)
            if made.pin_path and not made.pinned:
                self._auto_pin(made)
        except KernelError as exc:
            self.warn(f"{made.label}: failed to create: {exc.strerror}({-exc.code})")
            self.perm_note(exc)
            raise

    def _create_new(self, made: LoadedMap) -> None:
        spec = made.spec
        made.fd = self.create_map(spec, made.name)
        if spec.data is not None:
            self._populate(made)
        if spec.slots and spec.type_name != _PROG_ARRAY:
            fds = {known.spec.name: known.fd for known in self.maps}
            self.fill_slots(made.fd, made.label, spec.slots, "map", fds)

    def _populate(self, made: LoadedMap) -> None:
        """Store the first values of global variables; constants are frozen then."""
        data = (made.spec.data or b"").ljust(made.spec.value_size, b"\0")
        if made.spec.origin == "kconfig":
            data = self._config.ljust(len(data), b"\0")
        try:
            self.bpf.map_update_elem(made.fd, bytes(4), data)
        except KernelError as exc:
            self.warn(f"Error setting initial map({made.name}) contents: {exc.strerror}")
            raise
        if made.spec.frozen:
            try:
                self.bpf.map_freeze(made.fd)
            except KernelError as exc:
                self.warn(f"Error freezing map({made.name}) as read-only: {exc.strerror}")
                raise

    def _reuse_pinned(self, made: LoadedMap) -> None:
        """Take the map that is pinned by name, if any (bpf_object__reuse_map)."""
        try:
            fd = self.bpf.obj_get(made.pin_path)
        except KernelError as exc:
            if exc.code == E.NOENT:
                return
            self.warn(f"couldn't retrieve pinned map '{made.pin_path}': {exc.strerror}")
            self.warn(f"{made.label}: error reusing pinned map")
            raise
        info = self.bpf.obj_info(fd)
        if not isinstance(info, MapInfo) or not _compatible(made.spec, info):
            self.bpf.close(fd)
            self.warn(f"couldn't reuse pinned map at '{made.pin_path}': parameter mismatch")
            self.warn(f"{made.label}: error reusing pinned map")
            raise KernelError(E.INVAL, "another map is pinned there")
        made.fd, made.reused, made.pinned = fd, True, True

    def _auto_pin(self, made: LoadedMap) -> None:
        try:
            make_parent_dir(self.bpf, made.pin_path, self.warn)
            self.bpf.obj_pin(made.fd, made.pin_path)
        except KernelError as exc:
            self.warn(f"{made.label}: failed to auto-pin at '{made.pin_path}': {-exc.code}")
            raise
        made.pinned = True

    # --- programs --------------------------------------------------------------

    def _prog_fds(self) -> dict[str, int]:
        return {program.name: program.fd for program in self.programs}

    def _load(self, program: LoadedProgram) -> None:
        fds = {made.spec.name: made.fd for made in self.maps}
        program.fd = self.load_program(program.spec, fds, self.obj.license)
        self._bind_constants(program)

    def _load_or_go_on(self, program: LoadedProgram) -> None:
        try:
            self._load(program)
        except KernelError:
            if not self.options.each:
                raise

    def _bind_constants(self, program: LoadedProgram) -> None:
        """Make a program hold constants that it does not name, such as its metadata."""
        for made in self.maps:
            if made.spec.origin == "rodata" and made.fd != NO_FD:
                try:
                    self.bpf.prog_bind_map(program.fd, made.fd)
                except KernelError as exc:
                    self.warn(
                        f"prog '{program.name}': failed to bind map '{made.name}': {exc.strerror}"
                    )


def _compatible(spec: MapSpec, info: MapInfo) -> bool:
    """Tell whether a pinned map is what the object declares (map_is_reuse_compat)."""
    return (
        spec.type,
        spec.key_size,
        spec.value_size,
        spec.max_entries,
        spec.map_flags,
        spec.map_extra,
    ) == (
        info.type,
        info.key_size,
        info.value_size,
        info.max_entries,
        info.map_flags,
        info.map_extra,
    )


def _as_it_is(spec: MapSpec, info: MapInfo) -> MapSpec:
    """Return a definition with the properties of an existing map; its name stays."""
    return replace(
        spec,
        type=info.type,
        key_size=info.key_size,
        value_size=info.value_size,
        max_entries=info.max_entries,
        map_flags=info.map_flags,
        map_extra=info.map_extra,
    )
