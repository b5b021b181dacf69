"""BTF that specs ask for: values with special fields, and functions of programs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bpfctl.btf.build import BtfBuilder
from bpfctl.uapi import BtfLoadAttr, Cmd, ProgLoadAttr

if TYPE_CHECKING:
    from run.lab import Lab

SIGNED = 1
STATIC, GLOBAL = 0, 1


def layout(lab: Lab, name: str) -> tuple[int, int, int]:
    """Load BTF for a value layout; return its descriptor and the ids of key and value types."""
    builder = BtfBuilder()
    key = builder.add_int("int", 4, SIGNED)
    value = {"plain4": _plain4, "plain8": _plain8, "spin": _spin, "timer": _timer}[name](builder)
    fd = int(lab.bpf(Cmd.BTF_LOAD, BtfLoadAttr(builder.encode())))
    return fd, key, value


def _plain4(builder: BtfBuilder) -> int:
    return 1


def _plain8(builder: BtfBuilder) -> int:
    return builder.add_int("unsigned long long", 8)


def _spin(builder: BtfBuilder) -> int:
    u32 = builder.add_int("unsigned int", 4)
    u64 = builder.add_int("unsigned long long", 8)
    lock = builder.add_struct("bpf_spin_lock", 4, [("val", u32, 0)])
    return builder.add_struct("val", 16, [("l", lock, 0), ("pad", u32, 32), ("v", u64, 64)])


def _timer(builder: BtfBuilder) -> int:
    u64 = builder.add_int("unsigned long long", 8)
    timer = builder.add_struct("bpf_timer", 16, [("__opaque", builder.add_array(u64, 2, 1), 0)])
    return builder.add_struct("val", 24, [("v", u64, 0), ("t", timer, 64)])


def add_functions(lab: Lab, attr: ProgLoadAttr, funcs: list[tuple[int, str]]) -> None:
    """Give a program BTF in which each function is ``int f(void)``."""
    builder = BtfBuilder()
    number = builder.add_int("int", 4, SIGNED)
    proto = builder.add_func_proto(number)
    records = b""
    for at, (insn, name) in enumerate(funcs):
        func = builder.add_func(name, proto, STATIC if at else GLOBAL)
        records += struct.pack("<II", insn, func)
    attr.prog_btf_fd = int(lab.bpf(Cmd.BTF_LOAD, BtfLoadAttr(builder.encode())))
    attr.func_info, attr.func_info_cnt = records, len(funcs)


def kernel_function(lab: Lab, name: str) -> int:
    """Return the id of a function in the kernel's BTF; the simulator takes any number."""
    return 1
