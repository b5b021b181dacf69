"""Random histories over maps of every type: charges and references always add up.

What each type does with an element is checked elsewhere; here they live together, under limits,
with commits in between, and at the end nothing is left.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfctl import plugins
from bpfctl.conformance.lab import BOX, Lab, attempt
from bpfctl.errors import KernelError, TaskKilled
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.profile import PROFILES
from bpfctl.store.check import check_state

TYPES = sorted(plugins.BUILTIN)


def type_of(name: str) -> type[MapType]:
    cls = plugins.map_type(name)
    assert cls is not None
    return cls


STEP = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(TYPES)),
    st.tuples(st.sampled_from(["fill", "empty", "walk", "close", "pin"]), st.integers(0, 7)),
    st.tuples(st.just("limit"), st.one_of(st.none(), st.integers(0, 60))),
    st.tuples(st.sampled_from(["reopen", "rmdir"]), st.just(0)),
)


class World:
    """A kernel, and the descriptors of its maps in order of creation."""

    def __init__(self, profile: str) -> None:
        self.lab = Lab.boot(type_of("hash"), profile)
        self.maps: list[tuple[str, int]] = []
        self.pins = 0
        self.groups = 0

    def do(self, step: tuple[str, Any]) -> None:
        getattr(self, step[0])(step[1])

    def chosen(self, index: int) -> tuple[str, int] | None:
        return self.maps[index % len(self.maps)] if self.maps else None

    def create(self, name: str) -> None:
        if name not in self.lab.kernel.profile.map_types:
            return
        self.lab.cls = type_of(name)
        made = attempt(lambda: self.lab.create())
        if not isinstance(made, Exception):
            self.maps.append((name, made))

    def elements(self, name: str) -> list[Any]:
        self.lab.cls = type_of(name)
        found = attempt(lambda: self.lab.elements(4))
        return [] if isinstance(found, Exception) else found

    def fill(self, index: int) -> None:
        if (chosen := self.chosen(index)) is not None:
            for key, value in self.elements(chosen[0]):
                attempt(self.lab.bpf.map_update_elem, chosen[1], key, value)

    def empty(self, index: int) -> None:
        if (chosen := self.chosen(index)) is None:
            return
        key = attempt(self.lab.bpf.map_get_next_key, chosen[1], None)
        for _ in range(8):
            if isinstance(key, Exception):
                break
            attempt(self.lab.bpf.map_delete_elem, chosen[1], key)
            key = attempt(self.lab.bpf.map_get_next_key, chosen[1], None)
        attempt(self.lab.bpf.map_lookup_and_delete_elem, chosen[1], None)

    def walk(self, index: int) -> None:
        if (chosen := self.chosen(index)) is not None:
            key: Any = None
            for _ in range(20):
                key = attempt(self.lab.bpf.map_get_next_key, chosen[1], key)
                if isinstance(key, Exception):
                    break
                attempt(self.lab.bpf.map_lookup_elem, chosen[1], key)

    def pin(self, index: int) -> None:
        if (chosen := self.chosen(index)) is not None:
            self.pins += 1
            self.lab.bpf.obj_pin(chosen[1], f"/sys/fs/bpf/p{self.pins}")

    def close(self, index: int) -> None:
        if (chosen := self.chosen(index)) is not None:
            self.maps.remove(chosen)
            self.lab.bpf.close(chosen[1])

    def limit(self, pages: int | None) -> None:
        nbytes = None if pages is None else pages * 4096
        try:
            killed = self.lab.kernel.set_memory_knob(BOX, "max", nbytes)
        except KernelError:
            return
        if self.lab.bpf.pid in killed:
            self.start_again()

    def reopen(self, _: int) -> None:
        self.lab.commit_and_reopen()

    def rmdir(self, _: int) -> None:
        """Leave the cgroup and remove it: what maps were charged goes to its parent."""
        kernel = self.lab.kernel
        self.groups += 1
        kernel.memcg.create(f"/other{self.groups}")
        kernel.memcg.move(kernel.task(self.lab.bpf.pid), f"/other{self.groups}")
        try:
            kernel.memcg.remove(BOX)
        except KernelError:
            return
        kernel.memcg.create(BOX)

    def start_again(self) -> None:
        task = self.lab.kernel.spawn("again", cgroup="/", memlock=None)
        self.lab.bpf.pid = task.pid
        self.maps.clear()

    def alive(self) -> bool:
        return self.lab.kernel.tasks.get(self.lab.bpf.pid) is not None

    def end(self) -> None:
        kernel = self.lab.kernel
        for path, _, _ in list(kernel.bpffs.pins()):
            kernel.unlink(path)
        for pid in list(kernel.tasks.keys_after(1)):
            kernel.exit_task(pid)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(profile=st.sampled_from(PROFILES), steps=st.lists(STEP, min_size=5, max_size=40))
def test_all_types_together(profile: str, steps: list[tuple[str, Any]]) -> None:
    world = World(profile)
    with world.lab:
        for step in steps:
            try:
                world.do(step)
            except TaskKilled:
                pass
            if not world.alive():
                world.start_again()
            assert check_state(world.lab.storage) == []
        world.end()
        kernel = world.lab.kernel
        assert list(kernel.maps.records.keys_after(None)) == []
        assert list(kernel.mm.allocs.keys_after(None)) == []
        assert kernel.mm.in_use() == 0
        assert kernel.memlock.locked_pages(0) == 0
        for _, memcg in kernel.memcg.walk():
            assert set(kernel.memcg.stat(memcg).values()) == {0}
        assert check_state(world.lab.storage) == []
