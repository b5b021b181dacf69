"""What to try: kernels, CPU counts, fill levels and limits, as a person writes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bpfctl.errors import CommandError
from bpfctl.kernel import profile as profiles
from bpfctl.kernel.config import MAX_CPUS

DEFAULT_CPUS = 4
EMPTY, FULL, NOW = "empty", "full", "now"
MEMLOCK, MEMORY_MAX = "memlock", "memory.max"
_MAX_COUNTS = 1024


@dataclass(frozen=True, slots=True)
class Machine:
    """A kernel to boot: release, patches of the series on top (None: none), possible CPUs."""

    kernel: str
    patch: int | None = None
    cpus: int = DEFAULT_CPUS
    page_size: int = 4096

    @property
    def release(self) -> str:
        """Kernel as written on the command line: ``6.12``, ``5.10+17``."""
        return self.kernel if self.patch is None else f"{self.kernel}+{self.patch}"

    @property
    def label(self) -> str:
        """The release, with a word where nothing of it was measured."""
        return self.release + self.profile.caveat

    @property
    def profile(self) -> profiles.Profile:
        """The kernel's profile."""
        return profiles.load(self.kernel, self.patch)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit to test: of RLIMIT_MEMLOCK or memory.max, in bytes."""

    kind: str
    nbytes: int


def parse_kernels(words: Iterable[str]) -> list[tuple[str, int | None]]:
    """Return (release, patch) of ``6.12``, ``5.10+17``; ``all`` is every release.

    :raises CommandError: unknown release or patch.
    """
    found: list[tuple[str, int | None]] = []
    for word in words:
        if word == "all":
            found += [(name, None) for name in profiles.PROFILES]
            continue
        release, plus, number = word.partition("+")
        if plus and not (number.isascii() and number.isdigit()):
            raise CommandError(f"kernel '{word}': the patch must be a number")
        patch = int(number) if plus else None
        release = profiles.resolve(release)
        profiles.load(release, patch)
        found.append((release, patch))
    return list(dict.fromkeys(found))


def default_kernels() -> list[tuple[str, int | None]]:
    """Return one kernel of each way of accounting: the last with rlimits, and the newest long-term
    one."""
    return [("5.10", None), (profiles.LONG_TERM, None)]


def parse_cpus(text: str) -> list[int]:
    """Return the CPU counts of ``4``, ``1,2,8``, ``1-8`` (each) or ``1..64`` (doubling).

    :raises CommandError: not of that form, or too many.
    """
    found: list[int] = []
    for word in text.split(","):
        found += _cpu_range(word.strip(), text)
        if len(found) > _MAX_COUNTS:
            raise CommandError(f"--cpus {text}: more than {_MAX_COUNTS} counts")
    return sorted(set(found))


def _cpu_range(word: str, text: str) -> list[int]:
    for separator in ("..", "-"):
        first, found, last = word.partition(separator)
        if found:
            low, high = _cpu_count(first, text), _cpu_count(last, text)
            if low > high:
                raise CommandError(f"--cpus {text}: {low} is above {high}")
            return list(range(low, high + 1)) if separator == "-" else _doubling(low, high)
    return [_cpu_count(word, text)]


def _doubling(low: int, high: int) -> list[int]:
    counts = []
    while low < high:
        counts.append(low)
        low *= 2
    return [*counts, high]


def _cpu_count(word: str, text: str) -> int:
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= MAX_CPUS):
        raise CommandError(
            f"--cpus {text}: '{word}' is not a number from 1 to {MAX_CPUS}",
            hint="say 4, 1,2,8, a range 1-8, or 1..64 for 1,2,4,8,16,32,64",
        )
    return int(word)


def parse_fill(word: str) -> int | str:
    """Return ``empty``, ``full``, ``now``, a share such as ``50%``, or a number of entries.

    :raises CommandError: anything else.
    """
    if word in (EMPTY, FULL, NOW):
        return word
    number = parse_count(word.removesuffix("%"))
    if number is None or (word.endswith("%") and number > 100):
        raise CommandError(
            f"--fill {word}: expected empty, full, now, a number of entries, or 50%"
        )
    return f"{number}%" if word.endswith("%") else number


def sort_fills(fills: Iterable[int | str]) -> list[int | str]:
    """Return fill levels without repetition: now, empty, numbers, shares, full."""

    def order(fill: int | str) -> tuple[int, int]:
        if isinstance(fill, int):
            return 2, fill
        if fill.endswith("%"):
            return 3, int(fill[:-1])
        return {NOW: 0, EMPTY: 1, FULL: 4}[fill], 0

    return sorted(dict.fromkeys(fills), key=order)


def fill_passes(fills: list[int | str]) -> list[list[int | str]]:
    """Split sorted fill levels so that within a part elements only grow, in maps of any size."""

    def kind(fill: int | str) -> str:
        if isinstance(fill, int):
            return "number"
        return "share" if fill.endswith("%") else fill

    passes: list[list[int | str]] = [[]]
    for fill in fills:
        kinds = {kind(each) for each in passes[-1]} | {kind(fill)}
        if len(kinds & {NOW, "number", "share"}) > 1 or {NOW, EMPTY} <= kinds:
            passes.append([])
        passes[-1].append(fill)
    return passes


_SUFFIXES = {"K": 10, "M": 20, "G": 30}


def parse_count(text: str) -> int | None:
    """Return the number that ``text`` is: decimal, 0x..., or with K, M or G; None if it is none."""
    word = text.strip()
    shift = _SUFFIXES.get(word[-1:].upper(), 0) if word[:2].lower() != "0x" else 0
    digits = word[:-1] if shift else word
    try:
        number = int(digits, 0)
    except ValueError:
        # A leading zero is decimal, too.
        number = int(digits) if digits.isascii() and digits.isdigit() else -1
    return number << shift if number >= 0 else None


def machines(
    kernels: list[tuple[str, int | None]], cpus: list[int], page_size: int = 4096
) -> list[Machine]:
    """Return every kernel with every CPU count."""
    return [Machine(name, patch, count, page_size) for name, patch in kernels for count in cpus]
