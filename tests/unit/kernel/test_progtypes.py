"""Program types: every one is declared, layouts and rules hang together."""

from __future__ import annotations

import itertools

import pytest

from bpfctl.kernel.bpf.helpers import by_name
from bpfctl.kernel.bpf.helpers.decl import Flag
from bpfctl.kernel.bpf.progtypes import by_name as type_by_name
from bpfctl.kernel.bpf.progtypes import by_number
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.progtypes.sets import SETS, TIER
from bpfctl.kernel.bpf.verifier import regtype
from bpfctl.uapi import PROG_TYPE_NUMBER

MEASURED = ("5.10", "6.1", "6.12", "6.18", "7.3")


def types():
    return [by_number(number) for number in sorted(PROG_TYPE_NUMBER.values()) if number]


def test_every_type_is_declared():
    for name, number in PROG_TYPE_NUMBER.items():
        if number:
            found = by_number(number)
            assert found is not None
            assert found.name == name


def test_sets_and_variants_exist():
    for prog_type in types():
        for name in (*prog_type.helpers, *sum(prog_type.attach_helpers.values(), ())):
            assert name in SETS, prog_type.name
        for helper, variant in prog_type.variants.items():
            found = by_name(helper)
            assert found is not None
            assert variant in found.protos, (prog_type.name, helper, variant)
    assert set(TIER) <= set(SETS)


@pytest.mark.parametrize("profile", MEASURED)
def test_withheld_helpers_are_in_their_set(profile):
    for name, withheld in prog_rules(profile).withheld.items():
        assert withheld <= SETS[name]


def test_fields_do_not_overlap():
    for prog_type in types():
        if prog_type.ctx is None:
            continue
        for traits in (prog_rules(profile).traits for profile in MEASURED):
            present = [
                field
                for field in prog_type.ctx.fields
                if (not field.trait or field.trait in traits)
                and (not field.unless or field.unless not in traits)
            ]
            for before, after in itertools.pairwise(present):
                assert before.end <= after.offset, (prog_type.name, after.name)


def test_flags_are_those_of_registers():
    for flag, register in (
        (Flag.MAYBE_NULL, regtype.PTR_MAYBE_NULL),
        (Flag.RDONLY, regtype.MEM_RDONLY),
        (Flag.RELEASE, regtype.OBJ_RELEASE),
        (Flag.UNINIT, regtype.MEM_UNINIT),
        (Flag.DYNPTR_RINGBUF, regtype.DYNPTR_TYPE_RINGBUF),
        (Flag.FIXED_SIZE, regtype.MEM_FIXED_SIZE),
        (Flag.WRITE, regtype.MEM_WRITE),
        (Flag.ALIGNED, regtype.MEM_ALIGNED),
    ):
        assert flag == register


def test_ctx_access():
    xdp = type_by_name("xdp")
    assert xdp is not None
    assert xdp.ctx is not None
    data = xdp.ctx.access(0, 4, False)
    assert data is not None
    assert data.becomes == "packet"
    assert xdp.ctx.access(20, 4, False) is None
    assert xdp.ctx.access(20, 4, False, attach_type=33) is not None
    assert xdp.ctx.access(0, 4, True) is None
