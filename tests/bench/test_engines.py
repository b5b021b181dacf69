"""Engines against each other.

Six programs as loaders meet them: a loop of arithmetic, a parser of a packet, an array, a hash,
many branches, many helper calls. Printed with how many times faster than ``interp`` each is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from bpfctl.isa.insn import encode
from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.runtime import PlainContext
from bpfctl.kernel.kernel import Kernel
from bpfctl.uapi import MAP_TYPE_NUMBER, Cmd, ElemAttr, MapCreateAttr
from conformance.isa.engines import ENGINES

pytestmark = pytest.mark.bench

EXIT = encode(0x95)


def alu_loop(maps: dict[str, int]) -> bytes:
    body = [
        encode(0x0F, 0, 2), encode(0x67, 0, 0, 0, 3), encode(0xA7, 0, 0, 0, 0x55AA),
        encode(0x77, 0, 0, 0, 1), encode(0x07, 2, 0, 0, -1),
    ]  # fmt: skip
    head = [encode(0xB7, 0), encode(0xB7, 2, 0, 0, 10000)]
    return b"".join([*head, *body, encode(0x55, 2, 0, -len(body) - 1, 0), EXIT])


def parser(maps: dict[str, int]) -> bytes:
    """Ethernet, IPv4 and UDP of a packet of 42 bytes at r1."""
    code = [encode(0xB7, 0), encode(0xB7, 2, 0, 0, 42), encode(0xA5, 2, 0, 17, 42)]
    code += [encode(0x69, 3, 1, 12), encode(0xDC, 3, 0, 0, 16), encode(0x55, 3, 0, 14, 0x800)]
    code += [encode(0x71, 4, 1, 14), encode(0x57, 4, 0, 0, 15), encode(0x67, 4, 0, 0, 2)]
    code += [encode(0xA5, 4, 0, 10, 20), encode(0x71, 5, 1, 23), encode(0x55, 5, 0, 8, 17)]
    code += [encode(0x0F, 4, 1), encode(0x69, 3, 4, 14), encode(0xDC, 3, 0, 0, 16)]
    code += [encode(0x69, 5, 4, 16), encode(0xDC, 5, 0, 0, 16), encode(0xBF, 0, 3)]
    code += [encode(0x67, 0, 0, 0, 16), encode(0x4F, 0, 5), EXIT]
    return b"".join(code)


def _lookup(map_id: int, count: bytes) -> bytes:
    return b"".join(
        (
            encode(0x61, 2, 1, 0), encode(0x57, 2, 0, 0, 15), encode(0x63, 10, 2, -4),
            encode(0xBF, 2, 10), encode(0x07, 2, 0, 0, -4),
            encode(0x18, 1, 1, 0, map_id), encode(0),
            encode(0x85, 0, 0, 0, 1), encode(0x15, 0, 0, len(count) // 8, 0), count,
            encode(0xB7, 0), EXIT,
        )
    )  # fmt: skip


def array(maps: dict[str, int]) -> bytes:
    plain = encode(0x79, 1, 0, 0) + encode(0x07, 1, 0, 0, 1) + encode(0x7B, 0, 1, 0)
    return _lookup(maps["array"], plain)


def hashed(maps: dict[str, int]) -> bytes:
    return _lookup(maps["hash"], encode(0xB7, 1, 0, 0, 1) + encode(0xDB, 0, 1, 0, 0))


def branchy(maps: dict[str, int]) -> bytes:
    rng = random.Random(7)
    code = [encode(0x79, 2, 1, 0), encode(0xB7, 0)]
    for at in range(121):
        code += [
            encode(0x45, 2, 0, 2, 1 << at % 31), encode(0x07, 0, 0, 0, rng.randrange(99)),
            encode(0x05, off=1), encode(0xA7, 0, 0, 0, rng.randrange(1 << 20)),
        ]  # fmt: skip
    return b"".join([*code, EXIT])


def helpers(maps: dict[str, int]) -> bytes:
    return encode(0x85, 0, 0, 0, 8) * 12 + EXIT


PROGRAMS: dict[str, tuple[Callable[[dict[str, int]], bytes], int]] = {
    "ALU loop": (alu_loop, 10),
    "parser": (parser, 5000),
    "array, add": (array, 5000),
    "hash, atomic": (hashed, 5000),
    "branchy, 488 insns": (branchy, 1000),
    "12 helper calls": (helpers, 1000),
}
PACKET = bytes.fromhex("0200000000020200000000010800") + bytes.fromhex(
    "45000028123440004011a73dc0a80001c0a8000204d200350014e77b"
)


def _kernel(engine: str) -> tuple[Kernel, dict[str, int]]:
    kernel = Kernel.in_memory("6.18")
    kernel.engine = engine
    pid = kernel.start_command(memlock=None)
    maps = {}
    for name in ("array", "hash"):
        attr = MapCreateAttr(
            map_type=MAP_TYPE_NUMBER[name], key_size=4, value_size=8, max_entries=16
        )
        fd = kernel.bpf(pid, Cmd.MAP_CREATE, attr)
        maps[name] = kernel.files.get(pid, fd).obj_id
        for key in range(16):
            kernel.bpf(
                pid, Cmd.MAP_UPDATE_ELEM, ElemAttr(fd, key.to_bytes(4, "little"), bytes(8))
            )
    return kernel, maps


def _seconds(engine: str, make: Callable[[dict[str, int]], bytes], count: int) -> float:
    """Return the time of one run, in seconds."""
    kernel, maps = _kernel(engine)
    vm = kernel.vm
    code = make(maps)
    region = vm.arena.alloc(64, "mem")
    vm.arena.poke(region.start, PACKET)
    unit = vm.compiled(VmProgram(code, trusted=True))
    times = []
    for _ in range(5):
        rt = vm.begin(PlainContext(region.start))
        try:
            start = time.perf_counter()
            unit.repeat(rt, count)
            times.append((time.perf_counter() - start) / count)
        finally:
            vm.end(rt)
    return min(times)


@pytest.mark.parametrize("name", PROGRAMS)
def test_engines(name, capsys):
    make, count = PROGRAMS[name]
    base = _seconds("interp", make, max(count // 10, 2))
    found = [f"{name:20} interp {base * 1e6:9.2f} us"]
    for engine in ENGINES[1:]:
        took = _seconds(engine, make, count)
        found.append(f"{engine} {took * 1e6:9.3f} us (1/{base / took:.0f})")
    with capsys.disabled():
        print("\n" + "   ".join(found))
