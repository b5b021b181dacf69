"""Bloom filters."""

from __future__ import annotations

import pytest

from unit.maps.machine import Machine, outcome

ZERO_SEED = 0x40


@pytest.fixture
def machine():
    return Machine()


def maybe(machine, fd, value):
    result = outcome(lambda: machine.map_lookup_elem(fd, None, 0, value))
    assert result in ("ok", "ENOENT")
    return result == "ok"


@pytest.mark.parametrize("flags", [0, ZERO_SEED], ids=["seeded", "zero-seed"])
@pytest.mark.parametrize("size", [1, 4, 7, 16])
def test_what_was_pushed_is_found(size, flags):
    machine = Machine(hash_seed=0x1234)
    fd = machine.create("bloom_filter", 0, size, 100, flags)
    pushed = [bytes([number] * size) for number in range(50)]
    for value in pushed:
        machine.map_update_elem(fd, None, value)
    assert all(maybe(machine, fd, value) for value in pushed)


def test_few_of_the_others_are_found(machine):
    fd = machine.create("bloom_filter", 0, 8, 100)
    for number in range(100):
        machine.map_update_elem(fd, None, number.to_bytes(8, "little"))
    others = [number.to_bytes(8, "little") for number in range(1000, 2000)]
    assert sum(maybe(machine, fd, value) for value in others) < 100


@pytest.mark.parametrize(
    ("flags", "found"), [(0, False), (ZERO_SEED, True)], ids=["seeded", "zero-seed"]
)
def test_the_seed_moves_the_bits(flags, found):
    """With a seed of its own a filter sets other bits than one whose seed is zero."""
    plain, seeded = Machine(hash_seed=0), Machine(hash_seed=99)
    bits = []
    for machine in (plain, seeded):
        fd = machine.create("bloom_filter", 0, 4, 1000, flags)
        machine.map_update_elem(fd, None, b"abcd")
        bits.append([row[:2] for row in machine.type_of(fd).cells.rows()])
    assert (bits[0] == bits[1]) is found


@pytest.mark.parametrize("extra", [0, 1, 3, 15])
def test_as_many_bits_as_hash_functions(machine, extra):
    fd = machine.create("bloom_filter", 0, 4, 100000, map_extra=extra)
    machine.map_update_elem(fd, None, b"abcd")
    ones = sum(
        bin(byte).count("1") for row in machine.type_of(fd).cells.rows() for byte in row[1]
    )
    # Of several functions two may hit the same bit.
    assert ones == extra if extra == 1 else 0 < ones <= (extra or 5)


@pytest.mark.parametrize(
    ("operation", "want"),
    [
        (lambda m, fd: m.map_update_elem(fd, None, bytes(8), 1), "EINVAL"),
        (lambda m, fd: m.map_update_elem(fd, None, bytes(8), 2), "EINVAL"),
        (lambda m, fd: m.map_update_elem(fd, b"\0", bytes(8)), "EINVAL"),
        (lambda m, fd: m.map_lookup_elem(fd, None, 0, bytes(8)), "ENOENT"),
        (lambda m, fd: m.map_lookup_elem(fd, None, 0, None), "EFAULT"),
        (lambda m, fd: m.map_delete_elem(fd, None), "EOPNOTSUPP"),
        (lambda m, fd: m.map_delete_elem(fd, b"\0"), "EINVAL"),
        (lambda m, fd: m.map_get_next_key(fd, None), "EOPNOTSUPP"),
        (lambda m, fd: m.map_lookup_and_delete_elem(fd, None), "ENOTSUPP"),
    ],
    ids=["noexist", "exist", "key", "peek", "no-value", "delete", "delete-key", "next", "pop"],
)
def test_operations_on_an_empty_filter(machine, operation, want):
    fd = machine.create("bloom_filter", 0, 8, 4)
    assert outcome(lambda: operation(machine, fd)) == want


@pytest.mark.parametrize("profile", ["6.1", "6.12", "6.18"])
@pytest.mark.parametrize(
    ("key", "value", "entries", "flags", "extra", "want"),
    [
        (0, (4 << 20) + 1, 0, 0, 0, "E2BIG"),
        (4, 8, 1, 0, 0, "EINVAL"),
        (0, 0, 1, 0, 0, "EINVAL"),
        (0, 8, 0, 0, 0, "EINVAL"),
        (0, 8, 1, 0x1, 0, "EINVAL"),
        (0, 8, 1, 0x180, 0, "EINVAL"),
        (0, 8, 1, 0, 16, "EINVAL"),
        (0, 8, 1, 0x48, 15, "ok"),
    ],
)
def test_attribute_checks(profile, key, value, entries, flags, extra, want):
    machine = Machine(profile)

    def create():
        machine.create("bloom_filter", key, value, entries, flags, map_extra=extra)

    assert outcome(create) == want


def test_unknown_before_5_16():
    assert outcome(lambda: Machine("5.10").create("bloom_filter", 0, 8, 1)) == "EINVAL"


@pytest.mark.parametrize(
    ("entries", "extra", "bits"),
    [
        (1, 0, 64),
        (10, 5, 128),
        (1000, 0, 8192),
        (1000, 15, 32768),
        (0x10000000, 0, 1 << 31),
        (0x20000000, 0, 1 << 32),
        (0x40000000, 4, 1 << 32),
    ],
)
def test_size_of_the_bit_set(entries, extra, bits):
    machine = Machine("6.18")
    fd = machine.create("bloom_filter", 0, 8, entries, map_extra=extra)
    assert machine.memlock(fd) == 312 + bits // 8
