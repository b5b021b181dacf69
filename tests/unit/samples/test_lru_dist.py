"""test_lru_dist: what a kernel's LRU lists do, as the sample prints it."""

import re
from contextlib import nullcontext

import pytest
from bpfctl_samples import runner, sequences
from bpfctl_samples.process import Collected
from bpfctl_samples.sample import Request
from bpfctl_samples.test_lru_dist import main as sample
from bpfctl_samples.test_lru_dist.perfect_lru import PerfectLru, reference

from bpfctl.errors import E, KernelError, Refusal
from bpfctl.uapi import BPF_F_NO_COMMON_LRU, MAP_TYPE_NUMBER, MapCreateAttr

from .lab import printed, process, run_of

COMMON = 0
NO_COMMON = BPF_F_NO_COMMON_LRU
FLAGS = pytest.mark.parametrize("flags", [COMMON, NO_COMMON], ids=["common", "no-common"])
NAME = "test_lru_dist"


def numbers(text: str, name: str) -> list[int]:
    return [int(word) for word in re.findall(rf"{name}:(\d+)", text)]


# --- loss0 and loss1 ------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "by_program", "lost"),
    [
        pytest.param(COMMON, False, (100, 24, 0), id="common-syscall"),
        pytest.param(NO_COMMON, False, (100, 0, 0), id="no-common-syscall"),
        pytest.param(COMMON, True, (100, 0, 0), id="common-program"),
        pytest.param(NO_COMMON, True, (100, 0, 0), id="no-common-program"),
    ],
)
def test_loss0_on_one_cpu_of_5_10(flags, by_program, lost):
    at = process(possible_cpus=1)
    sample.test_lru_loss0(run_of(at, by_program=by_program), flags)
    older, active, newer = lost
    assert printed(at) == (
        f"test_lru_loss0 (map_type:9 map_flags:{flags:#x}): older-elem-losses:{older}(/100) "
        f"active-elem-losses:{active}(/800) newer-elem-losses:{newer}(/100)\n"
    )


@pytest.mark.parametrize(("flags", "lost"), [(COMMON, 24), (NO_COMMON, 0)])
def test_loss1_on_one_cpu_of_5_10(flags, lost):
    at = process(possible_cpus=1)
    sample.test_lru_loss1(run_of(at), flags)
    title = f"test_lru_loss1 (map_type:9 map_flags:{flags:#x}):"
    assert printed(at) == f"{title} nr_losses:{lost}(/1000)\n"


@pytest.mark.parametrize(
    ("test", "flags", "pages"),
    [
        (sample.test_lru_loss0, COMMON, 19),
        (sample.test_lru_loss0, NO_COMMON, 73),
        (sample.test_lru_loss1, COMMON, 20),
        (sample.test_lru_loss1, NO_COMMON, 79),
    ],
)
def test_pages_that_5_10_locks_for_the_maps(test, flags, pages):
    at = process(possible_cpus=4)
    test(run_of(at), flags)
    assert at.meter.locked_pages == pages
    assert at.kernel.memlock.locked_pages(0) == 0


@pytest.mark.parametrize("flags", [COMMON, NO_COMMON])
def test_a_common_list_on_one_cpu_never_falls_far_below_its_size(flags):
    at = process(possible_cpus=1)
    room = 500
    fd = at.bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER["lru_hash"], 8, 8, room, flags))
    found = at.kernel.maps.get(at.bpf.map_info(fd).id)
    spare = 4 if flags else 128
    for number in range(3 * room):
        at.bpf.map_update_elem(fd, sample.key_of(number), sample.VALUE)
        assert found.rec.nr_elems <= room
        assert number < room or found.rec.nr_elems > room - spare


# --- the parallel tests ---------------------------------------------------


@FLAGS
@pytest.mark.parametrize(
    ("by_program", "least", "most"),
    [(False, 990, 1000), (True, 0, 350)],
    ids=["syscall", "program"],
)
def test_parallel_loss(flags, by_program, least, most):
    at = process(possible_cpus=2)
    sample.test_parallel_lru_loss(run_of(at, nr_tasks=2, by_program=by_program), flags)
    lines = printed(at).splitlines()
    assert lines[0] == f"test_parallel_lru_loss (map_type:9 map_flags:{flags:#x}):"
    assert sorted(numbers(printed(at), "task")) == [0, 1]
    for line in lines[1:]:
        assert re.fullmatch(r"    task:\d nr_losses:\d+", line)
        assert least <= numbers(line, "nr_losses")[0] <= most


