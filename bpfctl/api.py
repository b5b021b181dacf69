"""What authors of plugins may import: everything here, and nothing else of bpfctl.

Names of this module stay, and mean what they mean, within a major version of bpfctl; before one is
taken away it warns for a minor version. What is behind them (``bpfctl.kernel`` and the rest) may
move any day. ``docs/map-type-plugin.md`` says how to use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl import uapi
from bpfctl.errors import E, KernelError, TaskKilled, errno_name
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Element, Example
from bpfctl.kernel.bpf.facts import Ref, Row, Sizes
from bpfctl.kernel.bpf.map import (
    BPF_F_ACCESS_MASK,
    NUMA_NO_NODE,
    MapHost,
    MapType,
    round_up,
    roundup_pow_of_two,
)
from bpfctl.kernel.jhash import jhash
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.mm.gfp import GFP_ACCOUNT, GFP_ATOMIC, GFP_KERNEL, GFP_USER
from bpfctl.kernel.records import MapRecord, ProgRecord, SimObject, Task
from bpfctl.libbpf.bpf import Bpf
from bpfctl.map_values import (
    BYTES,
    CGROUP,
    MAP,
    NONE,
    PERCPU,
    PERF_EVENT,
    PROG,
    SOCKET,
)
from bpfctl.plugins import type_number
from bpfctl.uapi import (
    BPF_ANY,
    BPF_EXIST,
    BPF_F_NO_PREALLOC,
    BPF_F_NUMA_NODE,
    BPF_F_ZERO_SEED,
    BPF_NOEXIST,
    INT_MAX,
    U32_MAX,
    MapCreateAttr,
    ProgLoadAttr,
)

if TYPE_CHECKING:
    from bpfctl.conformance.run import Outcome
    from bpfctl.kernel.kernel import Kernel


def boot(release: str = "6.12", **settings: Any) -> Kernel:
    """Return a kernel in memory, for tests; ``settings`` are those of ``bpfctl sim set``.

    :raises Failure: there is no such release, setting or value.
    """
    from bpfctl.kernel.kernel import Kernel

    return Kernel.in_memory(release, **settings)


def check_type(cls: type[MapType]) -> list[Outcome]:
    """Return how a map type fares with each rule of the conformance suite."""
    from bpfctl.conformance import run

    return list(run.check_type(cls))


__all__ = [
    "BPF_ANY",
    "BPF_EXIST",
    "BPF_F_ACCESS_MASK",
    "BPF_F_NO_PREALLOC",
    "BPF_F_NUMA_NODE",
    "BPF_F_ZERO_SEED",
    "BPF_NOEXIST",
    "BYTES",
    "CGROUP",
    "GFP_ACCOUNT",
    "GFP_ATOMIC",
    "GFP_KERNEL",
    "GFP_USER",
    "INT_MAX",
    "MAP",
    "NONE",
    "NUMA_NO_NODE",
    "PERCPU",
    "PERF_EVENT",
    "PROG",
    "SOCKET",
    "U32_MAX",
    "Bpf",
    "E",
    "Element",
    "Example",
    "KernelError",
    "MapCreateAttr",
    "MapHost",
    "MapRecord",
    "MapType",
    "Mem",
    "ProgLoadAttr",
    "ProgRecord",
    "Ref",
    "Row",
    "SimObject",
    "Sizes",
    "Task",
    "TaskKilled",
    "boot",
    "check_type",
    "errno_name",
    "hookimpl",
    "jhash",
    "round_up",
    "roundup_pow_of_two",
    "type_number",
    "uapi",
]
