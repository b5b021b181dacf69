"""Small programs for tests."""

from __future__ import annotations

from bpfctl.isa.asm import assemble
from bpfctl.isa.insn import encode

R0_ZERO = assemble("r0 = 0")
EXIT = assemble("exit")


def straight(count: int) -> bytes:
    """``count`` insns: ``r0 = 0`` again and again, ``exit``."""
    return R0_ZERO * (count - 1) + EXIT


def call(helper: int) -> bytes:
    return assemble(f"call {helper}")


def call_function(distance: int) -> bytes:
    """Call the function ``distance`` insns after the next one."""
    return assemble(f"call pc{distance:+d}")


def jump(distance: int, code: int = 0x05) -> bytes:
    return encode(code, off=distance)


def load_map(fd: int, src: int = 1, offset: int = 0, dst: int = 1) -> bytes:
    """Load the address of a map (src 1, 5) or of a place in its value (2, 6)."""
    return encode(0x18, dst, src, imm=fd) + encode(0, imm=offset)


def with_functions(lengths: list[int]) -> bytes:
    """A main function that calls one function of each length (main: calls, ``r0 = 0``, exit)."""
    main = len(lengths) + 2
    starts = [main + sum(lengths[:index]) for index in range(len(lengths))]
    calls = b"".join(call_function(start - index - 1) for index, start in enumerate(starts))
    return calls + R0_ZERO + EXIT + b"".join(straight(length) for length in lengths)
