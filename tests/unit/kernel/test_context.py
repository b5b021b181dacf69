"""Clock, random numbers, and who runs."""

from __future__ import annotations

import pytest

from bpfctl.errors import KernelError
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.machine import Machine
from bpfctl.kernel.prandom import Prandom, seeded, step
from bpfctl.kernel.records import Counter
from bpfctl.kernel.storage import MemoryStorage


def test_a_machine_works_without_bpf():
    machine = Machine.in_memory("6.12")
    task = machine.spawn("init")
    machine.exit_task(task.pid)
    with pytest.raises(KernelError):
        machine.task(task.pid)


def test_the_clock_stands_still_until_it_is_read():
    machine = Machine.in_memory()
    before = machine.clock.ns
    assert machine.clock.ns == before
    assert machine.ctx.now() > before
    machine.clock.advance(10**9)
    assert machine.clock.ns > before + 10**9


def test_wall_time_is_what_the_driver_says_and_passes_with_the_clock():
    machine = Machine.in_memory()
    assert machine.clock.wall() == machine.clock.ns
    machine.clock.set_wall(1_700_000_000 * 10**9)
    machine.clock.advance(5)
    assert machine.clock.wall() == 1_700_000_000 * 10**9 + 5


def test_random_numbers_follow_from_the_seed():
    def draw(seed: int) -> list[int]:
        return [number.u32() for number in [Prandom(MemoryStorage().registry(Counter), seed)] * 9]

    assert draw(1) == draw(1) != draw(2)
    assert len(set(draw(0))) == 9
    assert all(0 <= number < 1 << 32 for number in draw(7))


def test_random_state_can_be_taken_and_put_back():
    machine = Kernel.in_memory(random_seed=3)
    assert machine.rng.state == seeded(3)
    state = step(machine.rng.state)
    first = machine.rng.u32()
    assert first == state[0] ^ state[1] ^ state[2] ^ state[3]
    assert machine.rng.state == state
    machine.reconfigure(random_seed=4)
    assert machine.rng.state == seeded(4)


def test_who_runs():
    kernel = Kernel.in_memory()
    ctx = kernel.ctx
    assert (ctx.task, ctx.cpu, ctx.in_interrupt) == (None, 0, False)
    with pytest.raises(KernelError):
        _ = ctx.in_task
    one, two = kernel.spawn("one"), kernel.spawn("two")
    two.cpu = 3
    with ctx.running(one), ctx.on_cpu(2):
        assert (ctx.in_task, ctx.cpu) == (one, 2)
        with ctx.running(two), ctx.interrupt(), ctx.interrupt():
            assert (ctx.task, ctx.cpu, ctx.in_interrupt) == (two, 3, True)
        assert (ctx.task, ctx.cpu, ctx.in_interrupt) == (one, 2, False)
    assert (ctx.task, ctx.cpu) == (None, 0)
