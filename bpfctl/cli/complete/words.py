"""The words of bpftool's commands, for completion.

A grammar is a generator: it yields what may come next and is sent what was typed. ``PATTERNS``
has those of most commands as data; elements and ``map create`` are code, because what comes next
depends on the map.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from typing import Union

from bpfctl.cli.complete.state import MapFacts, Offer, State
from bpfctl.uapi import MAP_TYPE_NUMBER, MAP_TYPES, PROG_TYPES

Offers = Iterable[Offer]
Grammar = Generator[Offers, str, None]

FILE, DIRECTORY = "\0file", "\0dir"
NOTHING: tuple[Offer, ...] = ()
# What the shell completes itself: files and directories of the host.
FILES: tuple[Offer, ...] = ((FILE, ""),)
DIRECTORIES: tuple[Offer, ...] = ((DIRECTORY, ""),)

# An element of a pattern: the name of a word, keywords to choose from, or keyword and value
# pairs in any order.
Step = Union[str, "tuple[str, ...]", "dict[str, tuple[Step, ...]]"]

_VALUE_FLAGS = ("any", "noexist", "exist")
_SELECTORS = {
    "MAP": ("id", "name", "pinned"),
    "PROG": ("id", "tag", "name", "pinned"),
    "LINK": ("id", "pinned"),
    "STRUCT_OPS": ("id", "name"),
}
_XDP = ("xdp", "xdpgeneric", "xdpdrv", "xdpoffload", "tcx_ingress", "tcx_egress")
_ATTACH = (
    "sk_msg_verdict",
    "sk_skb_verdict",
    "sk_skb_stream_verdict",
    "sk_skb_stream_parser",
    "flow_dissector",
)
_BUILTINS = ("prog_types", "map_types", "attach_types", "link_types", "helpers")
_LOAD: tuple[Step, ...] = (
    "FILE",
    "NEW",
    {
        "type": ("PROG_TYPE",),
        "offload_dev": ("DEV",),
        "xdpmeta_dev": ("DEV",),
        "map": (("idx", "name"), "ANY", "MAP"),
        "pinmaps": ("NEW",),
        "autoattach": (),
    },
)
_RUN: dict[str, tuple[Step, ...]] = {
    "data_in": ("FILE",),
    "data_out": ("FILE",),
    "data_size_out": ("ANY",),
    "ctx_in": ("FILE",),
    "ctx_out": ("FILE",),
    "ctx_size_out": ("ANY",),
    "repeat": ("ANY",),
}
_NAMED: dict[str, tuple[Step, ...]] = {"name": ("ANY",)}

# object, verb: the words that follow; commands that are not here take none.
PATTERNS: dict[tuple[str, str], tuple[Step, ...]] = {
    ("batch", ""): (("file",), "FILE"),
    ("map", "show"): ("MAP",),
    ("map", "list"): ("MAP",),
    ("map", "dump"): ("MAP",),
    ("map", "pin"): ("MAP", "NEW"),
    ("map", "event_pipe"): ("MAP", {"cpu": ("ANY",), "index": ("ANY",)}),
    ("map", "pop"): ("MAP",),
    ("map", "dequeue"): ("MAP",),
    ("map", "freeze"): ("MAP",),
    ("prog", "show"): ("PROG",),
    ("prog", "list"): ("PROG",),
    ("prog", "dump"): (
        ("xlated", "jited"),
        "PROG",
        {"file": ("FILE",), "opcodes": (), "linum": (), "visual": ()},
    ),
    ("prog", "pin"): ("PROG", "NEW"),
    ("prog", "load"): _LOAD,
    ("prog", "loadall"): _LOAD,
    ("prog", "attach"): ("PROG", _ATTACH, "MAP"),
    ("prog", "detach"): ("PROG", _ATTACH, "MAP"),
    ("prog", "run"): ("PROG", _RUN),
    ("prog", "profile"): ("PROG", {"duration": ("ANY",)}),
    ("link", "show"): ("LINK",),
    ("link", "list"): ("LINK",),
    ("link", "pin"): ("LINK", "NEW"),
    ("link", "detach"): ("LINK",),
    ("cgroup", "show"): ("DIR", ("effective",)),
    ("cgroup", "list"): ("DIR", ("effective",)),
    ("cgroup", "tree"): ("DIR", ("effective",)),
    ("cgroup", "attach"): ("DIR", "ANY", "PROG", ("multi", "override")),
    ("cgroup", "detach"): ("DIR", "ANY", "PROG"),
    ("net", "show"): (("dev",), "DEV"),
    ("net", "list"): (("dev",), "DEV"),
    ("net", "attach"): (_XDP, "PROG", ("dev",), "DEV", ("overwrite",)),
    ("net", "detach"): (_XDP, ("dev",), "DEV"),
    ("feature", "probe"): (
        {"kernel": (), "dev": ("DEV",), "full": (), "unprivileged": (), "macros": ()},
    ),
    ("feature", "list_builtins"): (_BUILTINS,),
    ("btf", "show"): (("id",), "BTF_ID"),
    ("btf", "list"): (("id",), "BTF_ID"),
    ("btf", "dump"): (
        {
            "id": ("BTF_ID",),
            "prog": ("PROG",),
            "map": ("MAP", ("key", "value", "kv", "all")),
            "file": ("FILE",),
            "format": (("raw", "c"),),
        },
    ),
    ("gen", "object"): ("FILE", "FILE", "FILE", "FILE"),
    ("gen", "skeleton"): ("FILE", _NAMED),
    ("gen", "subskeleton"): ("FILE", _NAMED),
    ("gen", "min_core_btf"): ("FILE", "FILE", "FILE", "FILE"),
    ("struct_ops", "show"): ("STRUCT_OPS",),
    ("struct_ops", "list"): ("STRUCT_OPS",),
    ("struct_ops", "dump"): ("STRUCT_OPS",),
    ("struct_ops", "register"): ("FILE", "NEW"),
    ("struct_ops", "unregister"): ("STRUCT_OPS",),
    ("iter", "pin"): ("FILE", "NEW", {"map": ("MAP",)}),
}

# Keywords of "map create" in the order in which abbreviations match.
_CREATE = (
    "type",
    "name",
    "key",
    "value",
    "entries",
    "flags",
    "dev",
    "offload_dev",
    "inner_map",
)
_DEPRECATED = "dev"
_NAME_MAX = 15
_MAP_IN_MAP = tuple(MAP_TYPE_NUMBER[name] for name in ("array_of_maps", "hash_of_maps"))
_PROG_ARRAY = MAP_TYPE_NUMBER["prog_array"]


class Lost(Exception):
    """What was typed is no command; nothing can follow it."""


def match(word: str, keywords: Iterable[str]) -> str:
    """Return the first keyword that ``word`` abbreviates.

    :raises Lost: there is none.
    """
    for keyword in keywords:
        if keyword.startswith(word):
            return keyword
    raise Lost


def words(*values: str) -> Offers:
    """Offer plain words."""
    return [(value, "") for value in values]


def map_types() -> Offers:
    """Offer the map types that ``map create`` knows, with those of other distributions."""
    from bpfctl import plugins
    from bpfctl.cli.map.create import LAST_KNOWN_TYPE

    yield from words(*MAP_TYPES[1 : LAST_KNOWN_TYPE + 1])
    for entry in plugins.entry_points(plugins.MAP_TYPES_GROUP):
        if entry.name not in MAP_TYPES:
            yield entry.name, entry.dist.name if entry.dist is not None else ""


def map_flags() -> Offers:
    """Offer the flags of BPF_MAP_CREATE as numbers, which is how bpftool wants them."""
    from bpfctl.cost.mapline import FLAGS

    return [(hex(bit), f"BPF_F_{name.upper()}") for name, bit in FLAGS.items()]


class Grammars:
    """The grammars over one state."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.coded: dict[tuple[str, str], Callable[[], Grammar]] = {
            ("map", "create"): self.create,
            ("map", "update"): lambda: self.element(update=True),
            ("map", "push"): lambda: self.element(update=True),
            ("map", "enqueue"): lambda: self.element(update=True),
            ("map", "lookup"): self.element,
            ("map", "peek"): self.element,
            ("map", "getnext"): self.element,
            ("map", "delete"): self.element,
        }
        self.named: dict[str, Callable[[], Offers]] = {
            "FILE": lambda: FILES,
            "DIR": lambda: DIRECTORIES,
            "NEW": state.directories,
            "DEV": state.netdevs,
            "BTF_ID": state.btf_ids,
            "PROG_TYPE": lambda: words(*PROG_TYPES[1:]),
            "ANY": lambda: NOTHING,
        }
        self.selected: dict[tuple[str, str], Callable[[], Offers]] = {
            ("MAP", "id"): state.map_ids,
            ("MAP", "name"): state.map_names,
            ("MAP", "pinned"): lambda: state.pins("map"),
            ("PROG", "id"): state.prog_ids,
            ("PROG", "name"): state.prog_names,
            ("PROG", "tag"): state.prog_tags,
            ("PROG", "pinned"): lambda: state.pins("prog"),
            ("LINK", "pinned"): lambda: state.pins("link"),
        }

    def offers(self, command: str, verb: str, typed: list[str]) -> Offers:
        """Return what may follow ``typed``, the words after the verb."""
        key = (command, verb)
        coded = self.coded.get(key)
        grammar = coded() if coded is not None else self.pattern(PATTERNS.get(key, ()))
        try:
            offered = next(grammar)
            for word in typed:
                offered = grammar.send(word)
        except (StopIteration, Lost):
            return NOTHING
        return offered

    def pattern(self, steps: tuple[Step, ...]) -> Grammar:
        """Walk the steps of a pattern."""
        for step in steps:
            if isinstance(step, dict):
                yield from self.pairs(step)
            elif isinstance(step, tuple):
                match((yield words(*step)), step)
            elif step in _SELECTORS:
                yield from self.selector(step)
            else:
                yield self.named[step]()

    def pairs(self, choices: dict[str, tuple[Step, ...]]) -> Grammar:
        """Walk keywords with their values, each at most once."""
        left = list(choices)
        while left:
            keyword = match((yield words(*left)), choices)
            left = [other for other in left if other != keyword]
            yield from self.pattern(choices[keyword])

    def selector(self, kind: str) -> Generator[Offers, str, tuple[str, str]]:
        """Walk the two words that name an object; return them, the first one in full."""
        keyword = match((yield words(*_SELECTORS[kind])), _SELECTORS[kind])
        word = yield self.selected.get((kind, keyword), lambda: NOTHING)()
        return keyword, word

    # --- elements --------------------------------------------------------------

    def element(self, update: bool = False) -> Grammar:
        """Walk ``MAP [key DATA] [value VALUE] [FLAG]``."""
        keyword, word = yield from self.selector("MAP")
        info = self.state.find_map(keyword, word)
        left: list[str] = []
        if info is None or info.key_size:
            left.append("key")
        if update:
            left += ["value", *_VALUE_FLAGS] if info is None or info.value_size else _VALUE_FLAGS
        unread = ""
        while left:
            keyword = match(unread or (yield words(*left)), ("key", "value", *_VALUE_FLAGS))
            gone = _VALUE_FLAGS if keyword in _VALUE_FLAGS else (keyword,)
            left = [other for other in left if other not in gone]
            unread = ""
            if keyword == "key":
                unread = yield from self.data(info.key_size if info else None, left)
            elif keyword == "value":
                unread = yield from self.value(info, left)

    def value(self, info: MapFacts | None, left: list[str]) -> Generator[Offers, str, str]:
        """Walk VALUE: bytes, or the selector of a map or program; return a word read too many."""
        if info is not None and info.type in _MAP_IN_MAP:
            yield from self.selector("MAP")
            return ""
        if info is not None and info.type == _PROG_ARRAY:
            yield from self.selector("PROG")
            return ""
        return (yield from self.data(info.value_size if info else None, left))

    def data(self, size: int | None, left: list[str]) -> Generator[Offers, str, str]:
        """Walk ``[hex] BYTE...``; return a word read too many, "" if there is none.

        Where the ``size`` in bytes is unknown, a keyword of those ``left`` ends the bytes.
        """
        word = yield words("hex")
        seen = 0 if "hex".startswith(word) else 1
        if size is not None:
            for _ in range(size - seen):
                yield NOTHING
            return ""
        while True:
            word = yield words(*left) if seen else NOTHING
            seen += 1
            if not _is_byte(word):
                return word

    # --- map create --------------------------------------------------------------

    def create(self) -> Grammar:
        """Walk ``FILE type TYPE key SIZE ...``, pairs in any order."""
        path = yield self.state.directories()
        left = [keyword for keyword in _CREATE if keyword != _DEPRECATED]
        values: dict[str, Callable[[], Offers]] = {
            "type": map_types,
            "name": lambda: words(os.path.basename(path)[:_NAME_MAX]),
            "flags": map_flags,
            "dev": self.state.netdevs,
            "offload_dev": self.state.netdevs,
        }
        while left:
            keyword = match((yield words(*left)), _CREATE)
            left = [other for other in left if other != keyword]
            if keyword == "inner_map":
                yield from self.selector("MAP")
                continue
            word = yield values.get(keyword, lambda: NOTHING)()
            if keyword == "type" and not word.endswith("_of_maps") and "inner_map" in left:
                left.remove("inner_map")


def _is_byte(word: str) -> bool:
    digits = word[2:] if word[:2] in ("0x", "0X") else word
    return bool(digits) and all(char in "0123456789abcdefABCDEF" for char in digits)
