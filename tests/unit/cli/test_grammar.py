"""The grammar of a verb: walking, reading, and that it is the one that the verb's parser has."""

from __future__ import annotations

import random

import pytest

from bpfctl.cli.app.arguments import read
from bpfctl.cli.app.dispatch import OBJECTS, target_of
from bpfctl.cli.app.grammar import Walk, parse, usage
from bpfctl.cli.app.table import HELP, Table, Verb
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError


def walk(grammar: str, *words: str) -> Walk | None:
    found = Walk(parse(grammar))
    return found if all(found.take(word) for word in words) else None


def following(grammar: str, *words: str) -> list[str]:
    found = walk(grammar, *words)
    assert found is not None
    return [each.name for each in found.next()]


@pytest.mark.parametrize(
    ("grammar", "words", "complete"),
    [
        ("", "", True),
        ("", "x", None),
        ("FILE", "", False),
        ("FILE", "x", True),
        ("FILE", "x y", None),
        ("[FILE]", "", True),
        ("{a | b} FILE", "b x", True),
        ("{a | b} FILE", "c x", None),
        ("{ab | ac}", "a", True),
        ("FILE ...", "x y z", True),
        ("FILE ...", "", False),
        ("MAP", "id", False),
        ("MAP", "id 3", True),
        ("MAP", "tag 3", None),
        ("[dev DEV] [effective]", "eff", True),
        ("[dev DEV] [effective]", "eff dev lo", None),
        ("<[dev DEV] [effective]>", "eff dev lo", True),
        ("<[dev DEV] [effective]>", "eff eff", None),
        ("<a N b N [c]>", "b 1 c a 2", True),
        ("<a N b N [c]>", "b 1 c", False),
        ("<[map {idx N | name NAME} MAP] ... [x]>", "map i 0 id 1 map n m id 2 x", True),
        ("key DATA [value VALUE]", "key hex 01 02 value 3", True),
        ("key DATA [value VALUE]", "key value 3", None),
    ],
)
def test_sentences(grammar, words, complete):
    found = walk(grammar, *words.split())
    assert (None if found is None else found.complete) is complete


def test_what_may_follow():
    grammar = "MAP <[key DATA] [value VALUE] [{any | exist}]>"
    assert following(grammar) == ["id", "name", "pinned"]
    assert following(grammar, "i") == ["MAP_ID"]
    assert following(grammar, "id", "1") == ["key", "value", "any", "exist"]
    assert following(grammar, "id", "1", "key") == ["hex", "BYTE"]
    assert following(grammar, "id", "1", "key", "1", "any") == ["value"]


@pytest.mark.parametrize("text", ["[a", "{a | b", "a }", "<a"])
def test_bad_grammars(text):
    with pytest.raises(ValueError, match=r"no '|unexpected"):
        parse(text)


def test_for_the_eye():
    assert usage("PROG <[a FILE] [b]>") == "PROG [a FILE] [b]"


def arguments(words):
    verb = Verb("try", print, "PROG <[data FILE] [repeat N] [{fast | slow}]>", reads=True)
    return read("prog", verb, Words(words.split()))


def test_reading():
    found = arguments("pinned /p repeat 0x10 slow")
    assert found.object("PROG").items == ["pinned", "/p"]
    assert (found.number("repeat"), found.number("other", 7)) == (16, 7)
    assert (found.chosen("fast", "slow"), found.chosen("fast")) == ("slow", "")
    assert (found.given("data"), found.given("repeat"), found.word("data")) == (False, True, "")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("id", "expected PROG_ID after 'id'"),
        ("idx 1", "expected 'id', 'tag', 'name' or 'pinned', got: 'idx'?"),
        ("id 1 data f fast repeat 1 more", "what is 'more'?"),
        ("id 1 fast sl", "expected 'data' or 'repeat', got: 'sl'?"),
    ],
)
def test_errors(words, text):
    with pytest.raises(CommandError) as caught:
        arguments(words)
    assert caught.value.text == text
    assert "usage: bpfctl prog try PROG [data FILE]" in str(caught.value.hint)


def test_a_verb_that_reads_by_its_grammar(cli, monkeypatch):
    table = target_of(OBJECTS["map"])
    seen = []
    verb = Verb("weigh", lambda app, args: seen.append(args.number("N")), "N", "x", reads=True)
    monkeypatch.setitem(table.verbs, "weigh", verb)
    cli.ok("map", "weigh", "12")
    assert seen == [12]
    assert cli("map", "weigh").stderr == "Error: expected N after 'weigh'\n"


# --- bpftool's parsers -----------------------------------------------------------

# What one of its parsers says of a word that it does not expect.
COMPLAINTS = ("what is", "expected", "unknown arg", "needs at least", "Usage:", "unnecessary")
VALUES = {
    "BTF_ID": "1", "BYTE": "0", "FILE": "no-file", "MAP_FLAGS": "0", "MAP_ID": "1",
    "MAP_NAME": "m", "MAP_PIN": "/sys/fs/bpf/m", "MAP_TYPE": "hash", "N": "0", "NAME": "x",
    "NEW_NAME": "new", "PATH": "/sys/fs/bpf/new", "PROG_ID": "1", "PROG_NAME": "p",
    "PROG_PIN": "/sys/fs/bpf/p", "PROG_TAG": "0011223344556677", "PROG_TYPE": "xdp", "DEV": "lo",
    "HEX": "9500000000000000", "INSN": "0", "MEMORY": "00",
    "LINK_ID": "1", "LINK_PIN": "/sys/fs/bpf/l",
}  # fmt: skip
OURS = [
    (name, verb)
    for name in ("map", "prog", "btf", "link", "net")
    for verb in target_of(OBJECTS[name]).verbs.values()
    # Two want a number of words that no grammar says, one waits until it is interrupted.
    if verb != HELP and verb.name not in ("profile", "run", "tracelog")
]


@pytest.mark.parametrize(("name", "verb"), OURS, ids=lambda part: getattr(part, "name", part))
def test_a_sentence_of_the_grammar_is_none_that_the_parser_refuses(cli, name, verb):
    made = "type hash key 1 value 1 entries 9 name m"
    cli.ok("map", "create", "/sys/fs/bpf/m", *made.split())
    rng = random.Random(verb.name)
    for _ in range(12):
        words = sentence(verb.grammar, rng)
        result = cli(name, verb.name, *words)
        found = [text for text in COMPLAINTS if text in result.stderr]
        assert not found, (words, result.stderr)


def sentence(grammar, rng):
    """Return a random sentence; a byte of data is one word."""
    found = Walk(parse(grammar))
    words = []
    while True:
        following = [each for each in found.next() if not data_goes_on(found, each.name)]
        if not following or (found.complete and rng.random() < 0.2):
            return words
        each = rng.choice(following)
        # "entries" may come as "entr", never as what abbreviates another keyword.
        word = each.name if each.keyword else VALUES[each.name]
        words.append(word)
        assert found.take(word), (grammar, words)


def data_goes_on(found, name):
    # The map above has a key and a value of a byte, which are no maps or programs.
    last = found.taken[-1].name if found.taken else ""
    if name == "BYTE":
        return last == "BYTE"
    return last == "value" and name in ("id", "tag", "name", "pinned")


@pytest.mark.parametrize("name", [n for n in OBJECTS if isinstance(target_of(OBJECTS[n]), Table)])
def test_grammars_can_be_read(name):
    for verb in target_of(OBJECTS[name]).verbs.values():
        assert Walk(parse(verb.grammar)).next() or not verb.grammar
