"""struct_ops: value types, the one element, registration."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.errors import KernelError, errno_name
from bpfctl.kernel.records import ProgRecord
from bpfctl.uapi import BPF_F_LINK, PROG_TYPE_NUMBER
from unit.maps.machine import Machine, cells, outcome
from unit.maps.sockets import u32, u64

HEAD = 64
TCP, DUMMY = "tcp_congestion_ops", "bpf_dummy_ops"
SIZES = {TCP: 256, DUMMY: 128}
NEEDED = ("ssthresh", "undo_cwnd", "cong_avoid")


def int_btf(machine: Machine) -> int:
    btf = BtfBuilder()
    btf.add_int("int", 4, 1)
    return machine.btf_load(btf.encode())


def ops_of(machine: Machine, name: str) -> Any:
    return next(ops for ops in machine.kernel.profile.struct_ops.types if ops.name == name)


def create(machine: Machine, name: str = TCP, flags: int = 0) -> int:
    """Return a descriptor of a new map for a subsystem."""
    vtid = ops_of(machine, name).type_id
    return machine.create(
        "struct_ops", 4, SIZES[name], 1, flags,
        btf_fd=int_btf(machine), btf_vmlinux_value_type_id=vtid,
    )


def struct_ops_prog(machine: Machine, member: str, subsystem: str = TCP) -> int:
    """Return a descriptor of a program for one function, as its load would leave it."""
    kernel = machine.kernel
    names = [found.name for found in ops_of(machine, subsystem).members]
    prog = ProgRecord(kernel.progs.ids.take(), PROG_TYPE_NUMBER["struct_ops"], refcnt=1)
    prog.insns = bytes.fromhex("b700000000000000" "9500000000000000")
    prog.priv = {"struct_ops": subsystem, "attach_type": names.index(member)}
    kernel.progs.records.add(prog)
    return kernel.files.open(kernel.task(machine.pid), "prog", prog.id, 3)


def value(machine: Machine, **members: int | bytes) -> bytes:
    """Return struct bpf_struct_ops_tcp_congestion_ops with some members set."""
    made = bytearray(SIZES[TCP])
    for member in ops_of(machine, TCP).members:
        if member.name in members:
            content = members[member.name]
            raw = content if isinstance(content, bytes) else content.to_bytes(member.size, "little")
            start = HEAD + member.offset
            made[start : start + member.size] = raw.ljust(member.size, b"\0")
    return bytes(made)


def complete(machine: Machine) -> bytes:
    """Return a value that can be registered; its programs are open."""
    functions = {name: struct_ops_prog(machine, name) for name in NEEDED}
    return value(machine, **functions, name=b"testcc")


# kernel | subsystem | members | functions
LAYOUTS = """
5.10 | tcp_congestion_ops | 18 | 13
6.1  | tcp_congestion_ops | 18 | 13
6.1  | bpf_dummy_ops      | 2  | 2
6.12 | bpf_dummy_ops      | 3  | 3
6.18 | tcp_congestion_ops | 18 | 13
"""


@pytest.mark.parametrize(("kernel", "name", "members", "functions"), cells(LAYOUTS))
def test_types_of_the_kernel(kernel, name, members, functions):
    ops = ops_of(Machine(kernel), name)
    found = len(ops.members), sum(member.func for member in ops.members)
    assert found == (int(members), int(functions))


# kernel | subsystem | memlock | slab bytes of the map
COSTS = """
6.12 | bpf_dummy_ops      | 4848 | 1248
6.18 | bpf_dummy_ops      | 4848 | 1248
6.18 | tcp_congestion_ops | 5264 | 1568
"""


@pytest.mark.parametrize(("kernel", "name", "memlock", "slab"), cells(COSTS))
def test_cost(kernel, name, memlock, slab):
    machine = Machine(kernel)
    before = machine.stat()["slab"]
    fd = create(machine, name)
    two_descriptors = 2 * 400
    assert machine.memlock(fd) == int(memlock)
    assert machine.stat()["slab"] - before == int(slab) + two_descriptors


# what is odd | errno on 6.1 | on 6.18
ATTRIBUTES = """
nothing     | ok       | ok
key 8       | EINVAL   | EINVAL
entries 2   | EINVAL   | EINVAL
value 264   | EINVAL   | EINVAL
type 0      | EINVAL   | EINVAL
type 1      | ENOTSUPP | ENOTSUPP
btf 77      | EBADF    | EBADF
btf 0       | EINVAL   | EINVAL
flags 8192  | EINVAL   | ok
flags 32768 | EINVAL   | EINVAL
flags 8     | EINVAL   | EINVAL
"""


@pytest.mark.parametrize(("odd", "early", "late"), cells(ATTRIBUTES))
def test_attributes(odd, early, late):
    for kernel, want in (("6.1", early), ("6.18", late)):
        machine = Machine(kernel)
        what, _, number = odd.partition(" ")
        given = {
            "key": 4, "value": 256, "entries": 1, "flags": 0,
            "btf": int_btf(machine), "type": ops_of(machine, TCP).type_id,
        }
        given.update({what: int(number)} if number else {})
        sizes = [given[name] for name in ("key", "value", "entries", "flags")]
        more = {"btf_fd": given["btf"], "btf_vmlinux_value_type_id": given["type"]}
        made = outcome(partial(machine.create, "struct_ops", *sizes, **more))
        assert made == want, kernel


def test_old_kernels_read_their_types_with_the_first_program():
    machine = Machine("5.10")
    assert outcome(lambda: create(machine)) == "ENOTSUPP"
    struct_ops_prog(machine, "ssthresh")
    assert outcome(lambda: create(machine)) == "ok"


def test_the_empty_element():
    machine = Machine()
    fd = create(machine)
    assert machine.map_lookup_elem(fd, u32(0)) == bytes(256)
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(1))) == "ENOENT"
    assert list(machine.map_keys(fd)) == [u32(0)]
    assert machine.map_get_next_key(fd, u32(1)) == u32(0)
    assert outcome(lambda: machine.map_delete_elem(fd, u32(0))) == "ENOENT"
    assert outcome(lambda: machine.map_freeze(fd)) == "ENOTSUPP"


# what is odd about an update that would register | outcome
UPDATES = """
nothing         | ok
flags           | EINVAL
key             | E2BIG
state           | EINVAL
padding         | EINVAL
no name         | EINVAL
taken name      | EEXIST
no ssthresh     | EINVAL
key_member      | EINVAL
flags_member    | EINVAL
closed program  | EBADF
not a program   | EINVAL
other member    | EINVAL
"""


@pytest.mark.parametrize(("odd", "want"), cells(UPDATES))
def test_update(odd, want):
    machine = Machine()
    fd = create(machine)
    functions: dict[str, Any] = {name: struct_ops_prog(machine, name) for name in NEEDED}
    members = {**functions, "name": b"testcc"}
    changes: dict[str, dict[str, Any]] = {
        "no name": {"name": b""},
        "taken name": {"name": b"cubic"},
        "no ssthresh": {"ssthresh": 0},
        "key_member": {"key": 1},
        "flags_member": {"flags": 4},
        "closed program": {"init": 77},
        "not a program": {"init": fd},
        "other member": {"init": functions["ssthresh"]},
    }
    new = bytearray(value(machine, **{**members, **changes.get(odd, {})}))
    new[4] = odd == "state"
    new[12] = odd == "padding"
    key = u32(odd == "key")
    before = machine.stat()
    call = outcome(lambda: machine.map_update_elem(fd, key, bytes(new), odd == "flags"))
    assert call == want
    assert machine.stat() == before
    refs = [machine.kernel.progs.get(n).refcnt for n in (1, 2, 3)]
    assert refs == ([2, 2, 2] if want == "ok" else [1, 1, 1])


def test_the_dummy_subsystem_takes_nothing():
    machine = Machine()
    fd = create(machine, DUMMY)
    assert outcome(lambda: machine.map_update_elem(fd, u32(0), bytes(128))) == "EOPNOTSUPP"


def test_life_of_a_registration():
    machine = Machine()
    fd = create(machine)
    machine.map_update_elem(fd, u32(0), complete(machine))
    found = machine.map_lookup_elem(fd, u32(0))
    assert found[:8] == u32(1) + u32(1)  # held by the subsystem, INUSE
    assert found[HEAD:HEAD + 8] == u64(1)  # ssthresh: the program's id
    assert outcome(lambda: machine.map_update_elem(fd, u32(0), complete(machine))) == "EBUSY"
    assert outcome(lambda: machine.map_delete_elem(fd, u32(0))) == "ok"
    assert machine.map_lookup_elem(fd, u32(0))[:8] == u32(0) + u32(2)  # TOBEFREE
    assert outcome(lambda: machine.map_delete_elem(fd, u32(0))) == "EINPROGRESS"


def test_a_registration_keeps_the_map_and_its_programs():
    machine = Machine()
    fd = create(machine)
    map_id = machine.map_info(fd).id
    machine.map_update_elem(fd, u32(0), complete(machine))
    for file in machine.kernel.files.of_task(machine.pid):
        machine.close(file.fd)
    fd = machine.map_get_fd_by_id(map_id)
    assert len(list(machine.kernel.progs.records.keys_after(None))) == len(NEEDED)
    machine.map_delete_elem(fd, u32(0))
    machine.close(fd)
    assert not list(machine.kernel.maps.records.keys_after(None))
    assert not list(machine.kernel.progs.records.keys_after(None))


def test_names_are_free_again_after_unregistering():
    machine = Machine()
    first, second = create(machine), create(machine)
    machine.map_update_elem(first, u32(0), complete(machine))
    assert outcome(lambda: machine.map_update_elem(second, u32(0), complete(machine))) == "EEXIST"
    assert machine.map_lookup_elem(second, u32(0)) == bytes(256)
    machine.map_delete_elem(first, u32(0))
    assert outcome(lambda: machine.map_update_elem(second, u32(0), complete(machine))) == "ok"


def test_with_links_an_update_only_makes_ready():
    machine = Machine()
    fd = create(machine, flags=BPF_F_LINK)
    machine.map_update_elem(fd, u32(0), complete(machine))
    assert machine.map_lookup_elem(fd, u32(0))[:8] == u32(0) + u32(3)  # READY
    assert outcome(lambda: machine.map_delete_elem(fd, u32(0))) == "EOPNOTSUPP"
    machine.type_of(fd).register()
    assert machine.map_lookup_elem(fd, u32(0))[:8] == u32(1) + u32(1)


@pytest.mark.parametrize("kernel", ["5.10", "6.1", "6.18"])
def test_a_failed_creation_leaves_nothing(kernel):
    machine = Machine(kernel)
    struct_ops_prog(machine, "ssthresh")
    attr = {
        "btf_fd": int_btf(machine),
        "btf_vmlinux_value_type_id": ops_of(machine, TCP).type_id,
    }
    make = partial(machine.create, "struct_ops", 4, 256, 1, **attr)
    before = machine.stat(), machine.kernel.mm.in_use(), machine.kernel.memlock.locked_pages(0)
    outcomes = []
    for failing in range(1, 12):
        machine.kernel.mm.fail_nth = machine.kernel.mm.nr_allocations + failing
        try:
            machine.close(make())
        except KernelError as exc:
            outcomes.append(errno_name(exc.code))
        mm = machine.kernel.mm
        assert (machine.stat(), mm.in_use(), machine.kernel.memlock.locked_pages(0)) == before
    assert set(outcomes) == {"ENOMEM"}
