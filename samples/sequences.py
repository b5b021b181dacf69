"""Key sequences: read from a file, or made from a description and a seed.

A description is ``KIND[:NAME=VALUE,...]``:

uniform:keys=K,length=N     each of K keys is as likely as the others
zipf:keys=K,length=N,s=S    the k-th key is k**S times rarer than the first
scan:keys=K,length=N        1 to K, over and over: the worst case of any LRU
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from bpfctl.errors import CommandError

U64_MAX = (1 << 64) - 1
MAX_LENGTH = 10_000_000
DEFAULT_KEYS = 600
DEFAULT_LENGTH = 3000
DEFAULT_EXPONENT = 1.0

Draw = Callable[[random.Random, int, float], Callable[[int], int]]


def _uniform(rng: random.Random, keys: int, exponent: float) -> Callable[[int], int]:
    return lambda step: int(rng.random() * keys) + 1


def _zipf(rng: random.Random, keys: int, exponent: float) -> Callable[[int], int]:
    weights = list(accumulate(1.0 / rank**exponent for rank in range(1, keys + 1)))
    total = weights[-1]
    return lambda step: min(bisect_right(weights, rng.random() * total), keys - 1) + 1


def _scan(rng: random.Random, keys: int, exponent: float) -> Callable[[int], int]:
    return lambda step: step % keys + 1


KINDS: dict[str, Draw] = {"uniform": _uniform, "zipf": _zipf, "scan": _scan}


def generate(description: str, seed: int) -> list[int]:
    """Return the keys, 1 to K, that ``description`` and ``seed`` stand for.

    :raises CommandError: it cannot be understood.
    """
    kind, _, rest = description.partition(":")
    if kind not in KINDS:
        raise _bad(description, f"unknown kind '{kind}'")
    given = _arguments(description, rest)
    keys = _count(description, given, "keys", DEFAULT_KEYS)
    length = _count(description, given, "length", DEFAULT_LENGTH)
    exponent = _exponent(description, given, kind)
    if given:
        raise _bad(description, f"{kind} has no '{next(iter(given))}'")
    draw = KINDS[kind](random.Random(f"{kind}/{seed}"), keys, exponent)
    return [draw(step) for step in range(length)]


def _arguments(description: str, rest: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in rest.split(",") if rest else ():
        name, equals, value = word.partition("=")
        if not equals or name in given:
            raise _bad(description, f"'{word}' should be NAME=VALUE, each name once")
        given[name] = value
    return given


def _count(description: str, given: dict[str, str], name: str, default: int) -> int:
    text = given.pop(name, str(default))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    if not 1 <= number <= MAX_LENGTH:
        raise _bad(description, f"{name} must be 1 to {MAX_LENGTH}")
    return number


def _exponent(description: str, given: dict[str, str], kind: str) -> float:
    text = given.pop("s", None) if kind == "zipf" else None
    if text is None:
        return DEFAULT_EXPONENT
    try:
        exponent = float(text)
    except ValueError:
        exponent = -1.0
    if not 0.0 <= exponent <= 10.0:
        raise _bad(description, "s must be a number from 0 to 10")
    return exponent


def _bad(description: str, why: str) -> CommandError:
    return CommandError(
        f"can't make keys from '{description}': {why}",
        hint=f"kinds are {', '.join(KINDS)}; for example zipf:keys=1000,length=5000,s=1.1",
    )


def read(path: str) -> list[int]:
    """Return the keys in a file: one decimal number of 64 bits a line, empty lines skipped.

    :raises CommandError: the file cannot be read, or has something else in it.
    """
    try:
        with open(path, "rb") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or str(exc)
        raise CommandError(f"can't read {path}: {why}") from exc
    return [_key(path, at, line) for at, line in enumerate(lines, start=1) if line.strip()]


def _key(path: str, at: int, line: bytes) -> int:
    word = line.strip()
    # The length guards against numbers that take long to convert.
    number = int(word) if word.isdigit() and len(word.lstrip(b"0")) <= 20 else U64_MAX + 1
    if number > U64_MAX:
        shown = word[:40].decode("ascii", "backslashreplace")
        raise CommandError(
            f"{path}:{at}: '{shown}' is not a key",
            hint="a key file has one decimal number from 0 to 2**64 - 1 a line",
        )
    return number
