"""``sim check`` finds every kind of damage, and nothing in a sound state."""

from __future__ import annotations

import json
import random
import sqlite3

import pytest

from bpfctl.errors import StateError
from bpfctl.kernel.config import Config
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.store.check import check_state
from bpfctl.store.export import export_lines, import_lines
from bpfctl.store.migrations import create
from bpfctl.store.sqlite import SqlStorage
from bpfctl.uapi import BPF_F_NO_PREALLOC, MAP_TYPE_NUMBER, MapCreateAttr

HASH = MAP_TYPE_NUMBER["hash"]
ARRAY = MAP_TYPE_NUMBER["array"]
OUTER = MAP_TYPE_NUMBER["array_of_maps"]


def empty() -> SqlStorage:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("BEGIN")
    create(conn)
    return SqlStorage(conn)


def filled(kernel: str) -> SqlStorage:
    """Return a state with cgroups, tasks, maps in maps, pins and open descriptors."""
    storage = empty()
    booted = Kernel.boot(storage, Config(kernel=kernel, possible_cpus=2))
    booted.memcg.create("/a")
    booted.memcg.create("/a/b")
    booted.memcg.create("/gone")
    first = booted.spawn("first", cgroup="/a/b", memlock=None).pid
    bpf = Bpf(booted, first)
    plain = bpf.map_create(MapCreateAttr(HASH, 4, 8, 64, BPF_F_NO_PREALLOC))
    for number in range(20):
        bpf.map_update_elem(plain, bytes([number, 0, 0, 0]), bytes(8))
    inner = bpf.map_create(MapCreateAttr(ARRAY, 4, 4, 3))
    outer = bpf.map_create(MapCreateAttr(OUTER, 4, 4, 2, inner_map_fd=inner))
    bpf.map_update_elem(outer, bytes(4), inner.to_bytes(4, "little"))
    booted.bpffs.mkdir("/sys/fs/bpf/d")
    bpf.obj_pin(plain, "/sys/fs/bpf/d/m")
    bpf.close(inner)
    second = booted.spawn("second", uid=7, cgroup="/gone", memlock=None).pid
    Bpf(booted, second).map_create(MapCreateAttr(ARRAY, 4, 4, 300))
    booted.memcg.move(booted.task(second), "/")
    booted.memcg.remove("/gone")
    storage.flush()
    return storage


@pytest.mark.parametrize("kernel", ["5.10", "5.11", "6.1", "6.12", "6.18"])
def test_a_state_that_a_kernel_left_is_sound(kernel):
    assert check_state(filled(kernel)) == []


