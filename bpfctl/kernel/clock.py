"""The machine's clock. It stands still until something takes time; the host's is never asked."""

from __future__ import annotations

from bpfctl.kernel.records import Counter
from bpfctl.kernel.storage import Registry

CLOCK = "clock_ns"
# A machine has been up for a while when the first command comes, and no reading equals the last.
START_NS = 1_000_000_000
READ_NS = 25


class Clock:
    """Nanoseconds since boot (CLOCK_MONOTONIC, CLOCK_BOOTTIME: the machine never sleeps).

    ``wall``: the time of day, in ns since 1970, when this command began. Whoever drives the
    machine says it; without it the machine booted in 1970.
    """

    def __init__(self, counters: Registry[Counter]) -> None:
        self._counters = counters
        self._began = 0
        self._wall: int | None = None

    def _counter(self) -> Counter:
        found = self._counters.get(CLOCK)
        if found is None:
            found = Counter(CLOCK, START_NS)
            self._counters.add(found)
        return found

    @property
    def ns(self) -> int:
        """The time, without reading the clock: two looks may see the same."""
        found = self._counters.get(CLOCK)
        return START_NS if found is None else found.value

    def now(self) -> int:
        """Read the clock, as a program does (ktime_get_ns): later than any reading before."""
        return self.advance(READ_NS)

    def advance(self, nanoseconds: int) -> int:
        """Let time pass, and return the time."""
        counter = self._counter()
        counter.value += nanoseconds
        return counter.value

    def set_wall(self, nanoseconds: int) -> None:
        """Say what time of day it is, in ns since 1970."""
        self._wall, self._began = nanoseconds, self.ns

    def wall(self) -> int:
        """Return the time of day, in ns since 1970 (CLOCK_REALTIME)."""
        return self.ns if self._wall is None else self._wall + self.ns - self._began
