"""Every helper is declared once, where the table of families says."""

from __future__ import annotations

from bpfctl.isa.helper_names import HELPERS
from bpfctl.kernel.bpf.helpers import FAMILIES, by_id, by_name
from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret


def test_all_numbers_have_one_family():
    numbers = sorted(number for family in FAMILIES.values() for number in family)
    assert numbers == list(range(1, len(HELPERS)))


def test_names_and_families_agree():
    for number, name in enumerate(HELPERS):
        found = by_id(number)
        assert found is by_name(name)
        assert number == 0 or (found is not None and found.name == name)


def test_sizes_follow_memory():
    for number in range(1, len(HELPERS)):
        helper = by_id(number)
        assert helper is not None
        for proto in helper.protos.values():
            bases = [arg.base for arg in proto.args]
            for at, base in enumerate(bases):
                if base in (Arg.CONST_SIZE, Arg.CONST_SIZE_OR_ZERO):
                    assert bases[at - 1] == Arg.PTR_TO_MEM, helper.name


def test_prototypes_by_trait():
    strtol = by_name("strtol")
    assert strtol is not None
    assert strtol.proto().args[3].size == 8
    assert strtol.proto().at(frozenset({"int_pointers"})).args[3].type == Arg.PTR_TO_LONG


def test_lookup():
    lookup = by_id(1)
    assert lookup is not None
    assert lookup.proto().ret == Ret.MAP_VALUE | Flag.MAYBE_NULL
    assert by_id(212) is None