def test_steps_of_the_parallel_loss_are_nine_lookups_to_an_insertion():
    runs = list(sample.lookup_runs(sample.random.Random(1)))
    looked_up = [index for run in runs for index in run]
    assert len(runs) == pytest.approx(10_000, rel=0.05)
    assert len(looked_up) == pytest.approx(90_000, rel=0.05)
    assert (min(looked_up), max(looked_up)) == (0, 999)


@FLAGS
@pytest.mark.parametrize("by_program", [False, True], ids=["syscall", "program"])
@pytest.mark.parametrize("kind", ["uniform", "zipf", "scan"])
def test_parallel_dist_keeps_its_bounds(kind, by_program, flags):
    keys = sequences.generate(f"{kind}:keys=300,length=900", 2)
    at = process(possible_cpus=2)
    run = run_of(at, keys, lru_size=150, nr_tasks=2, by_program=by_program)
    sample.test_parallel_lru_dist(run, flags)
    lines = printed(at).splitlines()
    assert lines[0] == f"test_parallel_lru_dist (map_type:9 map_flags:{flags:#x}):"
    exact = reference(keys, 150)
    for bpf, perfect in zip(lines[1::2], lines[2::2], strict=True):
        task = numbers(bpf, "task")[0]
        misses = numbers(bpf, "nr_misses")[0]
        assert exact.nr_unique <= misses <= 900
        head = f"    task:{task}"
        unique = f"nr_unique:{exact.nr_unique}(/900)"
        assert bpf == f"{head} BPF LRU: {unique} nr_misses:{misses}(/900)"
        assert perfect == f"{head} Perfect LRU: {unique} nr_misses:{exact.nr_misses}(/900)"


@FLAGS
def test_a_map_with_room_to_spare_misses_each_key_once(flags):
    keys = sequences.generate("zipf:keys=200,length=800", 2)
    at = process(possible_cpus=2)
    room = len(set(keys)) + 128 * 2
    sample.test_parallel_lru_dist(run_of(at, keys, lru_size=room), flags)
    assert numbers(printed(at), "nr_misses") == [len(set(keys))] * 2


def test_keys_of_tasks_lie_apart():
    at = process(possible_cpus=2)
    run = run_of(at, [(1 << 64) - 1, 5, 5], lru_size=100, nr_tasks=2)
    sample.test_parallel_lru_dist(run, COMMON)
    assert numbers(printed(at), "nr_misses") == [2] * 4


@pytest.mark.parametrize(("nr_keys", "fits"), [(23_000, True), (24_000, False)])
def test_how_many_keys_8_mib_bear_with_four_tasks(nr_keys, fits):
    at = process(possible_cpus=4, memlock=8 << 20)
    run = run_of(at, range(1, nr_keys + 1), lru_size=1000, nr_tasks=4)
    run.create_map("f", COMMON, 4000)
    for _ in range(3):
        PerfectLru(at.bpf, 1000, nr_keys)
    with nullcontext() if fits else pytest.raises(KernelError, match="not permitted"):
        PerfectLru(at.bpf, 1000, nr_keys)


# --- the program ------------------------------------------------------------

QUICK = {"dist": "scan:keys=5,length=10", "lookups": "syscall"}


def whole(machine: runner.Machine, **request):
    streams = Collected()
    asked = Request(**{"words": ("10", "1"), "options": QUICK, **request})
    outcome = runner.run_in_memory(machine, NAME, asked, streams)
    return outcome, streams


@pytest.mark.parametrize("seed", [0, 7])
def test_equal_seeds_print_the_same(seed):
    options = {"dist": "zipf:keys=50,length=200", "lookups": "program"}
    first, second = (
        whole(runner.Machine("5.10", cpus=2, memlock=None), seed=seed, options=options)[1].stdout
        for _ in range(2)
    )
    assert first == second


