"""Each of the 34 patches: what it changes, measured on kernels without it and with it.

The amounts are those of 5.10's structs with two possible CPUs: kmalloc classes with 8 bytes for
the owner, whole pages above 32 KiB, ``2 n + 2 n`` for n bytes per CPU.
"""

from __future__ import annotations

import json

import pytest

from bpfctl.cli.series.probe import CPUS, boot, changes, measure
from bpfctl.kernel.profile import LAST_PATCH, load, series

CREATED = "charged to the creator's cgroup"
UPDATES = "updates charged to the updater"
HELD = "held against RLIMIT_MEMLOCK"
SHOWN = "memlock in fdinfo"
LIMIT_0 = "with RLIMIT_MEMLOCK 0"

# patch -> (subject, figure) -> (before, after); every figure that changes is here.
ACCOUNTED: dict[int, dict[tuple[str, str], tuple[int | str, int | str]]] = {
    4: {("array (mmapable)", "mmap"): ("EINVAL", "ok")},
    5: {("program", CREATED): (0, 4096 + (1024 + 8) + 2 * 16)},
    7: {
        ("array", CREATED): (0, 69632),
        ("array (mmapable)", CREATED): (0, 4096 + 65536),
        ("percpu_array", CREATED): (0, 2048 + 8),
        ("prog_array", CREATED): (0, 1024 + 8),
        ("perf_event_array", CREATED): (0, 1024 + 8),
        ("hash", CREATED): (0, 16384 + 65536),
        ("hash (no prealloc)", CREATED): (0, 16384),
        ("percpu_hash", CREATED): (0, 16384 + 65536),
        ("percpu_hash (no prealloc)", CREATED): (0, 16384),
        ("lru_hash", CREATED): (0, 16384 + 65536),
        ("queue", CREATED): (0, 16384),
        ("stack_trace", CREATED): (0, 2048 + 8 + 106496),
        ("devmap", CREATED): (0, 512 + 8),
        ("devmap_hash", CREATED): (0, 512 + 8),
        ("cpumap", CREATED): (0, 16 + 8),
        ("xskmap", CREATED): (0, 1024 + 8),
        ("sockmap", CREATED): (0, 1024 + 8),
        ("sockhash", CREATED): (0, 2048 + 8),
        ("reuseport_sockarray", CREATED): (0, 1024 + 8),
        ("struct_ops", CREATED): (0, 1024 + 8 + 256 + 8 + 192 + 8),
    },
    8: {
        ("percpu_array", CREATED): (2056, 2056 + 128 * 2 * 64),
        ("prog_array", CREATED): (1032, 1032 + 128 + 8),
    },
    9: {
        ("cpumap", CREATED): (24, 24 + 512 + 8),
        ("cpumap", UPDATES): (0, 2 * ((128 + 8) + 2 * 96 + (192 + 8))),
    },
    10: {("cgroup_storage", CREATED): (0, 512 + 8)},
    11: {
        ("devmap", CREATED): (520, 520 + 512 + 8),
        ("devmap", UPDATES): (0, 4 * (96 + 8)),
        ("devmap_hash", CREATED): (520, 520 + 512 + 8),
        ("devmap_hash", UPDATES): (0, 4 * (96 + 8)),
    },
    12: {
        ("hash", CREATED): (81920, 81920 + 1024 + 8 + 2 * 8),
        ("hash (no prealloc)", CREATED): (16384, 16384 + 1024 + 8),
        ("hash (no prealloc)", UPDATES): (0, 4 * (64 + 8)),
        ("percpu_hash", CREATED): (81920, 81920 + 1024 + 8 + 1000 * 2 * 8),
        ("percpu_hash (no prealloc)", CREATED): (16384, 16384 + 1024 + 8),
        ("percpu_hash (no prealloc)", UPDATES): (0, 4 * (64 + 8 + 2 * 8)),
        ("lru_hash", CREATED): (81920, 81920 + 1024 + 8),
    },
    13: {
        ("lpm_trie", CREATED): (0, 512 + 8),
        # four leaves of 60 bytes, three branches of 44
        ("lpm_trie", UPDATES): (0, 4 * (64 + 8) + 3 * (64 + 8)),
    },
    14: {("ringbuf", CREATED): (0, 2 * (512 + 8) + 19 * 4096)},
    15: {
        ("sk_storage", CREATED): (0, 512 + 8 + 32 + 8),
        ("sk_storage", UPDATES): (0, 4 * (192 + 8) + 4 * (192 + 8)),
        ("inode_storage", CREATED): (0, 512 + 8 + 32 + 8),
        ("inode_storage", UPDATES): (0, 4 * (192 + 8) + 4 * (192 + 8)),
    },
    16: {
        ("sockmap", CREATED): (1032, 1032 + 512 + 8),
        ("sockhash", CREATED): (2056, 2056 + 512 + 8),
        ("sockhash", UPDATES): (0, 4 * (64 + 8)),
    },
    17: {("xskmap", UPDATES): (0, 4 * (32 + 8))},
    33: {("program", HELD): (4096, 0), ("program", LIMIT_0): ("EPERM", "ok")},
}
NOTHING = (1, 2, 3, 6, 34)

