"""BPF_MAP_CREATE once more, on a kernel in memory that stands where the real one stood."""

from __future__ import annotations

from bpfctl.errors import E, Hint, KernelError, TaskKilled, errno_name
from bpfctl.kernel.config import Config
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.profile import LAST_PATCH, PROFILES, load
from bpfctl.kernel.storage import MemoryStorage
from bpfctl.libbpf.bpf import Bpf
from bpfctl.light import altered, dataclass
from bpfctl.uapi import MapCreateAttr

PATCHED = "5.10"
_BOX = "/why"


@dataclass(slots=True)
class Trial:
    """A call and who makes it.

    ``inner`` is what the inner map of a map-in-map is like. ``memlock`` and ``room`` are bytes that
    RLIMIT_MEMLOCK and memory.max leave, None where they do not limit.
    """

    attr: MapCreateAttr
    config: Config
    uid: int
    caps: int
    inner: MapCreateAttr | None = None
    memlock: int | None = None
    room: int | None = None


@dataclass(slots=True)
class Outcome:
    """What came of it: errno (0: the map is made), the check that refused, the limit."""

    errno: int
    detail: str = ""
    hint: Hint = ""

    @property
    def word(self) -> str:
        """``made``, or the errno's symbol."""
        return errno_name(self.errno) if self.errno else "made"


def attempt(trial: Trial) -> Outcome:
    """Make the call on a freshly booted kernel."""
    kernel = Kernel.boot(MemoryStorage(), trial.config)
    kernel.memcg.create(_BOX)
    pid = kernel.spawn("why", uid=0, cgroup=_BOX, memlock=None).pid
    bpf = Bpf(kernel, pid)
    attr = trial.attr
    try:
        if trial.inner is not None:
            attr = altered(attr, inner_map_fd=bpf.map_create(trial.inner))
        task = kernel.task(pid)
        task.uid, task.caps, task.memlock_soft = trial.uid, trial.caps, trial.memlock
        if trial.room is not None:
            used = kernel.memcg.current(kernel.memcg.lookup(_BOX))
            kernel.set_memory_knob(_BOX, "max", used + trial.room)
        bpf.map_create(attr)
    except KernelError as exc:
        return Outcome(exc.code, exc.detail, exc.hint)
    except TaskKilled as exc:
        return Outcome(E.NOMEM, "killed", exc.hint)
    return Outcome(0)


def at(config: Config, kernel: str, patch: int | None = None) -> Config:
    """Return the same machine with another kernel."""
    values = {**config.values(), "kernel": kernel, "patch": patch}
    return Config(**values)


def elsewhere(trial: Trial) -> dict[str, Outcome]:
    """Return what every known release would say, oldest first."""
    return {
        name: attempt(altered(trial, config=at(trial.config, name)))
        for name in sorted(PROFILES, key=_version)
    }


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split("."))


def turning_patch(trial: Trial) -> int | None:
    """Return the first patch of the series from which 5.10 says something else than before it."""

    def outcome(patch: int) -> int:
        return attempt(altered(trial, config=at(trial.config, PATCHED, patch))).errno

    before, last = outcome(0), outcome(LAST_PATCH)
    if before == last:
        return None
    low, high = 0, LAST_PATCH
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if outcome(middle) == before else (low, middle)
    return high


def known_to(trial: Trial) -> bool:
    """Tell whether the trial's kernel has the type at all."""
    from bpfctl.uapi import MAP_TYPES

    number = trial.attr.map_type
    if number >= len(MAP_TYPES):
        return True
    return MAP_TYPES[number] in load(trial.config.kernel, trial.config.patch).map_types