def test_the_order_of_the_output():
    _, streams = whole(runner.Machine("5.10", cpus=1, memlock=None))
    titles = [line.split(" (")[0] for line in streams.stdout.split("\n") if line[:1] != " "]
    tests = [test.__name__ for test in sample.TESTS]
    assert titles == ["nr_cpus:1", "", *tests, "", *tests, "", ""]


def test_tasks_are_at_most_as_many_as_cpus():
    _, streams = whole(runner.Machine("5.11", cpus=2), words=("10", "3000000000"))
    assert set(numbers(streams.stdout, "task")) == {0, 1}


@pytest.mark.parametrize(
    ("kernel", "memlock", "bump", "status", "err"),
    [
        ("5.10", 64 << 10, False, 134, E.PERM),
        ("5.10", 64 << 10, True, 0, 0),
        ("5.10", 8 << 20, False, 0, 0),
        ("5.11", 0, False, 0, 0),
        ("6.1", 64 << 10, False, 0, 0),
        ("6.12", 64 << 10, True, 0, 0),
        ("6.18", 64 << 10, False, 0, 0),
    ],
)
def test_where_the_limit_matters(kernel, memlock, bump, status, err):
    outcome, _ = whole(runner.Machine(kernel, memlock=memlock), bump=bump)
    assert (outcome.status, outcome.errno) == (status, err)
    assert (outcome.locked_pages > 0) is (kernel == "5.10" and not status)


def test_the_first_map_is_refused_at_64_kib():
    outcome, streams = whole(runner.Machine("5.10", memlock=64 << 10))
    assert streams.stdout == "nr_cpus:4\n\ntest_lru_loss0 (map_type:9 map_flags:0x0): "
    assert streams.stderr == (
        "bpf_create_map: Operation not permitted\n"
        "test_lru_dist: test_lru_loss0: Assertion `map_fd != -1' failed.\n"
    )
    assert isinstance(outcome.hint, Refusal)
    assert outcome.hint.asked == 77824
    assert outcome.explained.endswith("current value: 64.0 KiB")
    assert (outcome.word, outcome.errno_name, outcome.locked_pages) == ("refused", "EPERM", 0)


def test_a_limit_of_the_cgroup_is_enomem():
    outcome, streams = whole(runner.Machine("6.12", memory_max=100 << 10))
    assert (outcome.status, outcome.errno) == (134, E.NOMEM)
    assert streams.stderr.startswith("bpf_create_map: Cannot allocate memory\n")
    assert 0 < outcome.charged_bytes <= 100 << 10


def test_the_oom_killer_may_come():
    outcome, streams = whole(runner.Machine("5.11", memory_max=0))
    assert (outcome.word, outcome.status) == ("killed", 137)
    assert streams.stderr == "Killed\n"


def test_an_index_that_is_refused_ends_the_child_and_then_the_parent():
    options = {"dist": "scan:keys=9,length=3000", "lookups": "syscall"}
    outcome, streams = whole(
        runner.Machine("5.10", memlock=60 * 4096), words=("10", "1"), options=options
    )
    assert (outcome.status, outcome.errno) == (134, E.PERM)
    assert streams.stderr == (
        "test_lru_dist: pfect_lru_init: Assertion `lru->map_fd != -1' failed.\n"
        "test_lru_dist: run_parallel: Assertion `status == 0' failed.\n"
    )


def test_the_bump_of_a_user_without_cap_sys_resource_aborts():
    machine = runner.Machine("5.10", memlock=8 << 20, uid=1000, caps=1 << 39)
    outcome, streams = whole(machine, bump=True)
    assert (outcome.status, streams.stdout) == (134, "")
    assert streams.stderr.startswith("test_lru_dist: main: Assertion `!setrlimit(")


def test_everything_is_freed_however_it_ends():
    for memlock in (None, 64 << 10, 76 << 10, 30 * 4096):
        kernel, pid = runner.Machine("5.10", memlock=memlock).boot(NAME)
        runner.run(kernel, pid, NAME, Request(("10", "2"), QUICK), Collected())
        assert kernel.memlock.locked_pages(0) == 0
        assert list(kernel.maps.records.keys_after(None)) == []
        assert [task.pid for task in kernel.tasks.find()] == [1]
