"""Cutting a batch file into commands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfctl.cli.app.batch import MAX_WORDS, is_simple, split_words
from bpfctl.errors import CommandError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("map show\n", ["map", "show"]),
        ("\tmap \r show\r\n", ["map", "show"]),
        ("a 'b c' \"d'e\"\n", ["a", "b c", "d'e"]),
        ("'a'b\n", ["a", "b"]),
        ("a'b c'\n", ["a'b", "c'"]),
        ("''\n", [""]),
        ("a\vb c\fd\n", ["a\vb", "c\fd"]),
        ("a\u00a0b\n", ["a\u00a0b"]),
        ("   \n", []),
        ("", []),
    ],
)
def test_split_words(line, words):
    assert split_words(line, 0) == words


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("a 'b\n", "unterminated quoted string in command 3"),
        ("x " * MAX_WORDS, "too many arguments to command 3"),
    ],
    ids=["quote", "words"],
)
def test_split_words_refuses(line, error):
    with pytest.raises(CommandError) as caught:
        split_words(line, 3)
    assert caught.value.text == error


@given(st.text(st.sampled_from(" \t\r\n\v\f\x1c\x1f\x00ab'\"#\\\u00a0\u2028"), max_size=12))
def test_the_quick_way_agrees_with_the_exact_one(line):
    if is_simple(line):
        assert line.split() == split_words(line, 0)
