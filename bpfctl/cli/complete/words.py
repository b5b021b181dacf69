"""Completion of bpftool's commands: from the grammar of a verb to what may come next.

The grammar says which operand it is; the state says which values it has, and how many bytes the
keys and values of a map are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from bpfctl import plugins
from bpfctl.cli.app.grammar import Knowledge, Node, Taken, Walk, data, parse
from bpfctl.cli.complete.state import MapFacts, Offer, State
from bpfctl.errors import CommandError
from bpfctl.map_values import BYTES, MAP, PROG
from bpfctl.uapi import MAP_TYPES, PROG_TYPES

Offers = Iterable[Offer]

FILE, DIRECTORY = "\0file", "\0dir"
NOTHING: tuple[Offer, ...] = ()
# What the shell completes itself: files and directories of the host.
FILES: tuple[Offer, ...] = ((FILE, ""),)
DIRECTORIES: tuple[Offer, ...] = ((DIRECTORY, ""),)

_NAME_MAX = 15


def words(*values: str) -> Offers:
    """Offer plain words."""
    return [(value, "") for value in values]


def map_types() -> Offers:
    """Offer the map types that ``map create`` knows, with those of other distributions."""
    from bpfctl.cli.map.create import LAST_KNOWN_TYPE

    yield from words(*MAP_TYPES[1 : LAST_KNOWN_TYPE + 1])
    for entry in plugins.entry_points(plugins.MAP_TYPES_GROUP):
        if entry.name not in MAP_TYPES:
            yield entry.name, entry.dist.name if entry.dist is not None else ""


def map_flags() -> Offers:
    """Offer the flags of BPF_MAP_CREATE as numbers, which is how bpftool wants them."""
    from bpfctl.cost.mapline import FLAGS

    return [(hex(bit), f"BPF_F_{name.upper()}") for name, bit in FLAGS.items()]


def _nothing(state: State, taken: list[Taken]) -> Offers:
    """Offer nothing: this is free text or a number."""
    return NOTHING


def _new_name(state: State, taken: list[Taken]) -> Offers:
    """Offer the last part of the path that was typed, cut to the length of a name."""
    path = next((word.word for word in taken if word.name == "PATH"), "")
    return words(os.path.basename(path)[:_NAME_MAX])


def _object_words(taken: list[Taken]) -> Offers:
    """Offer an object, or the verbs of the one that was typed: what ``help`` takes."""
    from bpfctl.cli.app.dispatch import OBJECTS, OWN_OBJECTS, target_of
    from bpfctl.cli.app.table import Table

    if not taken:
        return [(name, found.about) for name, found in {**OBJECTS, **OWN_OBJECTS}.items()]
    name = next((name for name in OBJECTS if name.startswith(taken[0].word)), None)
    target = target_of(OBJECTS[name]) if name is not None and len(taken) == 1 else None
    if not isinstance(target, Table):
        return NOTHING
    return [(verb.name, verb.about) for verb in target.verbs.values()]


# Operands of one word: what they may be.
OPERANDS: dict[str, Callable[[State, list[Taken]], Offers]] = {
    "ATTACH_TYPE": _nothing,
    "BTF_ID": lambda state, taken: state.btf_ids(),
    "BYTE": _nothing,
    "DEV": lambda state, taken: state.netdevs(),
    "DIR": lambda state, taken: DIRECTORIES,
    "FILE": lambda state, taken: FILES,
    "HEX": _nothing,
    "INSN": _nothing,
    "LINK_ID": _nothing,
    "LINK_PIN": lambda state, taken: state.pins("link"),
    "MAP_FLAGS": lambda state, taken: map_flags(),
    "MAP_ID": lambda state, taken: state.map_ids(),
    "MAP_NAME": lambda state, taken: state.map_names(),
    "MAP_PIN": lambda state, taken: state.pins("map"),
    "MAP_TYPE": lambda state, taken: map_types(),
    "MEMORY": _nothing,
    "METRIC": lambda state, taken: words(
        "cycles", "instructions", "l1d_loads", "llc_misses", "itlb_misses", "dtlb_misses"
    ),
    "N": _nothing,
    "NAME": _nothing,
    "NEW_NAME": _new_name,
    "PATH": lambda state, taken: state.directories(),
    "PREFIX": _nothing,
    "PROG_ID": lambda state, taken: state.prog_ids(),
    "PROG_NAME": lambda state, taken: state.prog_names(),
    "PROG_PIN": lambda state, taken: state.pins("prog"),
    "PROG_TAG": lambda state, taken: state.prog_tags(),
    "WORD": lambda state, taken: _object_words(taken),
    "PROG_TYPE": lambda state, taken: words(*PROG_TYPES[1:]),
}
# Accepted, with a warning: "offload_dev" is meant.
_DEPRECATED = "dev"


class _StateKnowledge(Knowledge):
    """What the state knows of the maps that are named."""

    def __init__(self, state: State) -> None:
        self.state = state

    def expand(self, operand: str, taken: list[Taken]) -> Node | None:
        if operand not in ("DATA", "VALUE"):
            return super().expand(operand, taken)
        info = self._map(taken)
        if operand == "DATA" and taken[-1].name == "key":
            return data(info.key_size if info else None)
        values = _values_of(info.type) if info is not None else BYTES
        if values == MAP:
            return super().expand("MAP", taken)
        if values == PROG:
            return super().expand("PROG", taken)
        return data(info.value_size if info else None)

    def useless(self, keyword: str, taken: list[Taken]) -> bool:
        given = {word.name for word in taken}
        if "MAP_TYPE" in given or "PATH" in given:
            return self._useless_at_creation(keyword, taken)
        if keyword not in ("key", "value") or not taken:
            return False
        info = self._map(taken)
        return info is not None and not (info.key_size if keyword == "key" else info.value_size)

    @staticmethod
    def _useless_at_creation(keyword: str, taken: list[Taken]) -> bool:
        if keyword == "inner_map":
            kind = next((word.word for word in taken if word.name == "MAP_TYPE"), "")
            return kind != "" and _values_of(plugins.type_number(kind)) != MAP
        return keyword == _DEPRECATED

    def _map(self, taken: list[Taken]) -> MapFacts | None:
        """Return what is known of the first map that was named."""
        selector = [word for word in taken if word.of == "MAP"][:2]
        if len(selector) < 2:
            return None
        return self.state.find_map(selector[0].name, selector[1].word)


def _values_of(number: int) -> str:
    """Return what the values of a map type are; of a broken plugin's, bytes."""
    try:
        return plugins.facts_of(number).values
    except CommandError:
        return BYTES


def offers(state: State, grammar: str, typed: list[str]) -> Offers:
    """Yield what may follow ``typed``, the words after the verb."""
    walk = Walk(parse(grammar), _StateKnowledge(state))
    for word in typed:
        if not walk.take(word):
            return
    for each in walk.next():
        yield from [(each.name, "")] if each.keyword else OPERANDS[each.name](state, walk.taken)
