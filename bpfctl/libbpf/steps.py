"""The single steps of loading: types, a map with its template, elements, a program.

:class:`~bpfctl.libbpf.load.Loader` takes them in libbpf's order for one object; whoever wants to
look at the machine between two of them takes them by itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.options import LoadOptions
from bpfctl.libbpf.paths import absolute, dirname
from bpfctl.libbpf.relocate import NO_FD, relocate
from bpfctl.libbpf.rlimit import explain_eperm
from bpfctl.uapi import PROG_TYPE_NUMBER, MapCreateAttr, ProgLoadAttr

if TYPE_CHECKING:
    from bpfctl.libbpf.mapspec import MapSpec
    from bpfctl.libbpf.object_progs import ProgramSpec

# Takes one message of the library, without its "libbpf: " prefix and its line break.
Warn = Callable[[str], None]

ANY_BTF_ID = 1
DEFAULT_BPFFS = "/sys/fs/bpf"
_WALK = 3  # log levels that show the verifier's walk
_NEEDS_TARGET = frozenset(PROG_TYPE_NUMBER[name] for name in ("tracing", "lsm"))
_EXT = PROG_TYPE_NUMBER["ext"]


def make_parent_dir(bpf: Bpf, path: str, warn: Warn) -> None:
    """Make the directory that ``path`` is in, which may exist; its own parent must.

    :raises KernelError: EINVAL outside of a bpffs, and what mkdir(2) says.
    """
    parent = absolute(dirname(path))
    bpffs = bpf.kernel.bpffs
    if not bpffs.is_bpffs(parent):
        warn(f"specified path {path} is not on BPF FS")
        raise KernelError(E.INVAL, path)
    try:
        bpffs.mkdir(parent)
    except KernelError as exc:
        if exc.code != E.EXIST:
            warn(f"failed to mkdir {path}: {exc.strerror}")
            raise


@dataclass(slots=True)
class Steps:
    """Steps of one load. Descriptors are those of the task of ``bpf``.

    ``btf_fd`` is the object's types in the kernel, 0 without. ``symbol_id`` stands for the BTF id
    of every kernel symbol; 0 has them loaded without; ``symbols`` are the ids of each. What a kind
    of loader does in its own way are the methods that it overrides: ``adjust``, ``made``,
    ``target``, ``explain_log``.
    """

    bpf: Bpf
    warn: Warn
    btf_fd: int = 0
    symbol_id: int = 0
    symbols: dict[str, int] | None = None
    options: LoadOptions = field(default_factory=LoadOptions)

    def adjust(self, spec: MapSpec, attr: MapCreateAttr) -> None:
        """Change what a map is created with, where its definition does not say all."""

    def made(self, spec: MapSpec) -> None:
        """Take notice of a new map while its inner template is still open."""

    def load_btf(self, raw: bytes) -> None:
        """Load the types; a kernel that refuses them does without."""
        try:
            self.btf_fd = self.bpf.btf_load(raw)
        except KernelError as exc:
            self.warn(f"BTF loading error: {-exc.code}")
            self.warn(f"Error loading .BTF into kernel: {-exc.code}. BTF is optional, ignoring.")

    # --- maps ----------------------------------------------------------------

    def create_map(self, spec: MapSpec, name: str) -> int:
        """Create a resolved map and return its descriptor; its template lives only meanwhile."""
        inner_fd = self._inner(spec.inner, name) if spec.inner else 0
        try:
            fd = self._map_create(spec, name, inner_fd)
            self.made(spec)
            return fd
        finally:
            if inner_fd:
                self.bpf.close(inner_fd)

    def _inner(self, spec: MapSpec, outer: str) -> int:
        try:
            return self._map_create(spec, spec.name, 0)
        except KernelError as exc:
            self.warn(f"map '{outer}': failed to create inner map: {-exc.code}")
            raise

    def _map_create(self, spec: MapSpec, name: str, inner_fd: int) -> int:
        attr = spec.create_attr(self.btf_fd, inner_fd)
        self.adjust(spec, attr)
        try:
            return self.bpf.map_create(attr)
        except KernelError as exc:
            if not attr.btf_fd or attr.btf_vmlinux_value_type_id:
                raise
            self.warn(
                f"Error in bpf_create_map_xattr({name}):{exc.strerror}({-exc.code}). "
                "Retrying without BTF."
            )
        return self._without_btf(attr)

    def _without_btf(self, attr: MapCreateAttr) -> int:
        """Try once more: an older kernel may not know the types of fields."""
        attr.btf_fd = attr.btf_key_type_id = attr.btf_value_type_id = 0
        return self.bpf.map_create(attr)

    def fill_slots(
        self, fd: int, label: str, slots: Mapping[int, str], kind: str, fds: Mapping[str, int]
    ) -> None:
        """Store the elements that a table of maps or programs is declared with."""
        for slot, name in sorted(slots.items()):
            held = fds.get(name, NO_FD)
            value = (held & 0xFFFFFFFF).to_bytes(4, "little")
            try:
                self.bpf.map_update_elem(fd, slot.to_bytes(4, "little"), value)
            except KernelError as exc:
                self.warn(
                    f"{label}: failed to initialize slot [{slot}] to {kind} '{name}' "
                    f"fd={held}: {-exc.code}"
                )
                raise

    # --- programs --------------------------------------------------------------

    def load_program(self, spec: ProgramSpec, fds: dict[str, int], license_: str) -> int:
        """Load a program that uses maps with these descriptors; return its own."""
        label = f"prog '{spec.name}'"
        try:
            attr = self._attr(spec, fds, license_, self.target(spec, label))
            return self._prog_load(spec, label, attr)
        except KernelError as exc:
            self.warn(f"{label}: failed to load: {-exc.code}")
            raise

    def _prog_load(self, spec: ProgramSpec, label: str, attr: ProgLoadAttr) -> int:
        """Load, and once more for the log's sake when that was refused (bpf_object_load_prog)."""
        options = self.options
        if options.log_level:
            attr.log_level, attr.log_size = options.log_level, options.log_size
        walked = options.log_level & _WALK
        try:
            try:
                fd = self.bpf.prog_load(attr)
            except KernelError as exc:
                if walked or exc.code == E.PERM:
                    raise
                attr.log_level, attr.log_size = options.log_level | 1, options.log_size
                fd = self.bpf.prog_load(attr)
        except KernelError as exc:
            attr.log = self.explain_log(spec, attr.log)
            if options.tried is not None:
                options.tried(spec.name, attr, exc)
            self.warn(f"{label}: BPF program load failed: {exc.strerror}")
            self.perm_note(exc)
            self._show_log(label, attr.log)
            raise
        if options.tried is not None:
            options.tried(spec.name, attr, None)
        if walked:
            self._show_log(label, attr.log)
        return fd

    def _show_log(self, label: str, log: str) -> None:
        if log:
            self.warn(f"{label}: -- BEGIN PROG LOAD LOG --\n{log}-- END PROG LOAD LOG --")

    def explain_log(self, spec: ProgramSpec, log: str) -> str:
        """Return a log with libbpf's own words for what only libbpf knows."""
        return log

    def _attr(
        self, spec: ProgramSpec, fds: dict[str, int], license_: str, target: int
    ) -> ProgLoadAttr:
        func_info = spec.func_info if self.btf_fd else []
        line_info = spec.line_info if self.btf_fd else []
        return ProgLoadAttr(
            prog_type=spec.type,
            insns=relocate(spec, fds, self.symbol_id, self.symbols),
            license=license_.encode(),
            prog_flags=spec.prog_flags,
            prog_name=spec.kernel_name,
            expected_attach_type=spec.attach_type or 0,
            prog_btf_fd=self.btf_fd,
            func_info_cnt=len(func_info),
            line_info_cnt=len(line_info),
            attach_btf_id=target,
            func_info=b"".join(struct.pack("<2I", *record) for record in func_info),
            line_info=b"".join(struct.pack("<4I", *record) for record in line_info),
        )

    def target(self, spec: ProgramSpec, label: str) -> int:
        """Return the type id of what a program is to be attached to, 0 for most.

        The simulated kernel has no types of its own: where one is wanted, any id does.

        :raises KernelError: EINVAL: the object does not say to what.
        """
        reason = ""
        if spec.type == _EXT:
            reason = "attach program FD is not set"
        elif spec.type in _NEEDS_TARGET and not spec.attach_to:
            reason = "no BTF-based attach target is specified, use bpf_program__set_attach_target()"
        if reason:
            self.warn(f"{label}: {reason}")
            self.warn(f"{label}: failed to prepare load attributes: {-E.INVAL}")
            raise KernelError(E.INVAL, reason)
        return ANY_BTF_ID if spec.type in _NEEDS_TARGET else 0

    def perm_note(self, exc: KernelError) -> None:
        """Say what libbpf says about EPERM."""
        note = explain_eperm(self.bpf, exc)
        if note:
            self.warn(note)
