"""Numbers and bytes as C reads them."""

import pytest

from bpfctl.cli.app.words import UsageExit, Words, strtoul, take_bytes, u32
from bpfctl.errors import CommandError


@pytest.mark.parametrize(
    ("text", "base", "value"),
    [
        ("10", 0, 10),
        ("0x0a", 0, 10),
        ("0XfF", 0, 255),
        ("012", 0, 10),
        ("08", 0, None),
        ("0", 0, 0),
        ("", 0, 0),
        ("-1", 0, 2**64 - 1),
        ("+5", 0, 5),
        (" 5", 0, 5),
        ("5 ", 0, None),
        ("-", 0, None),
        ("0x", 0, None),
        ("x", 0, None),
        ("1_0", 0, None),
        ("\u0663", 0, None),
        ("ff", 16, 255),
        ("0xff", 16, 255),
        ("fg", 16, None),
        ("99999999999999999999", 0, 2**64 - 1),
        ("-99999999999999999999", 0, 2**64 - 1),
    ],
)
def test_strtoul(text, base, value):
    assert strtoul(text, base) == value


def test_u32_keeps_the_low_bits():
    assert u32("0x100000007") == 7
    assert u32("four") is None


@pytest.mark.parametrize(
    ("words", "size", "data"),
    [
        ("1 2 3", 3, b"\x01\x02\x03"),
        ("hex 10 ff", 2, b"\x10\xff"),
        ("h 0x10 A", 2, b"\x10\x0a"),
        ("256 -1 0x1ff", 3, b"\x00\xff\xff"),
        ("", 0, b""),
    ],
)
def test_take_bytes(words, size, data):
    given = Words(words.split())
    assert take_bytes(given, "key", size) == data
    assert given.left == 0


@pytest.mark.parametrize(
    ("words", "size", "error"),
    [
        ("1 2", 3, "value expected 3 bytes got 2"),
        ("hex", 1, "value expected 1 bytes got 0"),
        ("1 value 2", 3, "error parsing byte: value"),
        ("hex 0g", 1, "error parsing byte: 0g"),
    ],
)
def test_take_bytes_refuses(words, size, error):
    with pytest.raises(CommandError) as caught:
        take_bytes(Words(words.split()), "value", size)
    assert caught.value.text == error


def test_words_are_read_in_order():
    words = Words(["map", "dump", "id", "7"], at=2)
    assert words.object == "map"
    assert words.next_is("id")
    assert words.take() == "id"
    assert words.left == 1
    assert words.shortage(2) == "'id' needs at least 2 arguments, 1 found"
    with pytest.raises(CommandError, match=r"what is '7'\?"):
        words.no_more()
    words.take()
    with pytest.raises(UsageExit):
        words.take()


def test_empty_word_abbreviates_everything():
    assert Words([""]).next_is("hex")
