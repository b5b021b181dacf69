"""The cgroup tree: names, depth, counters up the hierarchy, and what stays of one that is gone."""

from __future__ import annotations

import json

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.testbed import Bed
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr

DEPTH = 1200


def bed(*cgroups: str) -> Bed:
    return Bed.boot("6.12", cpus=2, cgroups=cgroups)


def test_lookup_is_by_name_and_level():
    memcg = bed("/a", "/a/b", "/b").kernel.memcg
    assert [memcg.lookup(path).path for path in ("/", "/a/b", "//a//b/", "/b")] == [
        "/", "/a/b", "/a/b", "/b",
    ]
    with pytest.raises(KernelError) as missing:
        memcg.lookup("/b/b")
    assert missing.value.code == E.NOENT


def test_a_walk_has_parents_first_and_siblings_by_name():
    memcg = bed("/b", "/a", "/b/y", "/b/x").kernel.memcg
    assert [(depth, found.path) for depth, found in memcg.walk()] == [
        (0, "/"), (1, "/a"), (1, "/b"), (2, "/b/x"), (2, "/b/y"),
    ]
    assert len(list(memcg.charger.subtree(memcg.lookup("/b").id))) == 3


def test_charges_count_at_every_level_and_stay_with_the_parent():
    made = bed("/a", "/a/b")
    memcg = made.kernel.memcg
    bpf = made.task("t", "/a/b")
    before = memcg.lookup("/a").usage_pages
    fd = bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER["array"], 4, 4096, 8))
    used = memcg.lookup("/a").usage_pages - before
    assert used >= 8
    assert memcg.lookup("/a/b").usage_pages >= 8
    bpf.obj_pin(fd, "/sys/fs/bpf/m")
    made.kernel.exit_task(bpf.pid)
    memcg.remove("/a/b")
    assert memcg.lookup("/a").usage_pages >= 8
    made.kernel.unlink("/sys/fs/bpf/m")
    memcg.charger.drain(memcg.lookup("/a").id)
    assert memcg.lookup("/a").usage_pages == 0


def test_trees_may_be_deeper_than_calls(cli):
    path = "/d" * DEPTH
    cli.ok("memcg", "create", "-p", path)
    rows = cli.ok("memcg", "tree").splitlines()
    assert len(rows) == DEPTH + 2
    top = json.loads(cli.ok("memcg", "tree", "/d" * (DEPTH - 100), "--json"))
    depth = 0
    while top["children"]:
        top, depth = top["children"][0], depth + 1
    assert depth == 100
    cli.ok("memcg", "rm", path)
    assert len(cli.ok("memcg", "tree").splitlines()) == DEPTH + 1


def test_branches_are_drawn(cli):
    for path in ("/a", "/a/x", "/a/y", "/b"):
        cli.ok("memcg", "create", path)
    names = [line.split("  ")[0] for line in cli.ok("memcg", "tree").splitlines()[1:]]
    first = [line[:8].rstrip() for line in cli.ok("memcg", "tree").splitlines()[1:]]
    assert first == ["/", "├─ a", "│  ├─ x", "│  └─ y", "└─ b"], names
