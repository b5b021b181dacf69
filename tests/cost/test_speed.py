"""Twenty maps, five kernels, ten CPU counts: as much work as that takes, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bpfctl.kernel.profile import PROFILES
from bpfctl.testbed import Bed

WORDS = (
    "type=hash,key=8,value=64,entries=100M",
    "type=hash,key=8,value=64,entries=100M,flags=no_prealloc",
    "type=percpu_array,value=64,entries=1M",
    "type=lru_hash,key=8,value=64,entries=100M",
    "type=lpm_trie,key=8,value=64,entries=1G",
    "type=array,value=64,entries=1G",
    "type=percpu_hash,key=4,value=8,entries=10M,flags=no_prealloc",
    "type=array_of_maps,entries=10,inner.type=array,inner.value=8,inner.entries=1G",
    "type=queue,value=8,entries=1M",
    "type=stack_trace,value=1016,entries=1M",
)
MAPS = [word for text in WORDS * 2 for word in ("--map", text)]
QUESTION = ["cost", *MAPS, "--kernel", "all", "--cpus", "1-10"]


def test_each_machine_is_booted_once(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    boots: list[int] = []
    boot = Bed.boot

    def counted(*args: Any, **settings: Any) -> Bed:
        boots.append(1)
        return boot(*args, **settings)

    monkeypatch.setattr(Bed, "boot", counted)
    assert cli(*QUESTION).status == 0
    assert len(boots) == 10 * len(PROFILES)


@pytest.mark.bench
def test_ratio_to_map_show(tmp_path: Path) -> None:
    env = {**os.environ, "BPFCTL_STATE": str(tmp_path / "state.db")}

    def best(argv: list[str]) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "bpfctl", *argv], env=env, check=True, capture_output=True
            )
            times.append(time.perf_counter() - start)
        return min(times)

    show = best(["map", "show"])
    for name, argv in (("table", QUESTION), ("json", [*QUESTION, "--json"])):
        took = best(argv)
        print(f"cost, {name}: {took * 1e3:.0f} ms, {took / show:.1f} times map show")
