"""BPF_BTF_LOAD: what the kernel refuses."""

from __future__ import annotations

import struct

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.parse import swap_order
from bpfctl.btf.types import Array, Composite, Enum, Float, Fwd, Int, Kind, Member, Ref
from bpfctl.errors import KernelError, errno_name
from unit.kernel.machine import Machine


def blob(*records) -> bytes:
    """Encode records after an ``int`` (1); nothing is checked."""
    btf = BtfBuilder()
    btf.add_int("int", 4, 1)
    for record in records:
        btf.add(record)
    return btf.encode()


def outcome(content: bytes, profile: str = "6.12") -> str:
    machine = Machine(profile)
    try:
        machine.bpf.btf_load(content)
    except KernelError as exc:
        return errno_name(exc.code)
    return "ok"


GOOD = blob()


def patched(at: int, fmt: str, value: int) -> bytes:
    changed = bytearray(GOOD)
    struct.pack_into(fmt, changed, at, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("content", "want"),
    [
        pytest.param(GOOD, "ok", id="an int"),
        pytest.param(b"", "EINVAL", id="nothing"),
        pytest.param(GOOD[:20], "EINVAL", id="half a header"),
        pytest.param(GOOD[:-1], "EINVAL", id="cut off"),
        pytest.param(patched(0, "<H", 0x1234), "EINVAL", id="magic"),
        pytest.param(patched(2, "<B", 2), "ENOTSUPP", id="version"),
        pytest.param(patched(3, "<B", 1), "ENOTSUPP", id="flags"),
        pytest.param(patched(12, "<I", 0), "EINVAL", id="no types"),
        pytest.param(GOOD + bytes(17 << 20), "E2BIG", id="more than 16 MiB"),
        pytest.param(blob(Int(Kind.INT, "c", 1, 3, 0, 8)), "ENOTSUPP", id="signed and char"),
        pytest.param(blob(Ref(Kind.PTR, "p", 1)), "EINVAL", id="a pointer with a name"),
        pytest.param(blob(Ref(Kind.TYPEDEF, "", 1)), "EINVAL", id="a typedef without"),
        pytest.param(blob(Ref(Kind.TYPEDEF, "1x", 1)), "EINVAL", id="not an identifier"),
        pytest.param(blob(Fwd(Kind.FWD, "a.b")), "EINVAL", id="dot in a name"),
        pytest.param(blob(Ref(Kind.CONST, "", 9)), "EINVAL", id="type that does not exist"),
        pytest.param(
            blob(Array(Kind.ARRAY, "", 1, 3, 4), Fwd(Kind.FWD, "s")), "EINVAL", id="index type"
        ),
        pytest.param(
            blob(Composite(Kind.STRUCT, "s", 8, [Member("a", 1, 32), Member("b", 1, 0)])),
            "EINVAL",
            id="members out of order",
        ),
        pytest.param(
            blob(Composite(Kind.STRUCT, "s", 8, [Member("a b", 1, 0)])),
            "EINVAL",
            id="member name",
        ),
        pytest.param(
            blob(Fwd(Kind.FWD, "t"), Composite(Kind.STRUCT, "s", 8, [Member("a", 2, 0)])),
            "EINVAL",
            id="member without a size",
        ),
        pytest.param(
            blob(Composite(Kind.STRUCT, "s", 8, [Member("a", 1, 0), Member("b", 1, 32)])),
            "ok",
            id="a struct",
        ),
        pytest.param(blob(Enum(Kind.ENUM, "e", 4, [("A", 0)])), "ok", id="an enum"),
        pytest.param(blob(Enum(Kind.ENUM, "e", 4, [("", 0)])), "EINVAL", id="nameless value"),
    ],
)
def test_what_is_refused(content: bytes, want: str):
    assert outcome(content) == want


def test_the_other_byte_order():
    from bpfctl.btf.parse import parse_btf

    assert outcome(swap_order(parse_btf(GOOD))) == "EINVAL"


@pytest.mark.parametrize(
    "record",
    [
        Float(Kind.FLOAT, "double", 8),
        Enum(Kind.ENUM64, "e", 8, [("A", 1 << 40)]),
        Enum(Kind.ENUM, "e", 4, [("A", -1)], True),
        Ref(Kind.TYPE_TAG, "tag", 1),
    ],
    ids=["float", "enum64", "signed enum", "type tag"],
)
def test_newer_kinds(record):
    assert outcome(blob(record), "5.10") == "EINVAL"
    assert outcome(blob(record), "6.1") == "ok"


def test_needs_cap_bpf():
    machine = Machine("6.12", unprivileged_bpf_disabled=0)
    with pytest.raises(KernelError) as found:
        machine.task(caps=0, uid=1000).btf_load(GOOD)
    assert errno_name(found.value.code) == "EPERM"


def test_a_refused_blob_leaves_nothing():
    machine = Machine()
    with pytest.raises(KernelError):
        machine.bpf.btf_load(b"x" * 40)
    assert list(machine.bpf.ids(machine.bpf.btf_get_next_id)) == []
