"""Damaged objects: always read or refused with a reason, and soon."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfctl.btf.dump import dump_raw, prototype
from bpfctl.btf.format import format_value
from bpfctl.btf.parse import Btf, parse_btf
from bpfctl.btf.types import BtfError
from bpfctl.libbpf.elf import parse_elf
from bpfctl.libbpf.object import parse_object
from bpfctl.libbpf.object_error import ObjectError
from bpfctl.libbpf.object_maps import LoadRules
from unit.libbpf.objects import OBJECTS

NAMES = (
    "kinds.bpf.o",
    "externs.bpf.o",
    "callbacks.be.o",
    "ops.bpf.o",
    "legacy.bpf.o",
    "nest.bpf.o",
)
FILES = {name: (OBJECTS / name).read_bytes() for name in NAMES}
RULES = LoadRules(relaxed=True, legacy=True)
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)

byte = st.sampled_from(INTERESTING) | st.integers(0, 255)
damage = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), byte),
    min_size=1,
    max_size=8,
)
quick = settings(
    max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def damaged(data: bytes, places: list[tuple[float, int]]) -> bytes:
    out = bytearray(data)
    for where, value in places:
        out[int(where * len(out))] = value
    return bytes(out)


def use_all(btf: Btf) -> None:
    """Do with the types what commands do."""
    for _ in dump_raw(btf):
        pass
    for found in btf:
        prototype(btf, found.id)
        with suppress(BtfError):
            format_value(btf, found.id, bytes(64), True)


def read(data: bytes) -> None:
    try:
        made = parse_object(data, "x.bpf.o", RULES)
    except ObjectError as exc:
        named = exc.text.startswith("x.bpf.o: ") and exc.reason
    else:
        named = "no error"
        for spec in made.maps:
            spec.resolve(2, 4096).create_attr(3)
            if made.btf and spec.data and spec.btf_value_type_id:
                with suppress(BtfError):
                    format_value(made.btf, spec.btf_value_type_id, spec.data, False)
    assert named


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_of_an_object(name: str) -> None:
    data = FILES[name]
    for length in range(0, len(data), 97):
        with pytest.raises(ObjectError):
            parse_object(data[:length], "x.bpf.o", RULES)


@quick
@given(st.sampled_from(NAMES), damage)
def test_changed_bytes_anywhere(name: str, places: list[tuple[float, int]]) -> None:
    read(damaged(FILES[name], places))


@quick
@given(
    st.sampled_from(NAMES),
    st.sampled_from((".BTF", ".BTF.ext", ".symtab", ".reltc", ".rel.maps", ".strtab", "tc")),
    damage,
)
def test_changed_bytes_where_it_matters(
    name: str, section: str, places: list[tuple[float, int]]
) -> None:
    data = FILES[name]
    found = parse_elf(data, name).section(section)
    if found is None or not found.data:
        return
    start = data.index(found.data)
    inside = damaged(found.data, places)
    read(data[:start] + inside + data[start + len(inside) :])


@quick
@given(st.sampled_from(NAMES), damage)
def test_changed_types(name: str, places: list[tuple[float, int]]) -> None:
    section = parse_elf(FILES[name], name).section(".BTF")
    assert section
    with suppress(BtfError):
        use_all(parse_btf(damaged(section.data, places)))


@quick
@given(st.binary(max_size=400))
def test_any_bytes_as_types(data: bytes) -> None:
    header = b"\x9f\xeb\x01\x00\x18\0\0\0"
    half = len(data) // 2 & ~3
    bounds = b"".join(n.to_bytes(4, "little") for n in (0, half, half, len(data) - half + 2))
    blob = header + bounds + data[:half] + b"\0" + data[half:] + b"\0"
    with suppress(BtfError):
        use_all(parse_btf(blob))


@quick
@given(st.binary(max_size=300))
def test_any_bytes_as_an_object(data: bytes) -> None:
    with pytest.raises(ObjectError):
        parse_object(b"\x7fELF\x02\x01\x01" + data, "x.bpf.o")
