"""The suite notices each thing that it checks: one deliberately broken type for every rule.

The types differ from a working one (a small hash without preallocation, written as a third
party would) in one method or attribute each.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from bpfctl import plugins
from bpfctl.conformance.lab import Violation
from bpfctl.conformance.rules import RULES
from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import Task
from bpfctl.uapi import BPF_EXIST, BPF_NOEXIST, MapCreateAttr


class Working(MapType):
    """A list of pairs in order of insertion."""

    name = "working"
    family = "working"

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        small = 0 < attr.key_size <= 64 and 0 < attr.value_size <= 4096
        if attr.map_flags or not small or not 0 < attr.max_entries <= 1 << 20:
            raise KernelError(E.INVAL)

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return 320 + self.rec.max_entries * self.elem_size

    @property
    def elem_size(self) -> int:
        return 32 + self.rec.key_size + self.rec.value_size

    def alloc(self) -> None:
        self.struct_alloc("struct", 320)
        self.area_alloc("index", 8 * self.rec.max_entries)

    def mem_usage(self) -> int:
        return 320 + 8 * self.rec.max_entries + self.elem_size * self.rec.nr_elems

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        return cell[0]

    def check_flags(self, flags: int) -> None:
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        self.check_flags(flags)
        old = self.cells.get(key)
        if old is not None and flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if old is None:
            if flags == BPF_EXIST:
                raise KernelError(E.NOENT)
            if self.rec.nr_elems >= self.rec.max_entries:
                raise KernelError(E.BIG)
            payer = self.map_mem().kmalloc("elem", self.elem_size, self.gfp())
            self.rec.nr_elems += 1
            self.cells.put(key, value, self.next_seq(), payer)
        else:
            self.cells.put(key, value, old[1], old[2])

    def gfp(self) -> int:
        return self.update_gfp() | self.account("area")

    def delete(self, key: bytes) -> None:
        old = self.cells.get(key)
        if old is None:
            raise KernelError(E.NOENT)
        self.cells.delete(key)
        self.rec.nr_elems -= 1
        self.free_elem(old[2])

    def free_elem(self, payer: int) -> None:
        self.mem.free("elem", 1, payer)

    def next_key(self, key: bytes | None) -> bytes:
        at = self.cells.get(key) if key is not None else None
        following = self.cells.after(None if at is None else at[1])
        if following is None:
            raise KernelError(E.NOENT)
        return following[0]

    def fill(self, entries: int) -> None:
        self.map_mem().kmalloc("elem", self.elem_size, self.gfp(), entries)
        self.rec.nr_elems += entries


class UnknownCapability(Working):
    capability = "root"


class CannotBeCreated(Working):
    def alloc(self) -> None:
        raise KernelError(E.INVAL)


class Crashes(Working):
    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        super().alloc_check(attr, task)
        assert attr.max_entries % 2 == 0


class ForgetsValues(Working):
    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        return bytes(len(super().lookup(key)))


class WalksInCircles(Working):
    def next_key(self, key: bytes | None) -> bytes:
        try:
            return super().next_key(key)
        except KernelError:
            return super().next_key(None)


class IgnoresFlags(Working):
    def check_flags(self, flags: int) -> None:
        pass


class ForgetsToFree(Working):
    def free_elem(self, payer: int) -> None:
        pass  # closing the map frees it, late


class LeaksElements(Working):
    def free_elem(self, payer: int) -> None:
        self.rec.objcg, self.mem.owner_id = 0, 0  # looks for the element in the wrong place

    def free(self) -> None:
        self.mem.owner_id = 0


class HidesFailures(Working):
    def alloc(self) -> None:
        try:
            super().alloc()
        except KernelError:
            raise KernelError(E.INVAL) from None


class CountsBeforeItAllocates(Working):
    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if self.cells.get(key) is None:
            self.cells.put(key, value, self.next_seq())
            self.map_mem().kmalloc("elem", self.elem_size, self.gfp())
            self.rec.nr_elems += 1


class ForgivesTheLimit(Working):
    def alloc(self) -> None:
        try:
            super().alloc()
        except KernelError:
            raise KernelError(E.BUSY) from None


class FreeOfCost(Working):
    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return 0


class CountsInNone(Working):
    def mem_usage(self) -> Any:
        return None


class KeepsStateInTheProcess(Working):
    inserted: int = 0

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        super().update(key, value, flags)
        self.inserted += 1

    def mem_usage(self) -> int:
        return self.inserted


class FillsTooLittle(Working):
    def fill(self, entries: int) -> None:
        super().fill(entries - 1)


class BatchesFindNothing(Working):
    batch_is_walk = True

    def batch_rows(
        self, cursor: bytes | None, count: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None, int]:
        return [], cursor, E.NOENT


BROKEN: dict[str, type[Working]] = {
    "contract": UnknownCapability,
    "creation": CannotBeCreated,
    "errno": Crashes,
    "elements": ForgetsValues,
    "flags": IgnoresFlags,
    "deletion": LeaksElements,
    "reuse": ForgetsToFree,
    "failslab": HidesFailures,
    "failslab_update": CountsBeforeItAllocates,
    "memory_max": ForgivesTheLimit,
    "memlock": FreeOfCost,
    "usage": CountsInNone,
    "persistence": KeepsStateInTheProcess,
    "fill": FillsTooLittle,
    "commands": BatchesFindNothing,
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a class the one that the kernel finds under its name."""

    def install(cls: type[MapType]) -> None:
        monkeypatch.setattr(plugins, "map_type", lambda name: cls)
        monkeypatch.setattr(plugins, "type_name", lambda number: cls.name)

    return install


def test_there_is_a_broken_type_for_every_rule() -> None:
    assert set(BROKEN) == set(RULES)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_working_type_passes(rule: str, installed: Any) -> None:
    installed(Working)
    RULES[rule](Working)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_broken_type_is_noticed(rule: str, installed: Any) -> None:
    cls = BROKEN[rule]
    installed(cls)
    with pytest.raises((Violation, KernelError)) as noticed:
        RULES[rule](cls)
    assert str(noticed.value), inspect.getdoc(RULES[rule])


def test_a_walk_that_never_ends_is_noticed(installed: Any) -> None:
    installed(WalksInCircles)
    with pytest.raises(Violation, match=r"again|ends with"):
        RULES["elements"](WalksInCircles)