# What is broken: SQL that breaks it, part of a finding.
BROKEN = {
    "memcg counter": (
        "UPDATE memcg SET usage_pages = usage_pages + 1 WHERE path = '/a/b'",
        "memcg /a/b: usage_pages is",
    ),
    "ancestor's counter": (
        "UPDATE memcg SET kernel_pages = 0 WHERE path = '/a'",
        "memcg /a: kernel_pages is 0, what lives in it sums to",
    ),
    "statistic": (
        "UPDATE memcg SET slab_unreclaimable = 1 WHERE path = '/'",
        "memcg /: slab_unreclaimable is 1",
    ),
    "lost allocation": (
        "DELETE FROM alloc WHERE label = 'elem' OR label = 'elems' OR label = 'buckets'",
        "machine memory:",
    ),
    "charge of an allocation": ("UPDATE alloc SET charge = 1", "charges 1 bytes an object"),
    "empty allocation": ("UPDATE alloc SET nr = 0", "stands for 0 objects"),
    "objcg bytes": ("UPDATE objcg SET nbytes = nbytes + 8", "its allocations have"),
    "objcg stock": ("UPDATE objcg SET parked = parked + 1", "do not fill whole pages"),
    "lost objcg": ("DELETE FROM objcg", "does not exist, but allocations name it"),
    "objcg of nowhere": ("UPDATE objcg SET memcg = 99", "its memcg 99 does not exist"),
    "memory in use": (
        "UPDATE counter SET value = 0 WHERE name = 'memory_in_use'",
        "machine memory: 0 bytes in use",
    ),
    "lost parent": ("UPDATE memcg SET parent = 77 WHERE path = '/a/b'", "its parent 77"),
    "moved cgroup": ("UPDATE memcg SET path = '/x' WHERE path = '/a/b'", "is not where"),
    "cycle of cgroups": (
        "UPDATE memcg SET parent = (SELECT id FROM memcg WHERE path = '/a/b') WHERE path = '/a'",
        "memcg /a: is its own ancestor",
    ),
    "task of nowhere": ("UPDATE task SET cgroup = 99 WHERE pid = 2", "task 2: its cgroup 99"),
    "command that never ended": (
        "UPDATE task SET transient = 1 WHERE pid = 3",
        "task 3 (second): a command that never ended",
    ),
    "map count": ("UPDATE map SET refcnt = refcnt + 1 WHERE id = 1", "map 1: refcnt is 3"),
    "user count": ("UPDATE map SET usercnt = 0 WHERE id = 1", "map 1: usercnt is 0, 2 use it"),
    "inner map count": ("UPDATE map SET refcnt = 2 WHERE id = 2", "map 2: refcnt is 2, 1 refer"),
    "lost map": ("DELETE FROM map WHERE id = 2", "map 2: does not exist, but 1 refer to it"),
    "leaked map": (
        "UPDATE map SET refcnt = 0, usercnt = 0 WHERE id = 3; DELETE FROM file WHERE obj_id = 3",
        "map 3: nothing refers to it",
    ),
    "elements of no map": ("UPDATE elem SET map = 50 WHERE map = 1", "elem of map 50"),
    "descriptor of no task": ("DELETE FROM task WHERE pid = 2", "of task 2: there is no such"),
    "pin in no directory": (
        "DELETE FROM pin WHERE path = '/sys/fs/bpf/d'",
        "pin /sys/fs/bpf/d/m: is in no directory",
    ),
    "private data": ("UPDATE map SET priv = 'x' WHERE id = 1", "map 1: not JSON"),
    "unknown kernel": (
        "UPDATE setting SET value = '1.0' WHERE name = 'kernel'",
        "settings: unknown kernel '1.0'",
    ),
    "bad setting": (
        "UPDATE setting SET value = 'x' WHERE name = 'page_size'",
        "settings: setting page_size: 'x' is not a number",
    ),
    "lost setting": (
        "DELETE FROM setting WHERE name = 'memory'",
        "settings: memory is missing",
    ),
    "unknown setting": (
        "INSERT INTO setting VALUES ('colour', 'red')",
        "settings: there is no such thing as 'colour'",
    ),
    "lost counter": (
        "DELETE FROM counter WHERE name = 'map_id'",
        "counter map_id: is missing",
    ),
    "negative number": ("UPDATE map SET nr_elems = -1 WHERE id = 3", "map 3: nr_elems is -1"),
    "33 bits": ("UPDATE map SET max_entries = 1 << 32 WHERE id = 1", "map 1: max_entries is"),
    "unknown map type": ("UPDATE map SET type = 99 WHERE id = 1", "nothing offers its type 99"),
    "unknown allocator": (
        "UPDATE alloc SET allocator = 'heap' WHERE owner_kind = 'file'",
        "there is no allocator 'heap'",
    ),
    "pin elsewhere": (
        "UPDATE pin SET parent = '/sys/fs/bpf' WHERE path = '/sys/fs/bpf/d/m'",
        "pin /sys/fs/bpf/d/m: its directory is recorded as /sys/fs/bpf",
    ),
    "never booted": ("DELETE FROM memcg; DELETE FROM objcg", "was never booted"),
}


@pytest.mark.parametrize(("sql", "finding"), BROKEN.values(), ids=list(BROKEN))
def test_damage_is_found(sql, finding):
    storage = filled("6.12")
    for statement in sql.split(";"):
        storage.conn.execute(statement)
    storage.forget()
    assert [text for text in check_state(storage) if finding in text]


def test_locked_pages_are_compared_by_user():
    storage = filled("5.10")
    storage.conn.execute("UPDATE user SET locked_vm_pages = 5 WHERE uid = 7")
    storage.forget()
    assert check_state(storage) == ["user 7: locked_vm is 5 pages, its objects were charged 1"]


ODD_VALUES = [0, -1, 1, 99, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 63), "", "zz", "00", "/", "\0"]
ODD_VALUES += ["..", "-1", "9" * 30, "a" * 300, None, {}, {"a": [1]}, [], 1.5, True]


@pytest.mark.parametrize("seed", range(4))
def test_odd_values_in_an_import_are_refused_or_checked_but_never_trip(seed):
    rng = random.Random(seed)
    lines = list(export_lines(filled("6.12")))
    outcomes = set()
    for _ in range(150):
        at = rng.randrange(1, len(lines) - 1)
        row = json.loads(lines[at])
        fields = next(iter(row.values()))
        fields[rng.choice(list(fields))] = rng.choice(ODD_VALUES)
        changed = [*lines[:at], json.dumps(row), *lines[at + 1 :]]
        storage = empty()
        try:
            import_lines(storage, [line.encode() for line in changed], "x")
        except StateError:
            outcomes.add("refused")
        else:
            outcomes.add("found" if check_state(storage) else "sound")
    assert outcomes == {"refused", "found", "sound"}
