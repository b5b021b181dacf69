"""The power fails at any moment: what a command reported is there when the machine comes back."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from bpfctl.store import open_kernel, open_storage
from bpfctl.store.check import check_state
from crash.powerloss import Disk, Op, record

pytestmark = pytest.mark.needs("strace")

KERNEL = "5.10"
MADE = ("first", "second", "third")
# Each doubtful moment is looked at with everything lost, everything kept, and so many mixtures.
MIXTURES = 3


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Op]]:
    """Commands that make a state, change it, export it, and start it anew."""
    folder = tmp_path_factory.mktemp("power") / "disk"
    folder.mkdir()
    env = {"BPFCTL_STATE": str(folder / "sub" / "state.db")}
    create = ["type", "hash", "key", "4", "value", "8", "entries", "10", "name"]
    commands = [["sim", "new", "--kernel", KERNEL]]
    commands += [["map", "create", f"/sys/fs/bpf/{name}", *create, name] for name in MADE]
    commands.append(["sim", "export", str(folder / "text")])
    commands.append(["sim", "new", "--force", "--kernel", "6.1"])
    return folder, record(folder, commands, env)


def moments(ops: list[Op]) -> list[int]:
    """Return how many operations have been done at each moment that is looked at."""
    return [at for at in range(1, len(ops) + 1) if ops[at - 1].kind != "write" or at % 7 == 0]


def test_what_was_reported_is_there(history: tuple[Path, list[Op]], tmp_path: Path):
    folder, ops = history
    assert ops[-1] == Op("done", at=len(MADE) + 2)
    chance = random.Random(1)
    looked_at = 0
    for at in moments(ops):
        for variant in range(2 + MIXTURES):
            disk = Disk(folder)
            for op in ops[:at]:
                disk.play(op)
            left = tmp_path / "left"
            mixed = chance if variant >= 2 else None
            disk.after_cut(left, mixed, keep=variant == 1)
            look(left, disk.done)
            shutil.rmtree(left)
            looked_at += 1
    print(f"{looked_at} disks")


def look(left: Path, done: int) -> None:
    """Demand what the commands up to ``done`` have reported, in a sound state."""
    state = left / "sub" / "state.db"
    if not state.exists():
        assert done < 0, "a state that was reported is gone"
        # The next command makes a new one, whatever lies around.
        with open_kernel(str(state), write=True):
            pass
    with open_storage(str(state), write=False, make=False) as storage:
        assert check_state(storage) == []
    with open_kernel(str(state), write=False) as kernel:
        pins = {os.path.basename(path) for path, _, _ in kernel.bpffs.pins()}
        assert done < 0 or kernel.config.kernel in (KERNEL, "6.1")
        if done > len(MADE) + 1:
            assert (kernel.config.kernel, pins) == ("6.1", set())
        elif done >= 0 and kernel.config.kernel == KERNEL:
            assert pins >= set(MADE[:done])
    text = left / "text"
    if done > len(MADE):
        assert '"end":' in text.read_text()[-40:]
    elif text.exists():
        assert '"end":' in text.read_text()[-40:], "half an export under its name"
