"""Processes of samples: forks that take turns, and how they end."""

import pytest
from bpfctl_samples.process import Process
from bpfctl_samples.sample import ABORTED, Exit

from bpfctl.errors import TaskKilled
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr

from .lab import printed, process

ARRAY = MapCreateAttr(MAP_TYPE_NUMBER["array"], 4, 8, 1)


def test_children_take_turns_on_successive_cpus():
    at = process(possible_cpus=2)

    def body(child: Process, index: int):
        for turn in range(index + 1):
            cpu = child.kernel.task(child.pid).cpu
            child.print(f"{index}.{turn}@{cpu} ")
            yield

    at.run_parallel("f", 3, body)
    assert printed(at) == "0.0@0 1.0@1 2.0@0 1.1@1 2.1@0 2.2@0 "


def test_children_are_gone_afterwards_and_so_is_what_they_held():
    at = process()

    def body(child: Process, index: int):
        child.bpf.map_create(ARRAY)
        yield

    at.run_parallel("f", 3, body)
    assert at.meter.locked_pages == 3
    assert at.kernel.memlock.locked_pages(0) == 0
    assert [task.pid for task in at.kernel.tasks.find()] == [1, at.pid]


def killed(child: Process) -> None:
    raise TaskKilled("/sample", "raise the limit")


@pytest.mark.parametrize(
    ("fail", "status"),
    [
        pytest.param(lambda child: child.abort("g", "x == 1"), ABORTED, id="abort"),
        pytest.param(killed, 137, id="killed"),
    ],
)
def test_the_parent_aborts_once_all_children_are_done(fail, status):
    at = process()
    seen = []

    def body(child: Process, index: int):
        seen.append(child)
        yield
        if index == 0:
            fail(child)
        child.print(f"{index} done\n")

    with pytest.raises(Exit) as caught:
        at.run_parallel("f", 2, body)
    assert caught.value.status == ABORTED
    assert [child.status for child in seen] == [status, 0]
    assert printed(at) == "1 done\n"
    assert at.streams.stderr.endswith("test_lru_dist: f: Assertion `status == 0' failed.\n")


def test_a_fork_that_fails_ends_the_program():
    at = process()
    at.kernel.exit_task(at.pid)
    with pytest.raises(Exit) as caught:
        at.run_parallel("f", 2, lambda child, index: iter(()))
    assert caught.value.status == 1
    assert printed(at) == "couldn't spawn #0 process\n"
