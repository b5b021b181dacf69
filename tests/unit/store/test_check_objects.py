"""Objects, and elements that refer to them: they survive in a state file, and damage is found."""

from __future__ import annotations

import sqlite3

import pytest

from bpfctl.kernel.config import Config
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.records import SimObject
from bpfctl.store.check import check_state
from bpfctl.store.migrations import create
from bpfctl.store.sqlite import SqlStorage
from unit.maps.machine import GROUP, Machine
from unit.maps.sockets import socket, u32
from unit.maps.test_bpf_local_storage import owner, storage
from unit.maps.test_bpf_struct_ops import complete
from unit.maps.test_bpf_struct_ops import create as create_struct_ops
from unit.maps.test_local_storage import attach


def filled() -> tuple[SqlStorage, int]:
    """Return a state with a used map of every kind that refers to objects, and the task's pid."""
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("BEGIN")
    create(conn)
    storage_ = SqlStorage(conn)
    machine = Machine.__new__(Machine)
    machine.kernel = Kernel.boot(storage_, Config(kernel="6.18", possible_cpus=2))
    machine.kernel.memcg.create(GROUP)
    machine.pid = machine.kernel.spawn("test", cgroup=GROUP, memlock=None).pid
    for kind in ("sk_storage", "inode_storage", "task_storage", "cgrp_storage"):
        key = u32(owner(machine, kind))
        lent = storage(machine, kind)
        machine.map_update_elem(lent, key, bytes(8))
        machine.map_update_elem(storage(machine, kind), key, bytes(8))
        machine.close(lent)
    for kind, words in (("sockmap", ""), ("sockhash", "udp"), ("xskmap", "xdp")):
        fd = machine.create(kind, 4, 4, 4)
        machine.map_update_elem(fd, u32(1), u32(socket(machine, words)))
    fd = machine.create("reuseport_sockarray", 4, 4, 4)
    machine.map_update_elem(fd, u32(1), u32(socket(machine, "udp reuseport")))
    attach(machine, machine.create("cgroup_storage", 16, 8, 0), GROUP)
    machine.map_update_elem(machine.create("devmap", 4, 4, 4), u32(0), u32(1))
    fd = create_struct_ops(machine)
    machine.map_update_elem(fd, u32(0), complete(machine))
    machine.close(fd)
    storage_.flush()
    return storage_, machine.pid


def test_a_state_with_objects_is_sound():
    assert check_state(filled()[0]) == []


def test_objects_go_in_another_run():
    storage_, pid = filled()
    storage_.forget()
    kernel = Kernel(storage_)
    for made in list(kernel.storage.registry(SimObject).find()):
        if made.kind not in ("netdev", "cgroup"):
            kernel.objects.remove(made.id)
    assert check_state(storage_) == []
    kernel.exit_task(pid)
    assert check_state(storage_) == []
    kinds = {made.kind for made in kernel.storage.registry(SimObject).find()}
    assert kinds == {"netdev", "cgroup"}


@pytest.mark.parametrize(
    ("sql", "finding"),
    [
        ("DELETE FROM elem", "there are {}"),
        ("DELETE FROM sim_object WHERE kind = 'socket'", "which does not exist"),
        ("UPDATE sim_object SET priv = '{}' WHERE kind = 'pidfd'", "notes the elements {}"),
        ("UPDATE sim_object SET priv = '{\"maps\":[1]}' WHERE id = 1", "notes the elements [1]"),
        ("DELETE FROM sim_object WHERE kind = 'inode'", "there is no such object"),
    ],
)
def test_damage_is_found(sql, finding):
    storage_, _ = filled()
    storage_.conn.execute(sql)
    storage_.forget()
    assert [text for text in check_state(storage_) if finding in text]
