"""Random histories of maps, cgroups, tasks and limits against a simple model.

The kernel runs over SQLite tables (in memory); after every step ``sim check``'s invariants hold:
each cgroup's counters equal the sum of its live allocations, references add up. At the end
everything is closed and every counter is zero.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from bpfctl.errors import E, KernelError, TaskKilled
from bpfctl.kernel.config import Config
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.store.check import check_state
from bpfctl.store.migrations import create
from bpfctl.store.sqlite import SqlStorage
from bpfctl.uapi import BPF_EXIST, BPF_F_NO_PREALLOC, BPF_NOEXIST, MAP_TYPE_NUMBER, MapCreateAttr

HASHES = ("hash", "percpu_hash")
KINDS = (*HASHES, "array", "percpu_array", "lru_hash", "lru_percpu_hash")
KEYS = st.integers(0, 5)
CPUS = 2


class Model:
    """What one map must hold: a dict with a capacity, or an array of zeros."""

    def __init__(self, kind: str, entries: int) -> None:
        self.kind = kind
        self.entries = entries
        self.values: dict[int, bytes] = {}

    @property
    def is_array(self) -> bool:
        return "array" in self.kind

    def update(self, key: int, value: bytes, flags: int) -> int:
        """Return the errno that an update must have, 0 for success."""
        if self.is_array:
            if key >= self.entries:
                return E.BIG
            if flags == BPF_NOEXIST:
                return E.EXIST
        elif key in self.values:
            if flags == BPF_NOEXIST:
                return E.EXIST
        elif flags == BPF_EXIST:
            return E.NOENT
        elif len(self.values) >= self.entries and "lru" not in self.kind:
            return E.BIG
        self.values[key] = value
        return 0

    def delete(self, key: int) -> int:
        if self.is_array:
            return E.INVAL
        return 0 if self.values.pop(key, None) is not None else E.NOENT


def errno_of(call: Any, *args: Any) -> int:
    try:
        call(*args)
    except KernelError as exc:
        return exc.code
    return 0


class KernelMachine(RuleBasedStateMachine):
    maps = Bundle("maps")
    groups = Bundle("groups")
    tasks = Bundle("tasks")

    @initialize(
        target=tasks,
        profile=st.sampled_from(["5.10", "5.11", "6.1", "6.12", "6.18"]),
        mode=st.sampled_from(["on", "on", "nobpf", "nokmem"]),
    )
    def boot(self, profile: str, mode: str) -> int:
        conn = sqlite3.connect(":memory:", isolation_level=None)
        create(conn)
        self.storage = SqlStorage(conn)
        config = Config(kernel=profile, possible_cpus=CPUS, cgroup_memory=mode)
        self.kernel = Kernel.boot(self.storage, config)
        self.models: dict[tuple[int, int], Model] = {}
        self.nr_groups = 1
        self.kernel.memcg.create("/g0")
        return self.kernel.spawn("first", cgroup="/g0", memlock=1 << 20).pid

    # --- cgroups and tasks -------------------------------------------------

    @rule(target=groups, parent=st.one_of(st.just("/"), groups))
    def mkdir(self, parent: str) -> Any:
        path = f"{parent.rstrip('/')}/g{self.nr_groups}"
        self.nr_groups += 1
        try:
            self.kernel.memcg.create(path)
        except KernelError as exc:
            assert exc.code == E.NOENT, "only a parent that was removed is in the way"
            return multiple()
        return path

    @precondition(lambda self: self.nr_groups > 3)
    @rule(group=consumes(groups))
    def rmdir(self, group: str) -> None:
        assert errno_of(self.kernel.memcg.remove, group) in (0, E.NOENT, E.BUSY)

    @rule(group=groups, pages=st.one_of(st.none(), st.integers(0, 40)))
    def limit(self, group: str, pages: int | None) -> None:
        nbytes = None if pages is None else pages * 4096
        try:
            killed = self.kernel.set_memory_knob(group, "max", nbytes)
        except KernelError as exc:
            assert exc.code == E.NOENT
            return
        for pid in killed:
            self.forget(pid)

    @rule(
        target=tasks,
        group=st.one_of(st.just("/"), groups),
        uid=st.sampled_from([0, 1000]),
        memlock=st.sampled_from([None, 0, 65536, 1 << 20]),
    )
    def spawn(self, group: str, uid: int, memlock: int | None) -> Any:
        try:
            return self.kernel.spawn("t", uid, cgroup=group, memlock=memlock).pid
        except KernelError as exc:
            assert exc.code == E.NOENT
            return multiple()

    @rule(pid=tasks, group=groups)
    def move(self, pid: int, group: str) -> None:
        if self.alive(pid):
            task = self.kernel.task(pid)
            assert errno_of(self.kernel.memcg.move, task, group) in (0, E.NOENT)

    @precondition(lambda self: len(self.models) > 2)
    @rule(pid=consumes(tasks))
    def exit(self, pid: int) -> None:
        if self.alive(pid):
            self.kernel.exit_task(pid)
            self.forget(pid)

    def alive(self, pid: int) -> bool:
        return self.kernel.tasks.get(pid) is not None

    def forget(self, pid: int) -> None:
        for key in [key for key in self.models if key[0] == pid]:
            del self.models[key]

    # --- maps --------------------------------------------------------------

    @rule(
        target=maps,
        pid=tasks,
        kind=st.sampled_from(KINDS),
        entries=st.integers(1, 4),
        lazily=st.booleans(),
    )
    def create(self, pid: int, kind: str, entries: int, lazily: bool) -> Any:
        if not self.alive(pid):
            return multiple()
        flags = BPF_F_NO_PREALLOC if lazily and kind in HASHES else 0
        attr = MapCreateAttr(MAP_TYPE_NUMBER[kind], 4, 8, entries, flags)
        try:
            fd = Bpf(self.kernel, pid).map_create(attr)
        except KernelError as exc:
            assert exc.code in (E.PERM, E.NOMEM)
            return multiple()
        except TaskKilled:
            self.forget(pid)
            return multiple()
        self.models[pid, fd] = Model(kind, entries)
        return pid, fd

    def opened(self, handle: tuple[int, int]) -> tuple[Bpf, int, Model] | None:
        model = self.models.get(handle)
        return None if model is None else (Bpf(self.kernel, handle[0]), handle[1], model)

    @rule(
        handle=maps,
        updates=st.lists(
            st.tuples(KEYS, st.integers(0, 255), st.sampled_from([0, 0, 1, 2])),
            min_size=1,
            max_size=8,
        ),
    )
    def update(self, handle: tuple[int, int], updates: list[tuple[int, int, int]]) -> None:
        found = self.opened(handle)
        if found is not None:
            for key, byte, flags in updates:
                self.update_one(*found, key, byte, flags)

    def update_one(
        self, bpf: Bpf, fd: int, model: Model, key: int, byte: int, flags: int
    ) -> None:
        value = bytes([byte]) * 8 * (CPUS if "percpu" in model.kind else 1)
        was = dict(model.values)
        wanted = model.update(key, value, flags)
        got = errno_of(bpf.map_update_elem, fd, key.to_bytes(4, "little"), value, flags)
        if got == E.NOMEM:
            model.values = was
        elif "lru" in model.kind:
            self.follow_evictions(bpf, fd, model, wanted, got)
            if got == 0:
                model.values[key] = value
        else:
            assert got == wanted

    def follow_evictions(self, bpf: Bpf, fd: int, model: Model, wanted: int, got: int) -> None:
        """An LRU map may drop any key to make room, the one looked for included."""
        assert got == wanted or {got, wanted} <= {0, E.EXIST, E.NOENT}
        present = {int.from_bytes(key, "little") for key in bpf.map_keys(fd)}
        assert present <= set(model.values)
        assert len(present) <= max(model.entries, CPUS)
        model.values = {key: value for key, value in model.values.items() if key in present}

    @rule(handle=maps, key=KEYS)
    def delete(self, handle: tuple[int, int], key: int) -> None:
        found = self.opened(handle)
        if found is not None:
            bpf, fd, model = found
            wanted = model.delete(key)
            assert errno_of(bpf.map_delete_elem, fd, key.to_bytes(4, "little")) == wanted

    @precondition(lambda self: len(self.models) > 2)
    @rule(handle=consumes(maps))
    def close(self, handle: tuple[int, int]) -> None:
        found = self.opened(handle)
        if found is not None:
            found[0].close(found[1])
            del self.models[handle]

    # --- what always holds ---------------------------------------------------

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for (pid, fd), model in getattr(self, "models", {}).items():
            bpf = Bpf(self.kernel, pid)
            keys = [int.from_bytes(key, "little") for key in bpf.map_keys(fd)]
            if model.is_array:
                assert keys == list(range(model.entries))
            else:
                assert sorted(keys) == sorted(model.values)
            for key, value in model.values.items():
                assert bpf.map_lookup_elem(fd, key.to_bytes(4, "little")) == value

    @invariant()
    def charges_add_up(self) -> None:
        if hasattr(self, "storage"):
            assert check_state(self.storage) == []

    def teardown(self) -> None:
        if not hasattr(self, "kernel"):
            return
        kernel = self.kernel
        for pid in list(kernel.tasks.keys_after(1)):
            kernel.exit_task(pid)
        assert list(kernel.maps.records.keys_after(None)) == []
        assert kernel.mm.in_use() == 0
        assert list(kernel.mm.allocs.keys_after(None)) == []
        for uid in (0, 1000):
            assert kernel.memlock.locked_pages(uid) == 0
        for _, memcg in kernel.memcg.walk():
            assert set(kernel.memcg.stat(memcg).values()) == {0}
            kernel.memcg.charger.drain(memcg.id)
            assert memcg.usage_pages == 0
        assert check_state(self.storage) == []


TestKernelMachine = KernelMachine.TestCase
TestKernelMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
