"""Implementations of kernel subsystems by programs (kernel/bpf/bpf_struct_ops.c).

The one element, key 0, is a struct of the kernel: functions are descriptors of programs when
written, ids when read. Its row exists while it is registered; ``priv["state"]`` is the state.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import Ref, Row
from bpfctl.kernel.bpf.map import MapType, round_up
from bpfctl.kernel.profile import Member, StructOpsType
from bpfctl.kernel.records import MapRecord, ProgRecord, Task
from bpfctl.uapi import (
    BPF_F_LINK,
    BPF_F_VTYPE_BTF_OBJ_FD,
    INT_MAX,
    PROG_TYPE_NUMBER,
    MapCreateAttr,
)
from bpfctl_maps import examples

KEY = bytes(4)
POINTER = 8
CACHE_LINE = 64
INIT, INUSE, TOBEFREE, READY = range(4)


@dataclass(frozen=True, slots=True)
class Subsystem:
    """What a subsystem says about its struct (struct bpf_struct_ops).

    ``plain``: members that are not functions and may be set, with the bits they may have;
    ``required``: functions without which it is refused, a word with "|" for "one of these";
    ``names``: the member that must be unlike any other's; ``taken``: names of built-in ones.
    """

    plain: tuple[tuple[str, int], ...] = ()
    required: tuple[str, ...] = ()
    names: str = ""
    taken: tuple[bytes, ...] = ()
    registers: bool = True


SUBSYSTEMS = {
    "tcp_congestion_ops": Subsystem(
        plain=(("flags", 0x3), ("name", -1)),
        required=("ssthresh", "undo_cwnd", "cong_avoid|cong_control"),
        names="name",
        taken=(b"reno", b"cubic"),
    ),
    "bpf_dummy_ops": Subsystem(registers=False),
    "Qdisc_ops": Subsystem(registers=False),
    "io_uring_bpf_ops": Subsystem(registers=False),
    "sched_ext_ops": Subsystem(registers=False),
    "sched_ext_ops_cid": Subsystem(registers=False),
}


class StructOps(MapType):
    """BPF_MAP_TYPE_STRUCT_OPS."""

    name = "struct_ops"
    family = "bpf_struct_ops"
    example = Example(max_entries=1, writable=False, prepare=examples.tcp_congestion_ops)
    capability = "bpf"
    inner_allowed = False
    can_freeze = False
    vmlinux_value = True

    # --- creation --------------------------------------------------------

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        sizes = attr.key_size == 4 and attr.max_entries == 1 and attr.btf_vmlinux_value_type_id
        if not sizes or attr.map_flags & ~self.kernel.profile.struct_ops.flags:
            raise KernelError(E.INVAL, "sizes, map_flags or value type")

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        if attr.map_flags & BPF_F_VTYPE_BTF_OBJ_FD:
            raise KernelError(E.INVAL, "the value type is in no module")
        kernel = self.kernel
        unread = kernel.profile.checks.btf_struct_ops_late and kernel.progs.ids.peek() == 1
        known = () if unread else kernel.profile.struct_ops.types
        wanted = attr.btf_vmlinux_value_type_id
        found = next((ops for ops in known if ops.type_id == wanted), None)
        if found is None:
            raise KernelError(E.NOTSUPP, f"value type {wanted}")
        self.rec.priv["ops"] = found.name
        if attr.value_size != self._value_size:
            raise KernelError(E.INVAL, "value_size")

    @property
    def ops(self) -> StructOpsType:
        """The kernel type that the value is of."""
        types = self.kernel.profile.struct_ops.types
        return next(ops for ops in types if ops.name == self.rec.priv["ops"])

    @property
    def subsystem(self) -> Subsystem:
        """What the subsystem says about it."""
        return SUBSYSTEMS[self.ops.name]

    @property
    def _head(self) -> int:
        """Bytes of a value before the subsystem's struct: reference count, state, padding."""
        return self.sizeof("bpf_struct_ops_value")

    @property
    def _value_size(self) -> int:
        return round_up(self._head + self.ops.size, CACHE_LINE)

    @property
    def _map_size(self) -> int:
        return self.sizeof("bpf_struct_ops_map") + self._value_size - self._head

    def _tables(self) -> list[int]:
        """Bytes of the tables of pointers that go with the value."""
        members = self.ops.members
        nr = {"member": len(members), "function": sum(member.func for member in members)}
        return [nr[what] * POINTER for what in self.kernel.profile.struct_ops.per_member]

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        # The kernel adds the size of the field that holds the value's size, not that size.
        return self._map_size + 4 + sum(self._tables())

    def alloc(self) -> None:
        self.area_alloc("map", self._map_size)
        self.area_alloc("value", self._value_size)
        for number, size in enumerate(self._tables()):
            self.area_alloc(f"table{number}", size)

    def mem_usage(self) -> int:
        usage = self._map_size + self._value_size + sum(self._tables())
        return usage + self.kernel.config.page_size

    @classmethod
    def holds(cls, rec: MapRecord, rows: Iterable[Row]) -> Iterator[Ref]:
        """Yield the programs of a registered map, and the map itself."""
        progs = rec.priv.get("progs", ())
        if isinstance(progs, list):
            yield from (("prog", prog_id) for prog_id in progs if isinstance(prog_id, int))
        if rec.priv.get("state") == INUSE:
            yield "map", rec.id

    # --- the element -----------------------------------------------------

    @property
    def state(self) -> int:
        """INIT, INUSE, TOBEFREE or READY."""
        return int(self.rec.priv.get("state", INIT))

    @state.setter
    def state(self, state: int) -> None:
        self.rec.priv["state"] = state

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        if key != KEY:
            raise KernelError(E.NOENT)
        cell = self.cells.get(KEY)
        if cell is None:
            return bytes(self.rec.value_size)
        holders = max(self.rec.refcnt - self.rec.usercnt, 0)
        return struct.pack("<II", holders, self.state) + cell[0][8:]

    def next_key(self, key: bytes | None) -> bytes:
        if key == KEY:
            raise KernelError(E.NOENT)
        return KEY

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags:
            raise KernelError(E.INVAL)
        if key != KEY:
            raise KernelError(E.BIG)
        self._check_holes(value)
        if self.state != INIT:
            raise KernelError(E.BUSY, "registered before")
        taken: list[ProgRecord] = []
        try:
            stored = self._take_members(value, taken)
            self._validate(stored)
        except BaseException:
            self._drop([prog.id for prog in taken])
            raise
        self.rec.priv["progs"] = [prog.id for prog in taken]
        self.cells.put(KEY, stored, 0)
        if self.rec.map_flags & BPF_F_LINK:
            self.state = READY
        else:
            self.register()

    def _check_holes(self, value: bytes) -> None:
        """Refuse a value with anything outside of the members, state and count included.

        :raises KernelError: EINVAL.
        """
        left = bytearray(value)
        for member in self.ops.members:
            start = self._head + member.offset
            left[start : start + member.size] = bytes(member.size)
        if any(left):
            raise KernelError(E.INVAL, "padding, state or count is set")

    def _take_members(self, value: bytes, taken: list[ProgRecord]) -> bytes:
        """Return the value with ids for descriptors; ``taken`` gets the programs, referenced."""
        stored = bytearray(value)
        for index, member in enumerate(self.ops.members):
            if not self.subsystem.registers:
                raise KernelError(E.OPNOTSUPP, f"{self.ops.name} takes no members")
            start = self._head + member.offset
            content = int.from_bytes(value[start : start + member.size], "little")
            if not member.func:
                self._check_plain(member, content)
            elif content:
                prog = self._program(content, index)
                self.kernel.progs.inc(prog.id)
                taken.append(prog)
                stored[start : start + member.size] = prog.id.to_bytes(member.size, "little")
        return bytes(stored)

    def _check_plain(self, member: Member, content: int) -> None:
        allowed = dict(self.subsystem.plain).get(member.name, 0)
        if content & ~allowed:
            raise KernelError(E.INVAL, f"{member.name} cannot be {content:#x}")
        if member.name == self.subsystem.names and not content:
            raise KernelError(E.INVAL, "no name")

    def _program(self, fd: int, index: int) -> ProgRecord:
        """Return the program behind a function member, made for this very member.

        :raises KernelError: EBADF; EINVAL for another kind of object or program.
        """
        file = self.kernel.objects.file(fd if fd <= INT_MAX else -1)
        if file.obj_kind != "prog":
            raise KernelError(E.INVAL, f"fd {fd} is not a program")
        prog = self.kernel.progs.get(file.obj_id)
        made_for = prog.priv.get("struct_ops"), prog.priv.get("attach_type")
        if prog.type != PROG_TYPE_NUMBER["struct_ops"] or made_for != (self.ops.name, index):
            raise KernelError(E.INVAL, "a program for something else")
        return prog

    def _validate(self, stored: bytes) -> None:
        """Ask the subsystem whether the functions suffice.

        :raises KernelError: EINVAL.
        """
        for names in self.subsystem.required:
            if not any(self._member(stored, name).strip(b"\0") for name in names.split("|")):
                raise KernelError(E.INVAL, f"without {names}")

    def _member(self, stored: bytes, name: str) -> bytes:
        member = next(member for member in self.ops.members if member.name == name)
        start = self._head + member.offset
        return stored[start : start + member.size]

    # --- registration ----------------------------------------------------

    def register(self) -> None:
        """Hand the struct to the subsystem, which holds the map from now on.

        :raises KernelError: EEXIST when the name is taken; the element is gone then.
        """
        cell = self.cells.get(KEY)
        assert cell is not None
        names = self.subsystem.names
        if names and self._name(cell[0]) in self._taken_names():
            self._reset()
            raise KernelError(E.EXIST, names)
        self.state = INUSE
        self.kernel.maps.inc(self.rec.id, user=False)

    def _name(self, stored: bytes) -> bytes:
        return self._member(stored, self.subsystem.names).split(b"\0")[0]

    def _taken_names(self) -> set[bytes]:
        taken = set(self.subsystem.taken)
        for other in self.kernel.maps.of_type(self.name):
            assert isinstance(other, StructOps)
            cell = other.cells.get(KEY)
            if cell is not None and other.state == INUSE and other.ops.name == self.ops.name:
                taken.add(other._name(cell[0]))
        return taken

    def _reset(self) -> None:
        """Go back to how the map was made."""
        self.cells.delete(KEY)
        self._drop(self.rec.priv.pop("progs", []))
        self.state = INIT

    def _drop(self, prog_ids: list[int]) -> None:
        for prog_id in prog_ids:
            self.kernel.progs.put(prog_id)

    def delete(self, key: bytes) -> None:
        if self.rec.map_flags & BPF_F_LINK:
            raise KernelError(E.OPNOTSUPP, "its link is what unregisters it")
        if self.state == INIT:
            raise KernelError(E.NOENT)
        if self.state != INUSE:
            raise KernelError(E.INPROGRESS)
        self.state = TOBEFREE
        self.kernel.maps.put(self.rec.id, user=False)

    def free(self) -> None:
        self._drop(self.rec.priv.pop("progs", []))


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [StructOps]
