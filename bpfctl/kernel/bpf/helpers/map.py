"""Elements of maps (kernel/bpf/helpers.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import KernelError
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, declare

declare(
    1, "map_lookup_elem", Ret.MAP_VALUE_OR_NULL, (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY),
    pkt_access=True,
)  # fmt: skip
declare(
    2, "map_update_elem", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY, Arg.PTR_TO_MAP_VALUE, Arg.ANYTHING),
    pkt_access=True,
)  # fmt: skip
declare(3, "map_delete_elem", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY), pkt_access=True)
declare(
    87, "map_push_elem", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_VALUE, Arg.ANYTHING),
    pkt_access=True,
)  # fmt: skip
declare(88, "map_pop_elem", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.PTR_TO_UNINIT_MAP_VALUE))
declare(89, "map_peek_elem", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.PTR_TO_UNINIT_MAP_VALUE))
declare(
    195, "map_lookup_percpu_elem", Ret.MAP_VALUE_OR_NULL,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY, Arg.ANYTHING), pkt_access=True,
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime


U32 = 0xFFFFFFFF


def _result(rt: Runtime, exc: KernelError) -> int:
    """Return the number that a failed operation of a map gives a program.

    Calls of a map's own functions, which the verifier puts in place of these helpers, return an
    int: until its result was sign-extended, a program saw its upper half zero.
    """
    return -exc.code if rt.kernel.profile.runtime.map_errors_extended else -exc.code & U32


def _key(rt: Runtime, map_: MapHandle, addr: int) -> bytes:
    return rt.mem.read(addr, map_.rec.key_size)


def _value(rt: Runtime, map_: MapHandle, addr: int) -> bytes:
    return rt.mem.read(addr, map_.rec.value_size)


@body(1)
def map_lookup_elem(rt: Runtime, map_: MapHandle, key: int) -> int:
    """Return the address of the value, 0 for none."""
    return map_.address(_key(rt, map_, key), rt.cpu)


@body(2)
def map_update_elem(rt: Runtime, map_: MapHandle, key: int, value: int, flags: int) -> int:
    """Store a value: in a per-CPU map that of the CPU that runs."""
    try:
        map_.update(_key(rt, map_, key), _value(rt, map_, value), flags, rt.cpu)
    except KernelError as exc:
        return _result(rt, exc)
    return 0


@body(3)
def map_delete_elem(rt: Runtime, map_: MapHandle, key: int) -> int:
    """Remove an element."""
    try:
        map_.delete(_key(rt, map_, key))
    except KernelError as exc:
        return _result(rt, exc)
    return 0


@body(87)
def map_push_elem(rt: Runtime, map_: MapHandle, value: int, flags: int) -> int:
    """Push onto a queue or stack; BPF_EXIST drops the oldest element of a full one."""
    try:
        map_.update(b"", _value(rt, map_, value), flags)
    except KernelError as exc:
        return _result(rt, exc)
    return 0


@body(88)
def map_pop_elem(rt: Runtime, map_: MapHandle, value: int) -> int:
    """Take an element out; the buffer is zeroed when there is none."""
    try:
        taken = map_.map.lookup_and_delete(b"", 0)
    except KernelError as exc:
        rt.mem.write(value, bytes(map_.rec.value_size))
        return _result(rt, exc)
    rt.mem.write(value, taken)
    return 0


@body(89)
def map_peek_elem(rt: Runtime, map_: MapHandle, value: int) -> int:
    """Copy the element that a pop would take; a Bloom filter tests the value given."""
    try:
        found = map_.map.lookup(b"", _value(rt, map_, value))
    except KernelError as exc:
        if map_.map.name != "bloom_filter":
            rt.mem.write(value, bytes(map_.rec.value_size))
        return _result(rt, exc)
    rt.mem.write(value, found)
    return 0


@body(195)
def map_lookup_percpu_elem(rt: Runtime, map_: MapHandle, key: int, cpu: int) -> int:
    """Return the address of another CPU's value, 0 for none."""
    cpu &= U32
    if cpu >= rt.kernel.config.possible_cpus:
        return 0
    return map_.address(_key(rt, map_, key), cpu)
