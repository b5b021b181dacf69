"""Eviction of lru_hash maps: losses of fresh and of active keys, and misses of a perfect LRU."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bpfctl.errors import CommandError, KernelError
from bpfctl.uapi import BPF_F_NO_COMMON_LRU, BPF_NOEXIST, MAP_TYPE_NUMBER, MapCreateAttr

from .. import sequences
from ..process import Process
from ..sample import USAGE, Exit, Option, Request, Sample
from .perfect_lru import PerfectLru

LRU_HASH = MAP_TYPE_NUMBER["lru_hash"]
KEY_SIZE = VALUE_SIZE = 8
VALUE = (1234).to_bytes(VALUE_SIZE, "little")
U64_MASK = (1 << 64) - 1

LOSS0_ROOM = 900
LOSS1_ROOM = 1000
NR_KEYS = 1000
FIRST_ACTIVE, LAST_ACTIVE = 101, 900

PARALLEL_ROOM = 1200
NR_STABLE = 1000
NR_REPEATS = 100_000
LOOKUP_SHARE = 0.9

DEFAULT_LRU_SIZE = "300"
DEFAULT_TASKS = "2"


def key_of(number: int) -> bytes:
    """Return a key of the maps, a u64."""
    return (number & U64_MASK).to_bytes(KEY_SIZE, "little")


@dataclass
class Run:
    """One run of the sample: its keys and sizes, and how elements are looked up.

    ``dist_keys`` is what each task replays; ``nr_tasks`` at most the number of CPUs.
    """

    process: Process
    dist_keys: Sequence[int]
    lru_size: int
    nr_tasks: int
    by_program: bool
    seed: int
    keys: list[bytes] = field(default_factory=lambda: [key_of(n) for n in range(1, NR_KEYS + 1)])

    def create_map(self, function: str, flags: int, max_entries: int) -> int:
        """Create an LRU map; complain and abort if that fails."""
        attr = MapCreateAttr(LRU_HASH, KEY_SIZE, VALUE_SIZE, max_entries, flags)
        try:
            return self.process.bpf.map_create(attr)
        except KernelError as exc:
            self.process.perror("bpf_create_map", exc)
            self.process.abort(function, "map_fd != -1", exc)

    def nr_missing(self, process: Process, fd: int, keys: Sequence[bytes]) -> int:
        """Count the keys that are not in the map."""
        return process.bpf.map_lookup_each(fd, keys).count(None)

    def insert(self, process: Process, function: str, fd: int, key: bytes) -> None:
        """Add a key that is new; abort if that fails."""
        try:
            process.bpf.map_update_elem(fd, key, VALUE, BPF_NOEXIST)
        except KernelError as exc:
            process.abort(function, "!bpf_map_update_elem(map_fd, &key, value, BPF_NOEXIST)", exc)


def title(test: str, flags: int) -> str:
    """Return what the output of every test begins with."""
    return f"{test} (map_type:{LRU_HASH} map_flags:{flags:#x}):"


def _scaled(flags: int, room: int, nr_tasks: int, nr_cpus: int) -> int:
    """Return the size of a map shared by tasks: without a common list, each CPU has a part."""
    return room * (nr_cpus if flags & BPF_F_NO_COMMON_LRU else nr_tasks)


def test_lru_loss0(run: Run, flags: int) -> None:
    """Insert 1000 keys into room for 900, and look 800 of them up again all the time."""
    process, test = run.process, "test_lru_loss0"
    process.print(f"{title(test, flags)} ")
    process.pin(0)
    fd = run.create_map(test, flags, _scaled(flags, LOSS0_ROOM, 1, process.nr_cpus))
    for number, key in enumerate(run.keys, start=1):
        run.insert(process, test, fd, key)
        refreshed = run.keys[FIRST_ACTIVE - 1 : min(number, LAST_ACTIVE)]
        process.bpf.map_lookup_each(fd, refreshed, run.by_program)
    older, active, newer = (
        run.nr_missing(process, fd, part)
        for part in (
            run.keys[: FIRST_ACTIVE - 1],
            run.keys[FIRST_ACTIVE - 1 : LAST_ACTIVE],
            run.keys[LAST_ACTIVE:],
        )
    )
    process.bpf.close(fd)
    process.print(
        f"older-elem-losses:{older}(/100) active-elem-losses:{active}(/800) "
        f"newer-elem-losses:{newer}(/100)\n"
    )


def test_lru_loss1(run: Run, flags: int) -> None:
    """Insert 1000 keys into room for 1000."""
    process, test = run.process, "test_lru_loss1"
    process.print(f"{title(test, flags)} ")
    process.pin(0)
    fd = run.create_map(test, flags, _scaled(flags, LOSS1_ROOM, 1, process.nr_cpus))
    for key in run.keys:
        run.insert(process, test, fd, key)
    nr_losses = run.nr_missing(process, fd, run.keys)
    process.bpf.close(fd)
    process.print(f"nr_losses:{nr_losses}(/1000)\n")


def test_parallel_lru_loss(run: Run, flags: int) -> None:
    """Let tasks look their 1000 stable keys up at random while they insert fresh ones."""
    test = "test_parallel_lru_loss"
    run.process.print(f"{title(test, flags)}\n")
    size = _scaled(flags, PARALLEL_ROOM, run.nr_tasks, run.process.nr_cpus)
    fd = run.create_map(test, flags, size)

    def body(process: Process, task: int) -> Iterator[None]:
        return _lose_in_parallel(run, process, task, fd, flags)

    run.process.run_parallel("run_parallel", run.nr_tasks, body)
    run.process.bpf.close(fd)


def _lose_in_parallel(run: Run, process: Process, task: int, fd: int, flags: int) -> Iterator[None]:
    base = task * NR_REPEATS * 2 + 1
    stable = [key_of(base + index) for index in range(NR_STABLE)]
    for key in stable:
        run.insert(process, "do_test_parallel_lru_loss", fd, key)
        yield
    fresh = base + NR_STABLE
    for looked_up in lookup_runs(random.Random(f"{run.seed}/{flags}/{task}")):
        process.bpf.map_lookup_each(fd, [stable[index] for index in looked_up], run.by_program)
        run.insert(process, "do_test_parallel_lru_loss", fd, key_of(fresh))
        fresh += 1
        yield
    nr_losses = run.nr_missing(process, fd, stable)
    process.print(f"    task:{task} nr_losses:{nr_losses}\n")


def lookup_runs(rng: random.Random) -> Iterator[list[int]]:
    """Split 100000 random steps at the insertions, one in ten; yield the lookups before each.

    Lookups are indexes of stable keys. Those behind the last insertion decide nothing and are
    left out.
    """
    draw = rng.random
    looked_up: list[int] = []
    for _ in range(NR_REPEATS):
        if draw() < LOOKUP_SHARE:
            looked_up.append(int(draw() * NR_STABLE))
        else:
            yield looked_up
            looked_up = []


def test_parallel_lru_dist(run: Run, flags: int) -> None:
    """Let tasks replay the key sequence against the map and against a perfect LRU."""
    test = "test_parallel_lru_dist"
    run.process.print(f"{title(test, flags)}\n")
    size = _scaled(flags, run.lru_size, run.nr_tasks, run.process.nr_cpus)
    fd = run.create_map(test, flags, size)

    def body(process: Process, task: int) -> Iterator[None]:
        return _replay(run, process, task, fd)

    run.process.run_parallel("run_parallel", run.nr_tasks, body)
    run.process.bpf.close(fd)


def _replay(run: Run, process: Process, task: int, fd: int) -> Iterator[None]:
    bpf, total = process.bpf, len(run.dist_keys)
    try:
        perfect = PerfectLru(bpf, run.lru_size, total)
    except KernelError as exc:
        process.abort("pfect_lru_init", "lru->map_fd != -1", exc)
    nr_misses = 0
    for number in run.dist_keys:
        key = key_of(number + task * total)
        perfect.lookup_or_insert(key)
        if bpf.map_lookup_each(fd, (key,), run.by_program)[0] is not None:
            continue
        try:
            bpf.map_update_elem(fd, key, VALUE, BPF_NOEXIST)
        except KernelError as exc:
            shown = int.from_bytes(key, "little")
            process.print(f"bpf_map_update_elem(lru_map_fd, {shown}): errno:{exc.code}\n")
            process.abort("do_test_lru_dist", "0", exc)
        nr_misses += 1
        yield
    exact = perfect.counts()
    for name, misses in (("BPF", nr_misses), ("Perfect", exact.nr_misses)):
        process.print(
            f"    task:{task} {name} LRU: nr_unique:{exact.nr_unique}(/{total}) "
            f"nr_misses:{misses}(/{total})\n"
        )
    perfect.destroy()
    bpf.close(fd)


TESTS = (test_lru_loss0, test_lru_loss1, test_parallel_lru_loss, test_parallel_lru_dist)


def run(process: Process, request: Request) -> int:
    """Run all tests, with and without BPF_F_NO_COMMON_LRU."""
    words = _words(request)
    if len(words) < 3:
        process.print(f"Usage: {process.name} {SAMPLE.usage}\n")
        raise Exit(USAGE, hint="--dist zipf stands for a file of keys, and needs no other word")
    lru_size, nr_tasks = _number("lru-size", words[1]), _number("nr-tasks", words[2])
    if request.bump:
        process.bump_memlock("main")
    process.print(f"nr_cpus:{process.nr_cpus}\n\n")
    keys = _keys(request, words[0])
    if not keys:
        process.print(f"{words[0]} has no key\n")
        return USAGE
    nr_tasks = min(nr_tasks, process.nr_cpus)
    by_program = request.option("lookups") == "program"
    current = Run(process, keys, lru_size, nr_tasks, by_program, request.seed)
    for flags in (0, BPF_F_NO_COMMON_LRU):
        for test in TESTS:
            test(current, flags)
        process.print("\n")
    return 0


def _words(request: Request) -> tuple[str, ...]:
    """Return the three arguments; with --dist the first is that, and the others may be left out."""
    dist = request.option("dist")
    if not dist:
        return request.words
    words = (dist, *request.words)
    return words + (dist, DEFAULT_LRU_SIZE, DEFAULT_TASKS)[len(words) :]


def _keys(request: Request, source: str) -> list[int]:
    if request.option("dist"):
        return sequences.generate(source, request.seed)
    return sequences.read(source)


def _number(name: str, text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else 0
    if not 1 <= number <= 0xFFFFFFFF:
        raise CommandError(f"can't parse '{text}' as {name}: expected a number from 1 on")
    return number


SAMPLE = Sample(
    about="eviction of lru_hash maps, next to a perfect LRU",
    usage="<dist-file> <lru-size> <nr-tasks>",
    run=run,
    options=(
        Option(
            "lookups",
            "Whether a system call or a program looks elements up; only the latter marks them "
            "as used.",
            default="syscall",
            choices=("syscall", "program"),
        ),
        Option(
            "dist",
            "Make the keys instead of reading <dist-file>: uniform, zipf or scan, for example "
            "zipf:keys=600,length=3000,s=1. <lru-size> and <nr-tasks> may then be left out.",
            metavar="KIND[:NAME=VALUE,...]",
        ),
    ),
    # One task: the other figures take no part in what a comparison shows.
    compare=Request(("300", "1"), {"dist": "zipf:keys=600,length=1500"}),
)