# patch -> subject -> bytes that were held against RLIMIT_MEMLOCK before it
UNCHARGED: dict[int, dict[str, int]] = {
    18: {
        "array": 69632,
        "array (mmapable)": 69632,
        "percpu_array": 20480,
        "prog_array": 4096,
        "perf_event_array": 4096,
    },
    19: {"struct_ops": 4096},
    20: {"cpumap": 4096},
    21: {"cgroup_storage": 4096},
    22: {"devmap": 4096, "devmap_hash": 4096},
    23: {
        "hash": 81920,
        "hash (no prealloc)": 81920,
        "percpu_hash": 98304,
        "percpu_hash (no prealloc)": 98304,
        "lru_hash": 81920,
    },
    24: {"lpm_trie": 61440},
    25: {"queue": 16384},
    26: {"reuseport_sockarray": 4096},
    27: {"ringbuf": 81920},
    28: {"sockmap": 4096, "sockhash": 8192},
    29: {"stack_trace": 106496},
    30: {"xskmap": 4096},
    31: {"sk_storage": 4096, "inode_storage": 4096},
}
ESTIMATES = {
    "array": 73728,
    "percpu_array": 20480,
    "hash": 16384,
    "percpu_hash": 24576,
    "lpm_trie": 24576,
    "queue": 16384,
    "stack_trace": 102400,
    "devmap": 4096,
}


def measured(patch: int) -> dict[tuple[str, str], tuple[int | str, int | str]]:
    found, _ = changes(patch)
    return {(one.subject, one.figure): (one.before, one.after) for one in found}


@pytest.mark.parametrize("patch", sorted(ACCOUNTED))
def test_patch_accounts(patch: int):
    assert measured(patch) == ACCOUNTED[patch]


@pytest.mark.parametrize("patch", sorted(UNCHARGED))
def test_patch_takes_types_out_of_rlimit(patch: int):
    want: dict[tuple[str, str], tuple[int | str, int | str]] = {}
    for subject, held in UNCHARGED[patch].items():
        want[subject, HELD] = want[subject, SHOWN] = (held, 0)
        refused = "EINVAL" if subject.startswith("devmap") else "EPERM"
        want[subject, LIMIT_0] = (refused, "ok")
    assert measured(patch) == want


@pytest.mark.parametrize("patch", NOTHING)
def test_patch_changes_no_figure(patch: int):
    assert measured(patch) == {}


def test_patch_32_shows_estimates():
    found = measured(32)
    assert {figure for _, figure in found} == {SHOWN}
    assert {subject: after for (subject, _), (_, after) in found.items()}.items() >= (
        ESTIMATES.items()
    )
    assert all(before == 0 for before, _ in found.values())
    assert not {"ringbuf", "cgroup_storage", "sk_storage"} & {subject for subject, _ in found}


def test_every_patch_is_tested():
    tested = {*ACCOUNTED, *UNCHARGED, *NOTHING, 32}
    assert tested == set(range(1, LAST_PATCH + 1))


def test_accounted_pages_could_not_be_mapped_without_patch_4():
    from dataclasses import replace

    for patch, subject in ((7, "array (mmapable)"), (14, "ringbuf")):
        profile = load("5.10", patch)
        old = replace(profile.accounting, accounted_pages_mappable=False)
        outcomes = [
            measure(boot(one))[subject, "mmap"]
            for one in (load("5.10", patch - 1), replace(profile, accounting=old), profile)
        ]
        assert outcomes == ["ok", "EINVAL", "ok"]


# --- the series as a whole ---------------------------------------------------------


def test_each_site_and_family_changes_once():
    base = load("5.10", 0).accounting
    accounted = [site for patch in series() for site in patch.accounts]
    uncharged = [family for patch in series() for family in patch.uncharges]
    assert len(accounted) == len(set(accounted))
    assert sorted(uncharged) == sorted(base.precharged)
    assert base.accounted == frozenset()


def test_the_end_is_5_11_but_for_who_pays_for_updates():
    end, merged = load("5.10", LAST_PATCH).accounting, load("5.11").accounting
    assert end.precharged == merged.precharged == frozenset()
    assert end.accounted == merged.accounted
    assert end.memlock == merged.memlock
    assert (end.updates_charge, merged.updates_charge) == ("current", "creator")


def test_patch_0_is_5_10():
    assert measure(boot(load("5.10", 0))) == measure(boot(load("5.10")))


