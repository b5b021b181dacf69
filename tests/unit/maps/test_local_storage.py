"""cgroup_storage and percpu_cgroup_storage: attachments, who pays for them, what ends them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from bpfctl.btf.build import BtfBuilder
from unit.maps.machine import KERNELS, Machine, cells, outcome
from unit.maps.sockets import u64

KINDS = ("cgroup_storage", "percpu_cgroup_storage")
INGRESS, EGRESS = 0, 1


@contextmanager
def in_syscall(machine: Machine, pid: int = 0) -> Iterator[None]:
    """Run as a task that is in a system call."""
    with machine.kernel.ctx.running(machine.kernel.task(pid or machine.pid)):
        yield


def attach(machine: Machine, fd: int, path: str, attach_type: int = INGRESS, pid: int = 0) -> str:
    with in_syscall(machine, pid):
        return outcome(lambda: machine.type_of(fd).attached(path, attach_type))


def two_cgroups(machine: Machine) -> list[int]:
    return [machine.kernel.memcg.create(path).id for path in ("/one", "/two")]


def full_key(cgroup: int, attach_type: int, padding: int = 0) -> bytes:
    return u64(cgroup) + u64(attach_type | padding << 32)


@pytest.mark.parametrize("kind", KINDS)
def test_long_keys_tell_attach_types_apart(kind):
    machine = Machine()
    one, two = two_cgroups(machine)
    fd = machine.create(kind, 16, 8, 0)
    for path, attach_type in (("/one", INGRESS), ("/two", EGRESS), ("/one", EGRESS)):
        assert attach(machine, fd, path, attach_type) == "ok"
    # The newest attachment comes first.
    wanted = [full_key(one, EGRESS), full_key(two, EGRESS), full_key(one, INGRESS)]
    assert list(machine.map_keys(fd)) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_short_keys_are_shared_by_attach_types(kind):
    machine = Machine()
    one, _ = two_cgroups(machine)
    fd = machine.create(kind, 8, 8, 0)
    for attach_type in (INGRESS, EGRESS):
        attach(machine, fd, "/one", attach_type)
    assert list(machine.map_keys(fd)) == [u64(one)]


def test_attaching_again_keeps_the_value():
    machine = Machine()
    one, _ = two_cgroups(machine)
    fd = machine.create("cgroup_storage", 8, 8, 0)
    attach(machine, fd, "/one")
    machine.map_update_elem(fd, u64(one), b"a value.")
    before = machine.stat()
    attach(machine, fd, "/one")
    assert machine.map_lookup_elem(fd, u64(one)) == b"a value."
    assert machine.stat() == before


def test_padding_of_a_key_does_not_count():
    machine = Machine()
    one, _ = two_cgroups(machine)
    fd = machine.create("cgroup_storage", 16, 8, 0)
    attach(machine, fd, "/one", EGRESS)
    assert machine.map_lookup_elem(fd, full_key(one, EGRESS, padding=9)) == bytes(8)


# flags | present | outcome of cgroup_storage | of percpu_cgroup_storage
UPDATES = """
0 | yes | ok     | ok
1 | yes | EINVAL | EINVAL
2 | yes | ok     | ok
3 | yes | EINVAL | EINVAL
0 | no  | ENOENT | ENOENT
1 | no  | EINVAL | EINVAL
2 | no  | ENOENT | ENOENT
"""


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("flags", "present", "plain", "percpu"), cells(UPDATES))
def test_update(kernel, flags, present, plain, percpu):
    for kind, want in zip(KINDS, (plain, percpu), strict=True):
        machine = Machine(kernel)
        one, two = two_cgroups(machine)
        fd = machine.create(kind, 8, 8, 0)
        attach(machine, fd, "/one")
        key, value = u64(one if present == "yes" else two), b"01234567" * 2
        before = machine.stat()
        update = partial(machine.map_update_elem, fd, key, value, int(flags))
        assert outcome(update) == want, kind
        assert machine.stat() == before
        if want == "ok":
            assert machine.map_lookup_elem(fd, key) == value[: 8 if kind == KINDS[0] else 16]


@pytest.mark.parametrize("kind", KINDS)
def test_elements_cannot_be_deleted_and_walks_start_only_at_known_keys(kind):
    machine = Machine()
    one, two = two_cgroups(machine)
    fd = machine.create(kind, 8, 8, 0)
    assert outcome(lambda: machine.map_get_next_key(fd, None)) == "ENOENT"
    attach(machine, fd, "/one")
    assert outcome(lambda: machine.map_delete_elem(fd, u64(one))) == "EINVAL"
    assert outcome(lambda: machine.map_get_next_key(fd, u64(two))) == "ENOENT"


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_removed_cgroup_takes_its_elements(kernel, kind):
    machine = Machine(kernel)
    two_cgroups(machine)
    fd = machine.create(kind, 16, 8, 0)
    empty = machine.stat(), machine.memlock(fd), machine.kernel.mm.in_use()
    for attach_type in (INGRESS, EGRESS):
        attach(machine, fd, "/one", attach_type)
    machine.kernel.memcg.remove("/one")
    assert list(machine.map_keys(fd)) == []
    assert (machine.stat(), machine.memlock(fd), machine.kernel.mm.in_use()) == empty


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_freed_map_takes_its_elements(kernel, kind):
    machine = Machine(kernel)
    two_cgroups(machine)
    empty = machine.stat(), machine.kernel.mm.in_use(), machine.kernel.memlock.locked_pages(0)
    fd = machine.create(kind, 16, 8, 0)
    for path in ("/one", "/two"):
        attach(machine, fd, path)
    machine.close(fd)
    machine.kernel.memcg.remove("/one")
    now = machine.stat(), machine.kernel.mm.in_use(), machine.kernel.memlock.locked_pages(0)
    assert now == empty


# type | value size | pages locked by an attachment on 2 CPUs (5.10)
PAGES = """
cgroup_storage        | 8     | 1
cgroup_storage        | 3976  | 1
cgroup_storage        | 3977  | 2
percpu_cgroup_storage | 1     | 1
percpu_cgroup_storage | 2048  | 1
percpu_cgroup_storage | 2049  | 2
"""


@pytest.mark.parametrize(("kind", "size", "pages"), cells(PAGES))
def test_attachments_are_locked_memory_of_the_creator(kind, size, pages):
    machine = Machine("5.10")
    two_cgroups(machine)
    fd = machine.create(kind, 8, int(size), 0)
    other = machine.other_task(uid=1000)
    before = machine.memlock(fd)
    assert attach(machine, fd, "/one", pid=other.pid) == "ok"
    assert machine.memlock(fd) - before == 4096 * int(pages)
    assert machine.kernel.memlock.locked_pages(0) == 1 + int(pages)
    assert machine.kernel.memlock.locked_pages(1000) == 0


def test_attachments_are_held_against_the_limit_of_who_attaches():
    machine = Machine("5.10")
    two_cgroups(machine)
    fd = machine.create("cgroup_storage", 8, 8, 0)
    other = machine.other_task(uid=1000)
    machine.kernel.task(other.pid).memlock_soft = 2 * 4096
    assert attach(machine, fd, "/one", pid=other.pid) == "ok"
    before = machine.stat(), machine.kernel.mm.in_use()
    assert attach(machine, fd, "/two", pid=other.pid) == "EPERM"
    assert (machine.stat(), machine.kernel.mm.in_use()) == before


# kernel | type | value size | slab and per-CPU bytes of an attachment on 2 CPUs
CHARGES = """
5.11 | cgroup_storage        | 8   | 176 | 0
6.1  | cgroup_storage        | 8   | 176 | 0
6.18 | cgroup_storage        | 100 | 272 | 0
6.1  | percpu_cgroup_storage | 8   | 136 | 32
6.18 | percpu_cgroup_storage | 5   | 136 | 32
"""


@pytest.mark.parametrize(("kernel", "kind", "size", "slab", "percpu"), cells(CHARGES))
def test_attachments_are_charged_to_the_creators_cgroup(kernel, kind, size, slab, percpu):
    machine = Machine(kernel)
    two_cgroups(machine)
    fd = machine.create(kind, 8, int(size), 0)
    before = machine.stat()
    other = machine.other_task(cgroup="/two")
    attach(machine, fd, "/one", pid=other.pid)
    after = machine.stat()
    changes = after["slab"] - before["slab"], after["percpu"] - before["percpu"]
    assert changes == (int(slab), int(percpu))


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("kernel", ["5.10", "6.18"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_attachment_leaves_nothing(kernel, kind, failing):
    machine = Machine(kernel)
    two_cgroups(machine)
    fd = machine.create(kind, 8, 8, 0)
    before = machine.stat(), machine.memlock(fd), machine.kernel.memlock.locked_pages(0)
    machine.kernel.mm.fail_nth = machine.kernel.mm.nr_allocations + failing
    assert attach(machine, fd, "/one") == "ENOMEM"
    now = machine.stat(), machine.memlock(fd), machine.kernel.memlock.locked_pages(0)
    assert now == before
    assert list(machine.map_keys(fd)) == []


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_sizing_equals_attachments(kernel, kind):
    filled, sized = Machine(kernel), Machine(kernel)
    for machine in (filled, sized):
        two_cgroups(machine)
    real, fake = filled.create(kind, 8, 24, 0), sized.create(kind, 8, 24, 0)
    for path in ("/one", "/two"):
        attach(filled, real, path)
    with in_syscall(sized):
        sized.type_of(fake).fill(2)
    assert sized.stat() == filled.stat()
    assert sized.memlock(fake) == filled.memlock(real)


# --- attributes -----------------------------------------------------------------------

# type | key | value | entries | flags | errno on 5.10 | since 6.1
ATTRIBUTES = """
cgroup_storage        | 16 | 8     | 0 | 0     | ok     | ok
cgroup_storage        | 8  | 8     | 0 | 0x80  | ok     | ok
cgroup_storage        | 12 | 8     | 0 | 0     | EINVAL | EINVAL
cgroup_storage        | 8  | 0     | 0 | 0     | EINVAL | EINVAL
cgroup_storage        | 8  | 4096  | 0 | 0     | ok     | ok
cgroup_storage        | 8  | 4097  | 0 | 0     | E2BIG  | ok
cgroup_storage        | 8  | 65408 | 1 | 0     | E2BIG  | E2BIG
cgroup_storage        | 8  | 8     | 1 | 0     | EINVAL | EINVAL
cgroup_storage        | 8  | 8     | 0 | 0x180 | EINVAL | EINVAL
cgroup_storage        | 8  | 8     | 0 | 1     | EINVAL | EINVAL
percpu_cgroup_storage | 8  | 32768 | 0 | 0     | E2BIG  | ok
percpu_cgroup_storage | 8  | 32769 | 0 | 0     | E2BIG  | E2BIG
"""


@pytest.mark.parametrize(
    ("kind", "key", "value", "entries", "flags", "early", "late"), cells(ATTRIBUTES)
)
def test_attributes(kind, key, value, entries, flags, early, late):
    for kernel, want in (("5.10", early), ("6.1", late), ("6.18", late)):
        machine = Machine(kernel)
        sizes = int(key), int(value), int(entries), int(flags, 0)
        assert outcome(partial(machine.create, kind, *sizes)) == want, kernel


# key size | members of the key type in bits, "-" for a plain int | outcome
KEY_TYPES = """
8  | -     | ok
16 | 64 32 | ok
16 | 64    | EINVAL
16 | 32 64 | EINVAL
16 | 64 64 | EINVAL
"""


@pytest.mark.parametrize(("key", "bits", "want"), cells(KEY_TYPES))
def test_key_types(key, bits, want):
    machine = Machine()
    btf = BtfBuilder()
    ints = {size: btf.add_int(f"u{size}", size // 8) for size in (32, 64)}
    key_type = ints[64]
    if bits != "-":
        sizes = [int(word) for word in bits.split()]
        members = [(f"m{at}", ints[size], 64 * at) for at, size in enumerate(sizes)]
        key_type = btf.add_struct("key", 16, members)
    btf_fd = machine.btf_load(btf.encode())
    types = {"btf_fd": btf_fd, "btf_key_type_id": key_type, "btf_value_type_id": ints[64]}
    assert outcome(lambda: machine.create("cgroup_storage", int(key), 8, 0, **types)) == want
