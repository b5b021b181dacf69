"""BTF of a map's key and value: sizes, types that refuse it, special fields."""

from __future__ import annotations

import pytest

from bpfctl import uapi
from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.types import Composite, Datasec, DeclTag, Kind, Member, Ref, SecVar
from bpfctl.errors import KernelError, errno_name
from bpfctl.kernel import task as caps
from unit.kernel.machine import Machine

STRUCTS = {
    "spin_lock": ("bpf_spin_lock", 4),
    "timer": ("bpf_timer", 16),
    "wq": ("bpf_wq", 16),
    "list": ("bpf_list_head", 16),
}


class Types:
    """A blob with an ``int``, a ``u64``, and what a test adds."""

    def __init__(self) -> None:
        self.btf = BtfBuilder()
        self.int = self.btf.add_int("int", 4, 1)
        self.u64 = self.btf.add_int("u64", 8)
        self.char = self.btf.add_int("char", 1, 1)

    def bytes(self, size: int) -> int:
        return self.btf.add_array(self.char, size, self.int)

    def field(self, kind: str) -> tuple[int, int]:
        """Return type id and size of a special field."""
        if kind == "kptr":
            task = self.btf.add(Composite(Kind.STRUCT, "task_struct", 0, []))
            tag = self.btf.add(Ref(Kind.TYPE_TAG, "kptr", task))
            return self.btf.add_ptr(tag), 8
        name, size = STRUCTS[kind]
        return self.btf.add_struct(name, size, [("x", self.bytes(size), 0)]), size

    def value(self, *kinds: str) -> tuple[int, int]:
        """Return id and size of a struct with a ``u64`` and one field of each kind."""
        members, at, tagged = [Member("v", self.u64, 0)], 8, []
        for number, kind in enumerate(kinds):
            type_id, size = self.field(kind)
            align = min(size, 8)
            at = -(-at // align) * align
            if kind == "list":
                tagged.append(len(members))
            members.append(Member(f"f{number}", type_id, 8 * at))
            at += size
        at = -(-at // 8) * 8
        found = self.btf.add(Composite(Kind.STRUCT, "val", at, members))
        for member in tagged:
            self.btf.add(DeclTag(Kind.DECL_TAG, "contains:node:link", found, member))
        return found, at

    def datasec(self, size: int) -> int:
        var = self.btf.add_var("counter", self.int)
        return self.btf.add(Datasec(Kind.DATASEC, ".bss", size, [SecVar(var, 0, 4)]))


def create(
    machine: Machine, types: Types, kind: str, key: int, value: int, size: int, bpf=None, **attr
) -> int:
    bpf = bpf or machine.bpf
    number = uapi.MAP_TYPE_NUMBER[kind]
    attr = {"key_size": 4, "max_entries": 4, **attr}
    fd = bpf.btf_load(types.btf.encode())
    try:
        return bpf.map_create(
            uapi.MapCreateAttr(
                number,
                value_size=size,
                btf_fd=fd,
                btf_key_type_id=key,
                btf_value_type_id=value,
                **attr,
            )
        )
    finally:
        bpf.close(fd)


def outcome(*args, **kwargs) -> str:
    try:
        create(*args, **kwargs)
    except KernelError as exc:
        return errno_name(exc.code)
    return "ok"


def test_types_are_remembered_and_hold_the_btf():
    machine, types = Machine(), Types()
    value = types.bytes(8)
    fd = create(machine, types, "hash", types.int, value, 8)
    info = machine.bpf.map_info(fd)
    assert (info.btf_key_type_id, info.btf_value_type_id) == (types.int, value)
    assert list(machine.bpf.ids(machine.bpf.btf_get_next_id)) == [info.btf_id]
    machine.bpf.close(fd)
    assert list(machine.bpf.ids(machine.bpf.btf_get_next_id)) == []


@pytest.mark.parametrize(
    ("kind", "key", "size", "want"),
    [
        ("hash", "int", 8, "ok"),
        ("hash", "u64", 8, "EINVAL"),
        ("hash", "int", 9, "EINVAL"),
        ("hash", "missing", 8, "EINVAL"),
        ("hash", "none", 8, "EINVAL"),
        ("array", "int", 8, "ok"),
        ("array", "bytes", 8, "EINVAL"),
        ("array", "none", 8, "EINVAL"),
        ("prog_array", "bytes", 4, "ok"),
        ("prog_array", "none", 4, "EINVAL"),
        ("cgroup_array", "int", 4, "ENOTSUPP"),
        ("perf_event_array", "none", 4, "ENOTSUPP"),
    ],
)
def test_key_and_value(kind: str, key: str, size: int, want: str):
    types = Types()
    keys = {"int": types.int, "u64": types.u64, "missing": 99, "none": 0, "bytes": types.bytes(4)}
    value = types.bytes(4 if kind.endswith(("g_array", "p_array", "t_array")) else 8)
    assert outcome(Machine(), types, kind, keys[key], value, size) == want


@pytest.mark.parametrize(
    ("kind", "entries", "want"),
    [("array", 1, "ok"), ("array", 2, "EINVAL"), ("percpu_array", 1, "EINVAL")],
)
def test_global_data_needs_no_key(kind: str, entries: int, want: str):
    types = Types()
    section = types.datasec(16)
    got = outcome(Machine(), types, kind, 0, section, 16, max_entries=entries)
    assert got == want


def test_typedefs_are_looked_through():
    types = Types()
    key = types.btf.add_typedef("index_t", types.btf.add_modifier(Kind.CONST, types.int))
    value = types.btf.add_typedef("value_t", types.bytes(8))
    assert outcome(Machine(), types, "array", key, value, 8) == "ok"


@pytest.mark.parametrize(
    ("profile", "kind", "field", "want"),
    [
        ("5.10", "hash", "spin_lock", "ok"),
        ("5.10", "lru_hash", "spin_lock", "ENOTSUPP"),
        ("5.10", "percpu_array", "timer", "ok"),  # a struct like any other before 5.15
        ("6.1", "lru_hash", "spin_lock", "ENOTSUPP"),
        ("6.1", "lru_hash", "timer", "ok"),
        ("6.1", "percpu_array", "timer", "EOPNOTSUPP"),
        ("6.1", "percpu_array", "kptr", "ok"),
        ("6.1", "percpu_hash", "kptr", "EOPNOTSUPP"),
        ("6.12", "percpu_hash", "kptr", "ok"),
        ("6.12", "lru_hash", "spin_lock", "EOPNOTSUPP"),
        ("6.12", "percpu_hash", "timer", "EOPNOTSUPP"),
        ("6.12", "array", "wq", "ok"),
        ("6.12", "lru_percpu_hash", "wq", "EOPNOTSUPP"),
    ],
)
def test_special_fields_by_type_and_release(profile: str, kind: str, field: str, want: str):
    types = Types()
    value, size = types.value(field)
    machine = Machine(profile)
    assert outcome(machine, types, kind, types.int, value, size) == want
    assert machine.paid("map") == 0 or want == "ok"


def test_fields_are_remembered_by_place():
    machine, types = Machine(), Types()
    value, size = types.value("spin_lock", "timer", "kptr")
    fd = create(machine, types, "hash", types.int, value, size)
    fields = machine.kernel.maps.get(machine.bpf.map_info(fd).id).rec.fields
    assert fields == {"spin_lock": [[8, 4]], "timer": [[16, 16]], "kptr": [[32, 8]]}


@pytest.mark.parametrize(
    ("kinds", "want"),
    [
        (("spin_lock", "list"), {"spin_lock": [[8, 4]], "list": [[16, 16]]}),
        (("list",), {}),  # nothing protects it
        (("spin_lock", "spin_lock"), {}),
    ],
    ids=["lock and list", "list alone", "two locks"],
)
def test_fields_that_go_together(kinds: tuple[str, ...], want):
    machine, types = Machine(), Types()
    value, size = types.value(*kinds)
    fd = create(machine, types, "hash", types.int, value, size)
    assert machine.kernel.maps.get(machine.bpf.map_info(fd).id).rec.fields == want


@pytest.mark.parametrize(
    ("profile", "field", "flags", "want"),
    [
        ("6.1", "spin_lock", uapi.BPF_F_RDONLY_PROG, "EACCES"),
        ("6.1", "spin_lock", uapi.BPF_F_WRONLY_PROG, "ok"),
        ("6.12", "spin_lock", uapi.BPF_F_WRONLY_PROG, "EACCES"),
        ("6.1", "kptr", uapi.BPF_F_WRONLY_PROG, "EACCES"),
    ],
)
def test_special_fields_need_both_ways(profile: str, field: str, flags: int, want: str):
    types = Types()
    value, size = types.value(field)
    machine = Machine(profile)
    assert outcome(machine, types, "hash", types.int, value, size, map_flags=flags) == want


def test_special_fields_take_cap_bpf_since_6_2():
    machine = Machine("6.12", unprivileged_bpf_disabled=0)
    types = Types()
    value, size = types.value("spin_lock")
    weak = machine.task(caps=0)
    machine.kernel.task(weak.pid).caps = caps.CAP_BPF
    fd = weak.btf_load(types.btf.encode())
    machine.kernel.task(weak.pid).caps = 0
    attr = uapi.MapCreateAttr(
        uapi.MAP_TYPE_NUMBER["array"],
        4,
        size,
        4,
        btf_fd=fd,
        btf_key_type_id=types.int,
        btf_value_type_id=value,
    )
    with pytest.raises(KernelError) as found:
        weak.map_create(attr)
    assert errno_name(found.value.code) == "EPERM"


def test_6_18_pays_for_the_list_of_fields():
    cost = {}
    for kinds in ((), ("spin_lock",), ("spin_lock", "timer")):
        machine, types = Machine("6.18"), Types()
        value, size = types.value(*kinds) if kinds else (types.bytes(32), 32)
        create(machine, types, "array", types.int, value, size)
        allocs = machine.kernel.mm.allocs.find(owner_kind="map")
        cost[kinds] = sum(alloc.charge for alloc in allocs if alloc.label == "btf_record")
    assert list(cost.values()) == [0, 96 + 8, 128 + 8]


def test_bad_descriptor():
    machine = Machine()
    attr = uapi.MapCreateAttr(
        uapi.MAP_TYPE_NUMBER["hash"], 4, 4, 4, btf_fd=99, btf_key_type_id=1, btf_value_type_id=1
    )
    with pytest.raises(KernelError) as found:
        machine.bpf.map_create(attr)
    assert errno_name(found.value.code) == "EBADF"


def test_descriptor_of_something_else():
    machine = Machine()
    attr = uapi.MapCreateAttr(
        uapi.MAP_TYPE_NUMBER["hash"],
        4,
        4,
        4,
        btf_fd=machine.array(),
        btf_key_type_id=1,
        btf_value_type_id=1,
    )
    with pytest.raises(KernelError) as found:
        machine.bpf.map_create(attr)
    assert errno_name(found.value.code) == "EINVAL"


@pytest.mark.parametrize("kind", ["array", "hash"])
def test_what_the_kernel_keeps_in_a_value_is_not_written_by_users(kind: str):
    machine, types = Machine(), Types()
    value, size = types.value("spin_lock")
    fd = create(machine, types, kind, types.int, value, size)
    written = bytes(range(1, size + 1))
    stored = written[:8] + bytes(4) + written[12:]
    machine.bpf.map_update_elem(fd, bytes(4), written)
    assert machine.bpf.map_lookup_elem(fd, bytes(4)) == stored
    machine.bpf.map_update_elem(fd, bytes(4), written, uapi.BPF_F_LOCK)
    assert machine.bpf.map_lookup_elem(fd, bytes(4), uapi.BPF_F_LOCK) == stored
    key = (1).to_bytes(4, "little")
    batch = uapi.BatchAttr(fd, keys=key, values=written, count=1)
    assert machine.bpf.map_batch(uapi.Cmd.MAP_UPDATE_BATCH, batch).count == 1
    assert machine.bpf.map_lookup_elem(fd, key) == stored


def test_each_cpu_has_its_own_fields():
    machine, types = Machine(), Types()
    value, size = types.value("kptr")
    fd = create(machine, types, "percpu_hash", types.int, value, size)
    written = bytes(range(1, 2 * size + 1))
    machine.bpf.map_update_elem(fd, bytes(4), written)
    want = written[:8] + bytes(8) + written[16:24] + bytes(8)
    assert machine.bpf.map_lookup_elem(fd, bytes(4)) == want
