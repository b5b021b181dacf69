"""SIGKILL while maps of every type are created, filled, emptied and removed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfctl import plugins
from bpfctl.conformance.lab import Lab, attempt
from bpfctl.kernel.config import Config
from bpfctl.kernel.profile import NEWEST
from bpfctl.libbpf.bpf import Bpf
from bpfctl.store import open_kernel, open_storage
from bpfctl.store.check import check_state
from bpfctl.store.renew import new_state
from crash.worker import fork, kill_after

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILLS_PER_TYPE = 6
ROUNDS = 50


def pin_of(name: str, number: int) -> str:
    return f"/sys/fs/bpf/{name}_{number}"


def work_on(path: str, name: str, start: int) -> Callable[[int], None]:
    """Return a body that makes a pinned map a round, each round one transaction."""
    cls = plugins.map_type(name)
    assert cls is not None

    def body(pipe: int) -> None:
        for number in range(start, start + ROUNDS):
            with open_kernel(path, write=True) as kernel:
                bpf = Bpf(kernel, kernel.start_command(memlock=None))
                lab = Lab(cls, "", None, None, kernel, bpf)  # type: ignore[arg-type]
                fd = lab.create()
                bpf.obj_pin(fd, pin_of(name, number))
                pairs = lab.elements(4)
                for key, value in pairs:
                    attempt(bpf.map_update_elem, fd, key, value)
                for key, _ in pairs[:2]:
                    attempt(bpf.map_delete_elem, fd, key)
                if number > start:
                    kernel.unlink(pin_of(name, number - 1))
                kernel.exit_task(bpf.pid)
            os.write(pipe, number.to_bytes(4, "little"))

    return body


@pytest.mark.parametrize("name", sorted(plugins.BUILTIN))
def test_killed_writers_of_a_type(name: str, tmp_path: Path) -> None:
    chance = random.Random(name)
    path = str(tmp_path / "state.db")
    new_state(path, Config(kernel=NEWEST))
    start = 0
    for _ in range(KILLS_PER_TYPE):
        pid, reader = fork(work_on(path, name, start))
        reported = kill_after(pid, reader, chance.randrange(1, 3), chance.expovariate(1 / 0.004))
        with open_storage(path, write=False, make=False) as storage:
            assert check_state(storage) == []
        with open_kernel(path, write=False) as kernel:
            pins = {pin for pin, _, _ in kernel.bpffs.pins()}
        # The round in flight is there or not; what was reported is, and nothing else of it.
        last = start + reported - 1
        assert pin_of(name, last) in pins or pin_of(name, last + 1) in pins
        start += ROUNDS
