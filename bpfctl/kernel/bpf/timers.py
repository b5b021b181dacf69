"""BPF timers: callbacks that programs leave in map values (bpf_timer_*, kernel/bpf/helpers.c).

A timer is found by its map, the element's key and its place in the value. It is kept as a record,
so it outlives the command that started it; it fires when simulated time has passed it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.vm.vm import Vm
from bpfctl.kernel.records import Output

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.kernel import Kernel

KIND = "timer"
CLOCKS = (0, 1, 7)
"""CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME."""
CLOCK_MASK = 0xF
ABS, CPU_PIN = 1, 2
MAX_FIRED = 100_000
"""Callbacks of one wait, after which a program that starts its timer again and again is left."""


class _Timer:
    """A timer as it is stored."""

    def __init__(self, record: Output) -> None:
        self.record = record
        self.facts: dict[str, Any] = json.loads(record.data)

    def set(self, **facts: Any) -> None:
        self.facts.update(facts)
        self.record.data = json.dumps(self.facts, separators=(",", ":")).encode()


class Timers:
    """All timers of a machine."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._records = kernel.storage.registry(Output)

    def _all(self, map_id: int = 0) -> Iterator[_Timer]:
        for key in list(self._records.keys_after((KIND, map_id, 0))):
            if key[0] != KIND or (map_id and key[1] != map_id):
                return
            found = self._records.get(key)
            if found is not None:
                yield _Timer(found)

    def _find(self, map_id: int, key: bytes, at: int) -> _Timer | None:
        for timer in self._all(map_id):
            if timer.facts["key"] == key.hex() and timer.facts["at"] == at:
                return timer
        return None

    def _of(self, map_id: int, key: bytes, at: int) -> _Timer:
        found = self._find(map_id, key, at)
        if found is None:
            raise KernelError(E.INVAL, "bpf_timer_init() was not called")
        return found

    def init(self, map_id: int, key: bytes, at: int, flags: int) -> None:
        """Make a timer.

        :raises KernelError: EINVAL (clock); EBUSY (there is one); EPERM (nobody holds the map).
        """
        if flags & ~CLOCK_MASK or flags not in CLOCKS:
            raise KernelError(E.INVAL, f"flags {flags:#x}")
        if self._find(map_id, key, at) is not None:
            raise KernelError(E.BUSY, "initialised")
        if not self._kernel.maps.get(map_id).rec.usercnt:
            raise KernelError(E.PERM, "a map that no process holds")
        last = max((timer.record.seq for timer in self._all(map_id)), default=0)
        facts = {"key": key.hex(), "at": at, "prog": 0, "func": 0, "due": None}
        data = json.dumps(facts, separators=(",", ":")).encode()
        self._records.add(Output(KIND, map_id, last + 1, data))

    def set_callback(self, map_id: int, key: bytes, at: int, prog_id: int, func: int) -> None:
        """Set what a timer calls.

        :raises KernelError: EINVAL, EPERM.
        """
        timer = self._of(map_id, key, at)
        if not self._kernel.maps.get(map_id).rec.usercnt:
            raise KernelError(E.PERM, "a map that no process holds")
        old = timer.facts["prog"]
        if old != prog_id:
            self._kernel.progs.inc(prog_id)
            timer.set(prog=prog_id)
            if old:
                self._kernel.progs.put(old)
        timer.set(func=func)

    def start(self, map_id: int, key: bytes, at: int, nsec: int, flags: int, known: int) -> None:
        """Let a timer fire in ``nsec`` or, with flag 1, at that time.

        :raises KernelError: EINVAL.
        """
        if flags & ~known:
            raise KernelError(E.INVAL, f"flags {flags:#x}")
        timer = self._of(map_id, key, at)
        if not timer.facts["prog"]:
            raise KernelError(E.INVAL, "no callback")
        due = nsec if flags & ABS else self._kernel.clock.ns + nsec
        timer.set(due=due, cpu=self._kernel.ctx.cpu)

    def cancel(self, map_id: int, key: bytes, at: int) -> int:
        """Stop a timer; 1 if it was to fire.

        :raises KernelError: EINVAL.
        """
        timer = self._of(map_id, key, at)
        pending = timer.facts["due"] is not None
        timer.set(due=None)
        return int(pending)

    def drop(self, map_id: int, key: bytes | None = None) -> None:
        """Forget the timers of a map that is gone, or of one of its elements."""
        for timer in self._all(map_id):
            if key is None or timer.facts["key"] == key.hex():
                self._records.remove((KIND, map_id, timer.record.seq))
                if timer.facts["prog"]:
                    self._kernel.progs.put(timer.facts["prog"])

    # --- time -------------------------------------------------------------

    def next_due(self) -> int | None:
        """Return when the next timer fires, in ns since boot."""
        due = [timer.facts["due"] for timer in self._all() if timer.facts["due"] is not None]
        return min(due, default=None)

    def run_until(self, when: int) -> None:
        """Let time pass up to ``when``, and what falls due with it."""
        clock = self._kernel.clock
        for _ in range(MAX_FIRED):
            following = self.next_due()
            if following is None or following > when:
                break
            if following > clock.ns:
                clock.advance(following - clock.ns)
            self._fire_one(following)
        if when > clock.ns:
            clock.advance(when - clock.ns)

    def _fire_one(self, due: int) -> None:
        for timer in self._all():
            if timer.facts["due"] == due:
                timer.set(due=None)
                self._call(timer)
                return

    def _call(self, timer: _Timer) -> None:
        """Run a callback, in an interrupt: map, key and value are its arguments."""
        kernel, facts = self._kernel, timer.facts
        handle = kernel.part(Vm).handle(timer.record.ring)
        key = bytes.fromhex(facts["key"])
        with kernel.ctx.interrupt(), kernel.ctx.on_cpu(facts.get("cpu", 0)):
            value = handle.address_of(key)
            if not value:
                return
            held = kernel.part(Vm).arena.alloc(max(len(key), 1), "mem", 1)
            kernel.part(Vm).arena.poke(held.start, key)
            try:
                kernel.part(Vm).call(facts["prog"], facts["func"], handle.addr, held.start, value)
            finally:
                kernel.part(Vm).arena.free(held)


def place(handle: MapHandle, addr: int) -> tuple[bytes, int]:
    """Return key and place in the value of a timer at ``addr``.

    :raises KernelError: EINVAL, not in a value of the map.
    """
    found = handle.element_at(addr)
    if found is None:
        raise KernelError(E.INVAL, f"no value at {addr:#x}")
    return found
