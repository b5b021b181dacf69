"""What a map's value can be: words that the kernel's map types say and everybody reads."""

from __future__ import annotations

from typing import Final

BYTES: Final = "bytes"
PERCPU: Final = "percpu"
MAP: Final = "map"
PROG: Final = "prog"
CGROUP: Final = "cgroup"
SOCKET: Final = "socket"
PERF_EVENT: Final = "perf_event"
NONE: Final = "none"
VALUES: Final = (BYTES, PERCPU, MAP, PROG, CGROUP, SOCKET, PERF_EVENT, NONE)
# Values that are a u32 descriptor in and an id out, whatever value_size is (IS_FD_MAP).
FD_VALUES: Final = frozenset({MAP, PROG, CGROUP, PERF_EVENT})
