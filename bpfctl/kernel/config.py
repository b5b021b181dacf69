"""The settings of a simulated machine, kept as strings in the state."""

from __future__ import annotations

from typing import Any

from bpfctl.errors import SettingError
from bpfctl.kernel.mm.memcg import MODES
from bpfctl.kernel.profile import LONG_TERM, resolve
from bpfctl.kernel.records import Setting
from bpfctl.kernel.storage import Registry
from bpfctl.light import dataclass, field_names, field_types

MAX_CPUS = 8192
PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)


@dataclass(frozen=True, slots=True)
class Config:
    """What a kernel was booted with. Sizes in bytes; ``memlock_default`` 0 is the profile's."""

    kernel: str = LONG_TERM
    patch: int | None = None
    possible_cpus: int = 4
    page_size: int = 4096
    memory: int = 8 << 30
    memlock_default: int = 0
    cgroup_memory: str = "on"
    unprivileged_bpf_disabled: int = 2
    jit_enable: int = 1
    hash_seed: int = 0
    random_seed: int = 0
    perf_event_max_stack: int = 127
    numa_nodes: int = 1
    engine: str = "auto"

    def __post_init__(self) -> None:
        _check("possible_cpus", 1 <= self.possible_cpus <= MAX_CPUS, f"1 to {MAX_CPUS}")
        _check("page_size", self.page_size in PAGE_SIZES, f"one of {PAGE_SIZES}")
        _check("memory", self.memory >= 1 << 20, "1M or more")
        _check("memlock_default", self.memlock_default >= 0, "0 or more")
        _check("cgroup_memory", self.cgroup_memory in MODES, f"one of {', '.join(MODES)}")
        _check("unprivileged_bpf_disabled", self.unprivileged_bpf_disabled in (0, 1, 2), "0 to 2")
        _check("jit_enable", self.jit_enable in (0, 1, 2), "0 to 2")
        _check("hash_seed", 0 <= self.hash_seed < 1 << 32, "a 32-bit number")
        _check("random_seed", 0 <= self.random_seed < 1 << 32, "a 32-bit number")
        _check("perf_event_max_stack", 1 <= self.perf_event_max_stack <= 640, "1 to 640")
        _check("numa_nodes", 1 <= self.numa_nodes <= 64, "1 to 64")

    def values(self) -> dict[str, Any]:
        """Return all settings by name."""
        return {name: getattr(self, name) for name in field_names(Config)}

    def save(self, settings: Registry[Setting]) -> None:
        """Write every setting."""
        for name, value in self.values().items():
            text = "" if value is None else str(value)
            found = settings.get(name)
            if found is None:
                settings.add(Setting(name, text))
            else:
                found.value = text

    @classmethod
    def restore(cls, settings: Registry[Setting]) -> Config:
        """Read the settings back; one that the state lacks has its default."""
        values: dict[str, Any] = {}
        for name in field_names(cls):
            found = settings.get(name)
            if found is not None:
                values[name] = parse_setting(name, found.value)
        return cls(**values)


def _check(name: str, good: bool, wanted: str) -> None:
    if not good:
        raise SettingError(f"{name} must be {wanted}")


def parse_setting(name: str, text: str) -> Any:
    """Turn the text of setting ``name`` into its value.

    :raises SettingError: unknown name, or not a number.
    """
    types = field_types(Config)
    if name not in types:
        raise SettingError(f"unknown setting '{name}'", hint=f"known: {', '.join(types)}")
    if name == "kernel":
        return resolve(text)
    if types[name] == "str":
        return text
    if text == "" and "None" in types[name]:
        return None
    try:
        return int(text, 0)
    except ValueError:
        raise SettingError(f"setting {name}: '{text}' is not a number") from None
