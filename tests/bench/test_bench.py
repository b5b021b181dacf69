"""Speed, as ratios of two things measured in turn in one run. Printed, never asserted."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bpfctl.libbpf.bpf import Bpf
from bpfctl.store import open_kernel
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr

pytestmark = pytest.mark.bench

ROUNDS = 7
MANY = 100_000
HUGE = 1_000_000
BPFCTL = [sys.executable, "-m", "bpfctl"]
PIN = "/sys/fs/bpf/bench"


def seconds(command: list[str], **env: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **env}, timeout=300
    )
    return time.perf_counter() - start


def ratio(rounds: int, one: Any, other: Any) -> float:
    """Return the median of one()/other(), each pair measured back to back after a warm-up."""
    one(), other()
    return statistics.median(one() / other() for _ in range(rounds))


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Any:
    def tell(what: str, found: float, aim: str) -> None:
        with capsys.disabled():
            print(f"\n  bench: {what}: {found:.2f} (aim: {aim})", end="")
        assert found > 0

    return tell


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state.db")


def test_start_up(report: Any, state: str) -> None:
    env = {"BPFCTL_STATE": state}
    found = ratio(
        ROUNDS,
        lambda: seconds([*BPFCTL, "map", "show"], **env),
        lambda: seconds([sys.executable, "-c", "pass"]),
    )
    report("bpfctl map show / python -c pass", found, "at most 5")


def filled(state: str, name: str, entries: int) -> None:
    with open_kernel(state, write=True) as kernel:
        bpf = Bpf(kernel, kernel.start_command(memlock=None))
        attr = MapCreateAttr(MAP_TYPE_NUMBER["hash"], 4, 8, entries, map_name=name.encode())
        fd = bpf.map_create(attr)
        bpf.obj_pin(fd, f"{PIN}_{name}")
        for number in range(entries):
            bpf.map_update_elem(fd, number.to_bytes(4, "little"), bytes(8))
        kernel.exit_task(bpf.pid)


def test_lookup_in_a_large_map(report: Any, state: str) -> None:
    filled(state, "huge", HUGE)
    filled(state, "ten", 10)

    def lookup(name: str) -> float:
        words = ["map", "lookup", "pinned", f"{PIN}_{name}", "key", "5", "0", "0", "0"]
        return seconds([*BPFCTL, *words], BPFCTL_STATE=state)

    found = ratio(ROUNDS, lambda: lookup("huge"), lambda: lookup("ten"))
    report(f"lookup among {HUGE:,} elements / among 10", found, "at most 1.2")


def test_creation_of_a_large_map(report: Any, tmp_path: Path) -> None:
    made = iter(range(1 << 30))

    def create(entries: int) -> float:
        path = f"{PIN}{next(made)}"
        words = f"map create {path} type hash key 4 value 8 entries {entries} name m"
        return seconds([*BPFCTL, *words.split()], BPFCTL_STATE=str(tmp_path / "state.db"))

    found = ratio(ROUNDS, lambda: create(HUGE), lambda: create(4))
    report(f"creating a map of {HUGE:,} entries / of 4", found, "at most 1.5")


def updates(path: Path, pin: str) -> Path:
    lines = (
        f"map update pinned {pin} key hex {key} value hex {key} 00 00 00 00\n"
        for key in (number.to_bytes(4, "little").hex(" ") for number in range(MANY))
    )
    path.write_text("".join(lines))
    return path


def test_against_the_real_bpftool(
    report: Any, tmp_path: Path, real_bpffs: Path, state: str
) -> None:
    ours = updates(tmp_path / "ours.txt", PIN)
    theirs = updates(tmp_path / "theirs.txt", f"{real_bpffs}/bench")
    create = f"type hash key 4 value 8 entries {MANY} name bench".split()
    env = {"BPFCTL_STATE": state}
    seconds([*BPFCTL, "map", "create", PIN, *create], **env)
    seconds(["bpftool", "map", "create", f"{real_bpffs}/bench", *create])
    found = ratio(
        3,
        lambda: seconds([*BPFCTL, "batch", "file", str(ours)], **env),
        lambda: seconds(["bpftool", "batch", "file", str(theirs)]),
    )
    report(f"batch of {MANY:,} updates / by the real bpftool", found, "at most 2")
    found = ratio(
        3,
        lambda: seconds([*BPFCTL, "map", "dump", "pinned", PIN], **env),
        lambda: seconds(["bpftool", "map", "dump", "pinned", f"{real_bpffs}/bench"]),
    )
    report(f"dump of {MANY:,} elements / by the real bpftool", found, "at most 1")
