from __future__ import annotations

import pytest

from bpfctl.cost import choices
from bpfctl.errors import Failure
from bpfctl.kernel.profile import PROFILES


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("4", [4]),
        ("8,1,2", [1, 2, 8]),
        ("2-5", [2, 3, 4, 5]),
        ("1..128", [1, 2, 4, 8, 16, 32, 64, 128]),
        ("3..20", [3, 6, 12, 20]),
        ("4..4, 4", [4]),
        ("8192", [8192]),
    ],
)
def test_cpus(text: str, counts: list[int]) -> None:
    assert choices.parse_cpus(text) == counts


@pytest.mark.parametrize("text", ["", "0", "8193", "4-2", "a", "1-", "-1", "1,,2", "1-2-3", "²"])
def test_bad_cpus(text: str) -> None:
    with pytest.raises(Failure, match="--cpus"):
        choices.parse_cpus(text)


def test_too_many_cpu_counts() -> None:
    with pytest.raises(Failure, match="more than"):
        choices.parse_cpus("1-8192")


@pytest.mark.parametrize(
    ("words", "kernels"),
    [
        (["6.12"], [("6.12", None)]),
        (["5.10+17", "5.10"], [("5.10", 17), ("5.10", None)]),
        (["5.10", "all"], [(name, None) for name in PROFILES]),
    ],
)
def test_kernels(words: list[str], kernels: list[tuple[str, int | None]]) -> None:
    assert choices.parse_kernels(words) == kernels


@pytest.mark.parametrize("word", ["4.4", "6.12+3", "5.10+35", "5.10+x", "5.10+", ""])
def test_bad_kernels(word: str) -> None:
    with pytest.raises(Failure):
        choices.parse_kernels([word])


def test_fills_are_sorted() -> None:
    words = ["full", "50%", "100", "now", "10", "empty", "5%", "10"]
    fills = choices.sort_fills(choices.parse_fill(word) for word in words)
    assert fills == ["now", "empty", 10, 100, "5%", "50%", "full"]


@pytest.mark.parametrize("word", ["", "%", "101%", "-1", "half", "1.5"])
def test_bad_fills(word: str) -> None:
    with pytest.raises(Failure, match="--fill"):
        choices.parse_fill(word)


@pytest.mark.parametrize(
    ("fills", "passes"),
    [
        ([], [[]]),
        (["empty", 5, 9, "full"], [["empty", 5, 9, "full"]]),
        (["now", "full"], [["now", "full"]]),
        (["now", "empty", 7, "50%", "full"], [["now"], ["empty", 7], ["50%", "full"]]),
        (["now", 3], [["now"], [3]]),
    ],
)
def test_levels_that_cannot_be_compared_start_afresh(
    fills: list[int | str], passes: list[list[int | str]]
) -> None:
    assert choices.fill_passes(fills) == passes


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("0x10", 16), ("0x1B", 27), ("64K", 65536), ("2m", 2 << 20), ("007", 7)],
)
def test_counts(text: str, number: int) -> None:
    assert choices.parse_count(text) == number


@pytest.mark.parametrize("text", ["", "K", "-1", "1.5K", "x", "1KK"])
def test_no_counts(text: str) -> None:
    assert choices.parse_count(text) is None
