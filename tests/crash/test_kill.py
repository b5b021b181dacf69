"""SIGKILL at random moments: the state stays sound, and what was reported stays done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bpfctl.store import open_kernel, open_storage
from bpfctl.store.check import check_state
from crash.worker import Command, finish, fork, kill_after, run_commands

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

NR_KILLS = 250
NR_REAL_KILLS = 30
NR_FIRST_USE_KILLS = 40
BATCH = 400
BPFFS = "/sys/fs/bpf"


@dataclass
class Model:
    """What the commands that succeeded must have left."""

    pins: set[str] = field(default_factory=set)
    elements: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    cgroups: set[str] = field(default_factory=lambda: {"/"})

    def copy(self) -> Model:
        elements = {name: dict(cells) for name, cells in self.elements.items()}
        return Model(set(self.pins), elements, set(self.cgroups))


def found_in(path: str) -> Model:
    """Read the same from the state file, and check it."""
    with open_storage(path, write=False, make=False) as storage:
        assert check_state(storage) == []
    model = Model()
    with open_kernel(path, write=False) as kernel:
        for pin, _, map_id in kernel.bpffs.pins():
            model.pins.add(pin)
            rows = kernel.storage.cells(map_id).rows()
            model.elements[pin] = {key: value for key, value, _, _ in rows}
        model.cgroups = {memcg.path for _, memcg in kernel.memcg.walk()}
    return model


def words_of(data: bytes) -> list[str]:
    return [str(byte) for byte in data]


class Script:
    """An endless sequence of commands, each with what it does to the model."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._rng = random.Random(seed)
        self._folder = folder
        self._serial = 0

    def next(self, model: Model) -> tuple[Command, Model]:
        """Return a command that succeeds on ``model``, and the model behind it."""
        self._serial += 1
        after = model.copy()
        kinds = ["create", "cgroup"]
        if model.pins:
            kinds += ["update", "update", "batch"]
        if len(model.pins) > 5:
            kinds += ["rm", "rm"]
        return getattr(self, f"_{self._rng.choice(kinds)}")(after), after

    def _any_pin(self, model: Model) -> str:
        return self._rng.choice(sorted(model.pins))

    def _create(self, model: Model) -> Command:
        pin = f"{BPFFS}/m{self._serial}"
        model.pins.add(pin)
        model.elements[pin] = {}
        cgroup = self._rng.choice(sorted(model.cgroups))
        options = ["--cgroup", cgroup, "--memlock", "unlimited"]
        create = f"map create {pin} type hash key 4 value 8 entries 2000 name m flags 1"
        return [*options, *create.split()]

    def _cgroup(self, model: Model) -> Command:
        path = f"/c{self._serial}"
        model.cgroups.add(path)
        return ["memcg", "create", path, "--max", "64M"]

    def _update(self, model: Model) -> Command:
        pin = self._any_pin(model)
        key, value = self._rng.randbytes(4), self._rng.randbytes(8)
        model.elements[pin][key] = value
        words = ["key", *words_of(key), "value", *words_of(value)]
        return ["map", "update", "pinned", pin, *words]

    def _batch(self, model: Model) -> Command:
        pin = self._any_pin(model)
        lines = []
        for number in range(BATCH):
            key, value = number.to_bytes(4, "little"), self._rng.randbytes(8)
            model.elements[pin][key] = value
            words = " ".join(["key", *words_of(key), "value", *words_of(value)])
            lines.append(f"map update pinned {pin} {words}\n")
        path = self._folder / f"batch{self._serial}"
        path.write_text("".join(lines))
        return ["batch", "file", str(path)]

    def _rm(self, model: Model) -> Command:
        pin = self._any_pin(model)
        model.pins.discard(pin)
        del model.elements[pin]
        return ["sim", "rm", pin]


def settle(path: str, before: Model, after: Model, what: Any) -> Model:
    """Return what the state is: as before the command in flight, or as behind it."""
    found = found_in(path)
    assert found in (before, after), what
    return found


def test_killed_writers_lose_nothing_that_they_reported(state, tmp_path):
    rng = random.Random(20)
    script = Script(21, tmp_path)
    path = str(state)
    assert succeeds(["sim", "new", "--kernel", "6.12", "--cpus", "2"])
    model = found_in(path)
    in_flight = 0
    for _ in range(NR_KILLS):
        models, commands = [model], []
        for _ in range(4):
            command, after = script.next(models[-1])
            commands.append(command)
            models.append(after)
        pid, reader = fork(run_commands(commands))
        reported = kill_after(pid, reader, rng.randrange(3), rng.expovariate(1 / 0.004))
        model = settle(path, models[reported], models[min(reported + 1, len(commands))], commands)
        in_flight += reported < len(commands)
    # Otherwise the kills came too late to mean anything.
    assert in_flight > NR_KILLS // 10


def succeeds(argv: Command) -> bool:
    """Run a command in a process of its own."""
    return finish(*fork(run_commands([argv]))) == [0]


def test_killed_commands_lose_nothing_that_they_reported(state, tmp_path):
    rng = random.Random(22)
    script = Script(23, tmp_path)
    path = str(state)
    assert succeeds(["sim", "new", "--kernel", "5.10", "--cpus", "2"])
    model = found_in(path)
    for _ in range(NR_REAL_KILLS):
        command, after = script.next(model)
        process = subprocess.Popen(
            [sys.executable, "-m", "bpfctl", *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            status = process.wait(rng.uniform(0, 0.25))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            status = process.wait()
        assert status in (0, -signal.SIGKILL)
        model = settle(path, after if status == 0 else model, after, command)


def states(folder: Path) -> Iterator[str]:
    for number in range(NR_FIRST_USE_KILLS):
        (folder / str(number)).mkdir()
        yield str(folder / str(number) / "state.db")


def test_a_killed_first_use_leaves_no_state_or_a_whole_one(tmp_path, monkeypatch):
    rng = random.Random(24)
    made = 0
    paths = states(tmp_path)
    monkeypatch.setenv("BPFCTL_STATE", next(paths))
    start = time.monotonic()
    assert succeeds(["memcg", "create", "/a"])
    whole = time.monotonic() - start
    for path in paths:
        monkeypatch.setenv("BPFCTL_STATE", path)
        pid, reader = fork(run_commands([["memcg", "create", "/a"]]))
        reported = kill_after(pid, reader, 0, rng.uniform(0, 2 * whole))
        if os.path.exists(path):
            made += 1
            cgroups = found_in(path).cgroups
            assert cgroups == {"/", "/a"} or (cgroups == {"/"} and not reported)
        else:
            assert not reported
        assert succeeds(["memcg", "create", "/b"])
        assert "/b" in found_in(path).cgroups
        assert [name for name in os.listdir(os.path.dirname(path)) if "-new" in name] == []
    assert 0 < made < NR_FIRST_USE_KILLS - 1
