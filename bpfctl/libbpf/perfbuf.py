"""Perf buffers from the consumer's side: what libbpf's perf_buffer__new() and friends do."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.libbpf.bpf import Bpf

Sample = Callable[[int, bytes], None]
Lost = Callable[[int, int], None]
RAW_HEADER = 4


class PerfBuffer:
    """An event with a ring for each CPU, in the slots of a perf_event_array.

    :param pages: pages of each ring.
    :param sample: called with the CPU and the bytes of a sample, padding included.
    :param lost: called with the CPU and the number of samples that found no room.
    :raises KernelError: what the map's update says.
    """

    def __init__(
        self,
        bpf: Bpf,
        map_fd: int,
        pages: int,
        sample: Sample,
        lost: Lost | None = None,
    ) -> None:
        self._bpf = bpf
        self._map_fd = map_fd
        self._sample = sample
        self._lost = lost
        self.fds: dict[int, int] = {}
        slots = bpf.map_info(map_fd).max_entries
        for cpu in range(min(slots, bpf.kernel.possible_cpus())):
            fd = bpf.kernel.perf_event_open(bpf.pid, cpu, pages)
            self.fds[cpu] = fd
            bpf.map_update_elem(map_fd, cpu.to_bytes(4, "little"), fd.to_bytes(4, "little"))

    def consume(self) -> int:
        """Pass on what waits; return the number of samples."""
        passed = 0
        for cpu, fd in self.fds.items():
            samples, lost = self._bpf.kernel.perf_read(self._bpf.pid, fd)
            for data in samples:
                self._sample(cpu, data)
                passed += 1
            if lost and self._lost is not None:
                self._lost(cpu, lost)
        return passed

    def poll(self, timeout_ns: int = 0) -> int:
        """Wait for samples and pass them on (perf_buffer__poll)."""
        passed = self.consume()
        if not passed and timeout_ns:
            self._bpf.kernel.sleep(self._bpf.pid, timeout_ns)
            passed = self.consume()
        return passed

    def close(self) -> None:
        """Take the events out of the map and close them (perf_buffer__free)."""
        for cpu, fd in self.fds.items():
            self._bpf.map_delete_elem(self._map_fd, cpu.to_bytes(4, "little"))
            self._bpf.kernel.close(self._bpf.pid, fd)
        self.fds.clear()
