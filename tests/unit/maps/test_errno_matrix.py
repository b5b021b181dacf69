"""Errno of every operation on the maps of other objects, as a 6.18 kernel answers.

Each operation is tried on a fresh map of 4 entries (cpumap: 2). Maps of descriptors get a
descriptor of nothing; the keys of storages are the standard input, a regular file.
"""

from __future__ import annotations

from functools import partial

import pytest

from bpfctl.uapi import BatchAttr, Cmd
from unit.maps.machine import Machine, cells, outcome
from unit.maps.sockets import u32
from unit.maps.test_bpf_local_storage import storage
from unit.maps.test_bpf_struct_ops import create as create_struct_ops

NOTHING_OPEN = u32(77)
VALUES = {
    "devmap": u32(1), "devmap_hash": u32(1), "cpumap": u32(8),
    "sockmap": NOTHING_OPEN, "sockhash": NOTHING_OPEN, "xskmap": NOTHING_OPEN,
    "reuseport_sockarray": NOTHING_OPEN,
}
STORAGES = ("sk_storage", "inode_storage", "task_storage", "cgrp_storage")


class Subject:
    """A map, with the keys and the value that the operations use."""

    def __init__(self, kind: str) -> None:
        self.machine = machine = Machine("6.18")
        self.value = VALUES.get(kind, bytes(8))
        self.key, self.far = u32(0), u32(100)
        if kind in STORAGES:
            self.fd = storage(machine, kind)
        elif kind == "struct_ops":
            self.fd = create_struct_ops(machine)
            self.value = bytes(256)
        elif kind.endswith("cgroup_storage"):
            self.fd = machine.create(kind, 16, 8, 0)
            self.key, self.far, self.value = bytes(16), u32(100) + bytes(12), bytes(16)
        else:
            self.fd = machine.create(kind, 4, 4, 2 if kind == "cpumap" else 4)

    def update(self, flags: int = 0, far: bool = False) -> str:
        key = self.far if far else self.key
        return outcome(lambda: self.machine.map_update_elem(self.fd, key, self.value, flags))

    def lookup(self, far: bool = False) -> str:
        return outcome(
            lambda: self.machine.map_lookup_elem(self.fd, self.far if far else self.key)
        )

    def delete(self, far: bool = False) -> str:
        return outcome(
            lambda: self.machine.map_delete_elem(self.fd, self.far if far else self.key)
        )

    def following(self, key: bytes | None) -> str:
        return outcome(lambda: self.machine.map_get_next_key(self.fd, key))


# lookup, empty | update ANY | NOEXIST, present | EXIST, present | EXIST, absent | flags 3
# | lookup, present | lookup of key 100 | update of key 100
UPDATES = """
devmap | ENOENT | ok | EEXIST | ok | ok | EINVAL | ok | ENOENT | E2BIG
sockmap | ENOSPC | EBADF | EBADF | EBADF | EBADF | EBADF | ENOSPC | ENOSPC | EBADF
cpumap | ENOENT | ok | EEXIST | ok | ok | EINVAL | ok | ENOENT | E2BIG
xskmap | EOPNOTSUPP | EBADF | EBADF | EBADF | EBADF | EINVAL | EOPNOTSUPP | EOPNOTSUPP | E2BIG
sockhash | ENOSPC | EBADF | EBADF | EBADF | EBADF | EBADF | ENOSPC | ENOSPC | EBADF
cgroup_storage | ENOENT | ENOENT | EINVAL | ENOENT | ENOENT | EINVAL | ENOENT | ENOENT | ENOENT
reuseport_sockarray | ENOSPC | EBADF | EBADF | EBADF | EBADF | EINVAL | ENOSPC | ENOSPC | E2BIG
percpu_cgroup_storage|ENOENT|ENOENT|EINVAL|ENOENT|ENOENT|EINVAL|ENOENT|ENOENT|ENOENT
sk_storage|ENOTSOCK|ENOTSOCK|ENOTSOCK|ENOTSOCK|ENOTSOCK|ENOTSOCK|ENOTSOCK|EBADF|EBADF
devmap_hash | ENOENT | ok | EEXIST | ok | ok | EINVAL | ok | ENOENT | ok
struct_ops | ok | EINVAL | EINVAL | EINVAL | EINVAL | EINVAL | ok | ENOENT | E2BIG
inode_storage | ENOENT | ok | EEXIST | ok | ENOENT | EINVAL | ok | EBADF | EBADF
task_storage | EBADF | EBADF | EBADF | EBADF | EBADF | EBADF | EBADF | EBADF | EBADF
cgrp_storage | EBADF | EBADF | EBADF | EBADF | EBADF | EBADF | EBADF | EBADF | EBADF
"""


