"""sk, inode, task and cgrp storage: owners, flags, memory, and what ends with whom."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.errors import KernelError, errno_name
from bpfctl.kernel.records import Alloc
from unit.maps.machine import KERNELS, Machine, cells, outcome
from unit.maps.sockets import u32

KINDS = ("sk_storage", "inode_storage", "task_storage", "cgrp_storage")
OWNERS = dict(zip(KINDS, ("socket", "inode", "pidfd", "cgroup"), strict=True))
SIGNED = 1


def value_btf(machine: Machine, size: int, key_size: int = 4) -> tuple[int, int, int]:
    """Load BTF with an int and ``char[size]``; return its descriptor and both type ids."""
    btf = BtfBuilder()
    key = btf.add_int("int", key_size, SIGNED)
    value = btf.add_array(btf.add_int("char", 1, SIGNED), size, key)
    return machine.btf_load(btf.encode()), key, value


def storage(machine: Machine, kind: str, size: int = 8, flags: int = 1) -> int:
    """Return a descriptor of a new storage map."""
    btf_fd, key, value = value_btf(machine, size)
    fd = machine.create(
        kind, 4, size, 0, flags, btf_fd=btf_fd, btf_key_type_id=key, btf_value_type_id=value
    )
    machine.close(btf_fd)
    return fd


def owner(machine: Machine, kind: str) -> int:
    """Return a descriptor of a new owner for a type of storage."""
    made = machine.kernel.objects.create(OWNERS[kind])
    return machine.kernel.objects.open(machine.pid, made.id)


def known(kernel: str) -> list[str]:
    return [kind for kind in KINDS if kind in Machine(kernel).kernel.profile.map_types]


def object_of(machine: Machine, fd: int) -> int:
    return machine.kernel.files.get(machine.pid, fd).obj_id


EVERYWHERE = [(kernel, kind) for kernel in KERNELS for kind in known(kernel)]


# present | flags | outcome
UPDATES = """
no  | 0 | ok
no  | 1 | ok
no  | 2 | ENOENT
no  | 3 | EINVAL
yes | 0 | ok
yes | 1 | EEXIST
yes | 2 | ok
yes | 3 | EINVAL
yes | 4 | EINVAL
"""


@pytest.mark.parametrize(("kernel", "kind"), EVERYWHERE)
@pytest.mark.parametrize(("present", "flags", "want"), cells(UPDATES))
def test_update(kernel, kind, present, flags, want):
    machine = Machine(kernel)
    fd, key = storage(machine, kind), u32(owner(machine, kind))
    if present == "yes":
        machine.map_update_elem(fd, key, b"original")
    before = machine.stat()
    call = outcome(lambda: machine.map_update_elem(fd, key, b"replaced", int(flags)))
    assert call == want
    if want == "ok":
        assert machine.map_lookup_elem(fd, key) == b"replaced"
    else:
        assert machine.stat() == before


@pytest.mark.parametrize("kind", KINDS)
def test_delete_and_walk(kind):
    machine = Machine()
    fd, key = storage(machine, kind), u32(owner(machine, kind))
    machine.map_update_elem(fd, key, bytes(8))
    assert outcome(lambda: machine.map_get_next_key(fd, None)) == "ENOTSUPP"
    assert outcome(lambda: machine.map_delete_elem(fd, key)) == "ok"
    assert outcome(lambda: machine.map_delete_elem(fd, key)) == "ENOENT"
    assert outcome(lambda: machine.map_lookup_elem(fd, key)) == "ENOENT"


# Errno for a key that is: nothing open, the standard input, a socket, a pidfd, a cgroup.
WRONG_KEYS = """
sk_storage    | EBADF | ENOTSOCK | ok    | ENOTSOCK | ENOTSOCK
inode_storage | EBADF | ok       | ok    | ok       | ok
task_storage  | EBADF | EBADF    | EBADF | ok       | EBADF
cgrp_storage  | EBADF | EBADF    | EBADF | EBADF    | ok
"""


@pytest.mark.parametrize(("kind", "closed", "stdin", "sock", "pidfd", "cgroup"), cells(WRONG_KEYS))
def test_keys(kind, closed, stdin, sock, pidfd, cgroup):
    machine = Machine()
    fd = storage(machine, kind)
    fds = [77, 0, *(owner(machine, name) for name in ("sk_storage", *KINDS[2:]))]
    found = [outcome(partial(machine.map_update_elem, fd, u32(key), bytes(8))) for key in fds]
    assert found == [closed, stdin, sock, pidfd, cgroup]


def test_two_descriptors_of_one_owner_are_one_element():
    machine = Machine()
    fd, first = storage(machine, "inode_storage"), owner(machine, "inode_storage")
    second = machine.kernel.objects.open(machine.pid, object_of(machine, first))
    machine.map_update_elem(fd, u32(first), b"together")
    assert machine.map_lookup_elem(fd, u32(second)) == b"together"


@pytest.mark.parametrize(("kernel", "own_inode"), [("6.1", False), ("6.12", True)])
def test_nameless_inodes_are_one(kernel, own_inode):
    machine = Machine(kernel)
    fd, pidfd = storage(machine, "inode_storage"), owner(machine, "task_storage")
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(fd))) == "ENOENT"
    machine.map_update_elem(fd, u32(fd), b"nameless")
    array = machine.create("array", 4, 4, 1)
    assert machine.map_lookup_elem(fd, u32(array)) == b"nameless"
    want = "ENOENT" if own_inode else "ok"
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(pidfd))) == want


# --- memory --------------------------------------------------------------------


# kernel | type | slab bytes of the first element of 8 bytes, and of a second map's
ELEMENTS = """
5.11 | sk_storage    | 400 | 200
5.11 | inode_storage | 400 | 200
6.1  | sk_storage    | 304 | 104
6.1  | task_storage  | 304 | 104
6.12 | sk_storage    | 304 | 104
6.18 | inode_storage | 304 | 104
"""


@pytest.mark.parametrize(("kernel", "kind", "first", "second"), cells(ELEMENTS))
def test_first_element_of_an_owner_pays_for_its_storage(kernel, kind, first, second):
    machine = Machine(kernel)
    maps = [storage(machine, kind), storage(machine, kind)]
    key = u32(owner(machine, kind))
    sizes = [machine.stat()["slab"]]
    for fd in maps:
        machine.map_update_elem(fd, key, bytes(8))
        sizes.append(machine.stat()["slab"])
    assert [b - a for a, b in pairwise(sizes)] == [int(first), int(second)]
    for fd in maps:
        machine.map_delete_elem(fd, key)
    assert machine.stat()["slab"] == sizes[0]


@pytest.mark.parametrize(("kernel", "kind"), EVERYWHERE)
def test_a_storage_may_outlive_the_map_that_allocated_it(kernel, kind):
    machine = Machine(kernel)
    key = u32(owner(machine, kind))
    empty = machine.stat(), machine.kernel.mm.in_use()
    first, second = storage(machine, kind), storage(machine, kind)
    for fd in (first, second):
        machine.map_update_elem(fd, key, bytes(8))
    machine.close(first)
    held = [a for a in machine.kernel.storage.registry(Alloc).find() if a.owner_kind == "object"]
    assert [alloc.nr for alloc in held] == [1]
    machine.map_delete_elem(second, key)
    machine.close(second)
    assert (machine.stat(), machine.kernel.mm.in_use()) == empty


@pytest.mark.parametrize(("kernel", "kind"), EVERYWHERE)
def test_a_storage_goes_with_the_last_map(kernel, kind):
    machine = Machine(kernel)
    key = u32(owner(machine, kind))
    empty = machine.stat(), machine.kernel.mm.in_use()
    first, second = storage(machine, kind), storage(machine, kind)
    for fd in (first, second):
        machine.map_update_elem(fd, key, bytes(8))
    machine.map_delete_elem(first, key)
    machine.close(first)
    machine.close(second)
    assert (machine.stat(), machine.kernel.mm.in_use()) == empty


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize(("kernel", "kind"), [("6.1", "sk_storage"), ("6.18", "sk_storage")])
def test_a_failed_first_element_leaves_nothing(kernel, kind, failing):
    machine = Machine(kernel)
    fd, key = storage(machine, kind), u32(owner(machine, kind))
    before = machine.stat()
    machine.kernel.mm.fail_nth = machine.kernel.mm.nr_allocations + failing
    assert outcome(lambda: machine.map_update_elem(fd, key, bytes(8))) == "ENOMEM"
    assert machine.stat() == before
    assert outcome(lambda: machine.map_update_elem(fd, key, bytes(8))) == "ok"


@pytest.mark.parametrize(("kernel", "kind"), EVERYWHERE)
def test_a_failed_creation_leaves_nothing(kernel, kind):
    machine = Machine(kernel)
    btf_fd, key, value = value_btf(machine, 8)
    types = {"btf_fd": btf_fd, "btf_key_type_id": key, "btf_value_type_id": value}
    make = partial(machine.create, kind, 4, 8, 0, 1, **types)
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


@pytest.mark.parametrize(("kernel", "kind"), EVERYWHERE)
def test_sizing_equals_updates(kernel, kind):
    filled, sized = Machine(kernel), Machine(kernel)
    keys = [u32(owner(filled, kind)) for _ in range(20)]
    for _ in keys:
        owner(sized, kind)
    real, fake = storage(filled, kind), storage(sized, kind)
    for key in keys:
        filled.map_update_elem(real, key, bytes(8))
    for entries in (0, 1, 19):
        sized.type_of(fake).fill(entries)
    assert sized.stat() == filled.stat()


# --- option memory of sockets ----------------------------------------------------


@pytest.mark.parametrize(("kernel", "limit"), [("5.10", 20480), ("6.1", 20480), ("6.18", 131072)])
def test_sockets_have_little_memory_for_options(kernel, limit):
    machine = Machine(kernel)
    key = u32(owner(machine, "sk_storage"))
    facts = machine.kernel.profile
    head, hang_on = facts.local_storage.elem_head, facts.sizeof("bpf_local_storage")
    room = limit - hang_on - head
    over = storage(machine, "sk_storage", min(room, 65407))
    if room <= 65407:
        assert outcome(lambda: machine.map_update_elem(over, key, bytes(room))) == "ENOMEM"
        fits = storage(machine, "sk_storage", room - 1)
        assert outcome(lambda: machine.map_update_elem(fits, key, bytes(room - 1))) == "ok"
    else:
        assert outcome(lambda: machine.map_update_elem(over, key, bytes(65407))) == "ok"


@pytest.mark.parametrize(("kernel", "want"), [("6.1", "ok"), ("6.12", "ENOMEM")])
def test_replacing_may_charge_before_it_uncharges(kernel, want):
    machine = Machine(kernel)
    limit = machine.kernel.profile.net.optmem_max
    size = min(limit // 2, 65407)
    fd, key = storage(machine, "sk_storage", size), u32(owner(machine, "sk_storage"))
    machine.map_update_elem(fd, key, bytes(size))
    assert outcome(lambda: machine.map_update_elem(fd, key, bytes(size))) == want


def test_option_memory_comes_back():
    machine = Machine("5.10")
    key = u32(owner(machine, "sk_storage"))
    for _ in range(3):
        fd = storage(machine, "sk_storage", 15000)
        machine.map_update_elem(fd, key, bytes(15000))
        machine.close(fd)
    fd = storage(machine, "sk_storage", 15000)
    for _ in range(3):
        machine.map_update_elem(fd, key, bytes(15000))
        machine.map_delete_elem(fd, key)


# --- owners that go ----------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "kind"), EVERYWHERE)
def test_elements_go_with_their_owner(kernel, kind):
    machine = Machine(kernel)
    fd, key = storage(machine, kind), owner(machine, kind)
    obj_id = object_of(machine, key)
    machine.map_update_elem(fd, u32(key), bytes(8))
    machine.kernel.objects.remove(obj_id)
    gone = kind in ("task_storage", "cgrp_storage")
    # Tasks and cgroups go although their descriptors stay; sockets and inodes stay open.
    assert outcome(lambda: machine.map_lookup_elem(fd, u32(key))) == ("ENOENT" if gone else "ok")
    assert outcome(lambda: machine.map_update_elem(fd, u32(key), bytes(8))) == (
        "ENOENT" if gone else "ok"
    )
    machine.close(key)
    assert machine.type_of(fd).rec.nr_elems == 0
    assert machine.kernel.objects.records.get(obj_id) is None


def test_the_end_of_a_task_ends_its_storage():
    machine = Machine()
    pid = machine.kernel.spawn("victim").pid
    made = machine.kernel.objects.create("pidfd", str(pid))
    key = u32(machine.kernel.objects.open(machine.pid, made.id))
    fd = storage(machine, "task_storage")
    machine.map_update_elem(fd, key, bytes(8))
    machine.kernel.exit_task(pid)
    assert outcome(lambda: machine.map_lookup_elem(fd, key)) == "ENOENT"


def test_the_removal_of_a_cgroup_ends_its_storage():
    machine = Machine()
    machine.kernel.memcg.create("/box")
    made = machine.kernel.objects.create("cgroup", "/box")
    key = u32(machine.kernel.objects.open(machine.pid, made.id))
    fd = storage(machine, "cgrp_storage")
    machine.map_update_elem(fd, key, bytes(8))
    machine.kernel.memcg.remove("/box")
    assert outcome(lambda: machine.map_lookup_elem(fd, key)) == "ENOENT"
    assert machine.type_of(fd).rec.nr_elems == 0


# --- attributes ----------------------------------------------------------------------

# what is odd | errno of root, of a task without capabilities before 6.9, and since
ATTRIBUTES = """
nothing     | ok     | EPERM  | EPERM
flags 3     | EINVAL | EINVAL | EINVAL
flags 0     | EINVAL | EINVAL | EINVAL
flags 0x201 | ok     | EPERM  | EPERM
entries     | EINVAL | EINVAL | EINVAL
key 8       | EINVAL | EINVAL | EINVAL
value 0     | EINVAL | EINVAL | EINVAL
value 65407 | ok     | EPERM  | EPERM
value 65408 | E2BIG  | EPERM  | E2BIG
no types    | EINVAL | EINVAL | EINVAL
long key    | EINVAL | EPERM  | EPERM
"""


@pytest.mark.parametrize("kernel", ["6.1", "6.18"])
@pytest.mark.parametrize(("odd", "root", "early", "late"), cells(ATTRIBUTES))
def test_attributes(kernel, odd, root, early, late):
    machine = Machine(kernel, unprivileged_bpf_disabled=0)
    what, _, number = odd.partition(" ")
    size = int(number) if what == "value" else 8
    btf_fd, key_type, value_type = value_btf(machine, max(size, 1), 8 if odd == "long key" else 4)
    attr = {"btf_fd": btf_fd, "btf_key_type_id": key_type, "btf_value_type_id": value_type}
    if odd == "no types":
        attr = {}

    def create(by: Machine) -> str:
        return outcome(
            lambda: by.create(
                "sk_storage",
                8 if what == "key" else 4,
                size,
                int(what == "entries"),
                int(number, 0) if what == "flags" else 1,
                **attr,
            )
        )

    assert create(machine) == root
    machine.kernel.task(machine.pid).caps = 0
    assert create(machine) == (early if kernel == "6.1" else late)
