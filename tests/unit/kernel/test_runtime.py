"""Programs that run in a stored state: maps, timers and rings outlive the command."""

from __future__ import annotations

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.isa.asm import assemble
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.perfbuf import PerfBuffer
from bpfctl.libbpf.ringbuf import RingBuffer
from bpfctl.store import open_kernel, open_storage
from bpfctl.store.check import check_state
from bpfctl.uapi import MAP_TYPE_NUMBER, PROG_TYPE_NUMBER, MapCreateAttr, ProgLoadAttr, ProgRunAttr

FRAME = bytes(64)


def bpf_of(kernel: Kernel) -> Bpf:
    return Bpf(kernel, kernel.start_command(memlock=None))


def load(bpf: Bpf, text: str, kind: str = "xdp", **maps: int) -> int:
    """Load a program; ``{name}`` in its text is the descriptor of a map."""
    code = assemble(text.format(**{name: f"map[{fd}]" for name, fd in maps.items()}))
    return bpf.prog_load(ProgLoadAttr(PROG_TYPE_NUMBER[kind], code))


def run(bpf: Bpf, fd: int, repeat: int = 1) -> int | None:
    attr = ProgRunAttr(prog_fd=fd, data_in=FRAME, data_size_in=len(FRAME), repeat=repeat)
    return bpf.prog_test_run(attr).retval


def make_map(bpf: Bpf, kind: str, key: int, value: int, entries: int) -> int:
    return bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER[kind], key, value, entries))


COUNT = """
*(u32 *)(r10 - 4) = 0
r2 = r10
r2 += -4
r1 = {counts}
call 1
if r0 == 0 goto pc+2
r1 = 1
lock *(u64 *)(r0 + 0) += r1
r0 = 2
exit
"""

SEND = """
r1 = {ring}
r2 = 8
r3 = 0
call 131
if r0 == 0 goto pc+5
*(u64 *)(r0 + 0) = 77
r1 = r0
r2 = 0
call 132
r0 = 1
exit
"""


def test_what_a_program_counts_is_there_in_the_next_command(tmp_path) -> None:
    path = str(tmp_path / "state.db")
    with open_kernel(path) as kernel:
        bpf = bpf_of(kernel)
        counts = make_map(bpf, "array", 4, 8, 1)
        fd = load(bpf, COUNT, counts=counts)
        bpf.obj_pin(fd, "/sys/fs/bpf/p")
        bpf.obj_pin(counts, "/sys/fs/bpf/m")
        assert run(bpf, fd, repeat=5) == 2
        kernel.exit_task(bpf.pid)
    with open_kernel(path) as kernel:
        bpf = bpf_of(kernel)
        assert run(bpf, bpf.obj_get("/sys/fs/bpf/p")) == 2
        value = bpf.map_lookup_elem(bpf.obj_get("/sys/fs/bpf/m"), bytes(4))
        assert int.from_bytes(value, "little") == 6
        kernel.exit_task(bpf.pid)
    with open_storage(path, write=False) as storage:
        assert check_state(storage) == []


def test_records_of_a_ring_are_polled() -> None:
    bpf = bpf_of(Kernel.in_memory())
    ring = make_map(bpf, "ringbuf", 0, 0, 4096)
    fd = load(bpf, SEND, ring=ring)
    seen: list[int] = []
    reader = RingBuffer(bpf)
    reader.add(ring, lambda data: seen.append(int.from_bytes(data, "little")))
    assert [run(bpf, fd), run(bpf, fd)] == [1, 1]
    assert (reader.poll(), seen) == (2, [77, 77])
    assert reader.poll(1000) == 0
    full = [run(bpf, fd) for _ in range(300)]
    assert full.count(0) == 300 - reader.consume()
    reader.close()


def test_samples_of_a_perf_buffer_get_lost_when_nobody_reads() -> None:
    bpf = bpf_of(Kernel.in_memory())
    events = make_map(bpf, "perf_event_array", 4, 4, 4)
    send = """
        *(u64 *)(r10 - 8) = 5
        r4 = r10
        r4 += -8
        r2 = {events}
        r3 = 0xffffffff ll
        r5 = 8
        call 25
        exit
    """
    fd = load(bpf, send, "raw_tracepoint", events=events)
    seen: list[tuple[int, bytes]] = []
    lost: list[tuple[int, int]] = []
    reader = PerfBuffer(
        bpf,
        events,
        1,
        lambda cpu, data: seen.append((cpu, data)),
        lambda *found: lost.append(found),
    )
    results = [bpf.prog_test_run(ProgRunAttr(prog_fd=fd)).retval for _ in range(500)]
    assert reader.poll() == len(seen) == results.count(0)
    assert seen[0] == (0, (5).to_bytes(8, "little") + bytes(4))
    assert lost == [(0, 500 - len(seen))]
    reader.close()


def test_a_program_that_cannot_run_is_refused_in_a_stored_state(tmp_path) -> None:
    text = "r2 = r10\nr2 += -64\nr3 = 64\nr4 = 0\ncall 69\nr0 = 0\nexit"
    with open_kernel(str(tmp_path / "state.db")) as kernel:
        bpf = bpf_of(kernel)
        with pytest.raises(KernelError) as refused:
            load(bpf, text, "sched_cls")
        assert refused.value.code == E.OPNOTSUPP
        assert "bpf_fib_lookup (1)" in str(refused.value.hint)
        kernel.exit_task(bpf.pid)


def test_statistics_count_while_somebody_wants_them() -> None:
    bpf = bpf_of(Kernel.in_memory())
    fd = load(bpf, "r0 = 1\nexit")
    run(bpf, fd)
    stats = bpf.enable_stats()
    run(bpf, fd, repeat=7)
    info = bpf.prog_info(fd)
    assert (info.run_cnt, info.run_time_ns > 0) == (7, True)
    bpf.close(stats)
    run(bpf, fd)
    assert bpf.prog_info(fd).run_cnt == 7
