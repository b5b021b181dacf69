"""Maps of the simulator and of this machine's kernel hold the same after the same commands.

The commands run on one CPU, since which CPU a command lands on decides what an LRU map evicts.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest

from bpfctl.errors import KernelError
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import BPF_F_NO_COMMON_LRU, BPF_F_ZERO_SEED, MAP_TYPE_NUMBER, MapCreateAttr

OPERATIONS = 2000


def possible_cpus() -> int:
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().rpartition("-")[2]
    return int(last) + 1


def kernel_like_this_one() -> Kernel:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if release < (6, 12):
        pytest.skip("this machine's kernel is older than the profiles that were compared with it")
    return Kernel.in_memory("6.18", possible_cpus=possible_cpus())


def replay(pin: Path, lines: list[str]) -> list[bytes]:
    """Run commands with the real bpftool on CPU 0; return the keys in the order of a dump."""
    batch = "\n".join(lines) + "\n"
    subprocess.run(
        ["bpftool", "batch", "file", "-"],
        input=batch,
        text=True,
        check=True,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {0}),
    )
    dump = subprocess.run(
        ["bpftool", "-j", "map", "dump", "pinned", str(pin)], capture_output=True, check=True
    )
    return [bytes(int(byte, 16) for byte in entry["key"]) for entry in json.loads(dump.stdout)]


def history(bpf: Bpf, fd: int, pin: Path, slots: int, entries: int, seed: int) -> list[str]:
    """Do random updates and deletes in the simulator; return them as bpftool commands."""
    chance = random.Random(seed)
    lines = []
    for _ in range(OPERATIONS):
        key = chance.randrange(max(2, entries * 5 // 2)).to_bytes(4, "little")
        target = f"pinned {pin} key hex {key.hex(' ')}"
        try:
            if chance.random() < 0.15:
                bpf.map_delete_elem(fd, key)
                lines.append(f"map delete {target}")
            else:
                bpf.map_update_elem(fd, key, bytes(8 * slots))
                lines.append(f"map update {target} value {'0 ' * 8}")
        except KernelError:
            continue  # bpftool would end the batch here
    return lines


@pytest.mark.parametrize("entries", [1, 3, 50, 257, 1000])
@pytest.mark.parametrize("flags", [0, BPF_F_NO_COMMON_LRU])
@pytest.mark.parametrize("kind", ["lru_hash", "lru_percpu_hash"])
def test_lru_maps_evict_the_same_keys(
    kind: str, flags: int, entries: int, real_bpffs: Path
) -> None:
    kernel = kernel_like_this_one()
    bpf = Bpf(kernel, kernel.start_command())
    fd = bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER[kind], 4, 8, entries, flags))
    pin = real_bpffs / "lru"
    create = f"map create {pin} type {kind} key 4 value 8 entries {entries} name l flags {flags}"
    slots = kernel.possible_cpus() if "percpu" in kind else 1
    lines = history(bpf, fd, pin, slots, entries, seed=entries)
    assert set(replay(pin, [create, *lines])) == set(bpf.map_keys(fd))


@pytest.mark.parametrize("prealloc", [0, 1])
def test_hash_maps_are_walked_in_the_same_order(prealloc: int, real_bpffs: Path) -> None:
    kernel = kernel_like_this_one()
    bpf = Bpf(kernel, kernel.start_command())
    flags = BPF_F_ZERO_SEED | prealloc
    fd = bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER["hash"], 4, 8, 300, flags))
    pin = real_bpffs / "hash"
    create = f"map create {pin} type hash key 4 value 8 entries 300 name h flags {flags}"
    lines = history(bpf, fd, pin, 1, 300, seed=7)
    assert replay(pin, [create, *lines]) == list(bpf.map_keys(fd))