def test_between_the_limits_the_first_one_hit_decides():
    # Dual accounting: the rlimit charge comes before any allocation.
    from bpfctl import uapi
    from bpfctl.errors import KernelError, errno_name
    from unit.kernel.machine import Machine

    got = {}
    for memlock, memory in ((0, 0), (None, 0), (0, None), (None, None)):
        machine = Machine("5.10", patch=17)
        machine.kernel.set_memory_knob("/box", "max", memory)
        bpf = machine.task(memlock=memlock)
        try:
            bpf.map_create(uapi.MapCreateAttr(uapi.MAP_TYPE_NUMBER["array"], 4, 4096, 64))
            got[memlock, memory] = "ok"
        except KernelError as exc:
            got[memlock, memory] = errno_name(exc.code)
    assert got == {(0, 0): "EPERM", (None, 0): "ENOMEM", (0, None): "EPERM", (None, None): "ok"}


# --- from the command line -----------------------------------------------------------

SHOWN_BY_COMMANDS = [patch.number for patch in series() if patch.show]


def transcript(cli, patch: int, lines: list[str]) -> list[tuple[int, str]]:
    cli.ok("sim", "new", "--force", "--kernel", "5.10", "--cpus", CPUS, "--patch", patch)
    results = [cli(*line.split()[1:]) for line in lines]
    return [(result.status, result.stdout + result.stderr) for result in results]


@pytest.mark.parametrize("number", SHOWN_BY_COMMANDS)
def test_the_commands_that_show_a_patch(cli, number: int):
    lines = series()[number - 1].show.splitlines()
    before = transcript(cli, number - 1, lines)
    after = transcript(cli, number, lines)
    assert before != after
    assert before[:-1] == after[:-1]  # only the last one tells
    assert after[-1][0] == 0


@pytest.mark.parametrize("number", range(1, LAST_PATCH + 1))
def test_every_patch_shows_before_and_after(cli, number: int):
    found = json.loads(cli.ok("series", "show", str(number), "--json"))
    changes = found["changes"]
    assert bool(changes) == (number not in NOTHING)
    assert all(change["before"] != change["after"] for change in changes)
    text = cli.ok("series", "show", str(number))
    assert all(change["figure"] in text for change in changes)


@pytest.mark.parametrize("number", range(1, LAST_PATCH + 1))
def test_every_patch_has_something_to_type_or_says_why_not(cli, number: int):
    patch = series()[number - 1]
    assert bool(patch.show) != bool(patch.untyped)
    text = cli.ok("series", "show", number)
    assert (f"--cpus {CPUS} --patch {number}'" in text) == bool(patch.show)
    assert patch.untyped in text.replace("\n", " ")


def test_the_commands_give_the_figures(cli):
    """Per-CPU values depend on the number of CPUs: commands and table have the same."""
    create = "bpfctl --cgroup /box map create /sys/fs/bpf/m type percpu_array key 4 value 64"
    transcript(cli, 8, ["bpfctl memcg create /box", f"{create} entries 128 name m"])
    assert f"percpu {128 * 64 * CPUS}\n" in cli.ok("memcg", "stat", "/box")
    shown = json.loads(cli.ok("series", "show", "8", "--json"))["changes"]
    change = next(found for found in shown if found["subject"] == "percpu_array")
    assert change["after"] - change["before"] == 128 * 64 * CPUS


def test_show_prints_the_figures(cli):
    text = cli.ok("series", "show", "17")
    assert text.startswith("patch 17/34  bpf: refine memcg-based memory accounting for xskmap")
    assert text.splitlines()[-1].split()[-2:] == ["0", "160"]


def test_show_without_effect_says_so(cli):
    assert "no figure of any map or program changes" in cli.ok("series", "show", "6")


def test_show_as_json(cli):
    found = json.loads(cli.ok("series", "show", "13", "--json"))
    assert found["number"] == 13
    assert found["accounts"] == ["lpm_trie"]
    assert {"subject": "lpm_trie", "figure": CREATED, "before": 0, "after": 520} in found["changes"]


def test_list(cli):
    rows = cli.ok("series", "list").splitlines()
    assert len(rows) == 1 + LAST_PATCH
    assert rows[32].split(None, 1)[0] == "32"
    assert cli.ok("series") == cli.ok("series", "show") == cli.ok("series", "list")
    assert [one["number"] for one in json.loads(cli.ok("series", "list", "--json"))] == list(
        range(1, LAST_PATCH + 1)
    )


@pytest.mark.parametrize("number", ["0", "35", "-1"])
def test_patches_that_do_not_exist(cli, number: str):
    result = cli("series", "show", "--", number)
    assert result.status == 255
    assert f"the series has no patch {number}" in result.stderr


def test_who_pays(cli):
    answers = {one["kernel"]: one for one in json.loads(cli.ok("series", "who", "--json"))}
    v7, merged, hole = answers["5.10 + 34 (v7)"], answers["5.11 (merged)"], answers["6.1"]
    assert set(answers["5.10"].values()) == {"5.10", "nobody"}
    assert (v7["update by another task"], merged["update by another task"]) == (
        "updater",
        "creator",
    )
    assert v7["update in an interrupt"] == "creator"
    assert merged["update, creator's cgroup gone"] == "parent"
    assert (merged["per-CPU values at creation"], hole["per-CPU values at creation"]) == (
        "creator",
        "nobody",
    )
