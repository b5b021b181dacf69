"""How an object is to be loaded, beyond what its file says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bpfctl.errors import KernelError
from bpfctl.uapi import ProgLoadAttr

# Told of every program that was tried, with what the kernel wrote into its attributes.
Tried = Callable[[str, ProgLoadAttr, KernelError | None], None]


@dataclass(slots=True)
class LoadOptions:
    """``kernel_btf``: a file with the kernel's types, in place of those that the kernel has.

    ``kconfig``: values of options (``CONFIG_HZ``: ``1000``), before those of the kernel.
    ``log_level`` (bits 1, 2, 4) and ``log_size`` in bytes: the verifier's log of every program;
    level 0 asks for one only after a refusal, as libbpf does. ``each``: go on with the next
    program after a refusal. ``tried`` is told how each program fared.
    """

    kernel_btf: str = ""
    kconfig: Mapping[str, str] = field(default_factory=dict)
    log_level: int = 0
    log_size: int = 16 << 20
    each: bool = False
    tried: Tried | None = None