@pytest.mark.parametrize(("kind", "want"), [(row[0], list(row[1:])) for row in cells(UPDATES)])
def test_lookup_and_update(kind, want):
    present = Subject(kind)
    found = [Subject(kind).lookup(), present.update()]
    found += [present.update(1), present.update(2)]
    found += [Subject(kind).update(2), Subject(kind).update(3)]
    found += [present.lookup(), present.lookup(far=True), present.update(far=True)]
    assert found == want


# delete, present | absent | key 100 | next of NULL | next of NULL, empty | next of the only key
DELETES = """
devmap | ok | ok | EINVAL | ok | ok | ok
sockmap | EINVAL | EINVAL | EINVAL | ok | ok | ok
cpumap | ok | ok | EINVAL | ok | ok | ok
xskmap | ok | ok | EINVAL | ok | ok | ok
sockhash | ENOENT | ENOENT | ENOENT | ENOENT | ENOENT | ENOENT
cgroup_storage | EINVAL | EINVAL | EINVAL | ENOENT | ENOENT | ENOENT
reuseport_sockarray | ENOENT | ENOENT | E2BIG | ok | ok | ok
percpu_cgroup_storage | EINVAL | EINVAL | EINVAL | ENOENT | ENOENT | ENOENT
sk_storage | ENOTSOCK | ENOTSOCK | EBADF | ENOTSUPP | ENOTSUPP | ENOTSUPP
devmap_hash | ok | ENOENT | ENOENT | ok | ENOENT | ENOENT
struct_ops | ENOENT | ENOENT | ENOENT | ok | ok | ENOENT
inode_storage | ok | ENOENT | EBADF | ENOTSUPP | ENOTSUPP | ENOTSUPP
task_storage | EBADF | EBADF | EBADF | ENOTSUPP | ENOTSUPP | ENOTSUPP
cgrp_storage | EBADF | EBADF | EBADF | ENOTSUPP | ENOTSUPP | ENOTSUPP
"""


@pytest.mark.parametrize(("kind", "want"), [(row[0], list(row[1:])) for row in cells(DELETES)])
def test_delete_and_walk(kind, want):
    present, empty = Subject(kind), Subject(kind)
    present.update()
    walks = [present.following(None), empty.following(None), present.following(present.key)]
    assert [present.delete(), empty.delete(), empty.delete(far=True), *walks] == want


KINDS = [row[0] for row in cells(DELETES)]
BATCHES = (
    Cmd.MAP_LOOKUP_BATCH, Cmd.MAP_LOOKUP_AND_DELETE_BATCH,
    Cmd.MAP_UPDATE_BATCH, Cmd.MAP_DELETE_BATCH,
)


@pytest.mark.parametrize("kind", KINDS)
def test_no_batches_and_no_lookup_and_delete(kind):
    one = Subject(kind)
    take = outcome(lambda: one.machine.map_lookup_and_delete_elem(one.fd, one.key))
    batches = [
        outcome(partial(one.machine.map_batch, cmd, BatchAttr(one.fd, count=1)))
        for cmd in BATCHES
    ]
    assert {take, *batches} == {"ENOTSUPP"}


@pytest.mark.parametrize("kind", KINDS)
def test_freeze(kind):
    one = Subject(kind)
    looked_up = one.lookup()
    frozen = [outcome(lambda: one.machine.map_freeze(one.fd)) for _ in range(2)]
    if kind == "struct_ops":
        assert frozen == ["ENOTSUPP", "ENOTSUPP"]
    else:
        assert frozen == ["ok", "EPERM"]
        assert (one.update(), one.delete()) == ("EPERM", "EPERM")
    assert one.lookup() == looked_up
