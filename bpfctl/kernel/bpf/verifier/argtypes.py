"""Which register types an argument type accepts (compatible_reg_types), by release."""

from __future__ import annotations

from functools import cache

from bpfctl.kernel.bpf.helpers.decl import Arg
from bpfctl.kernel.bpf.verifier import regtype as rt

_SOCKS = (rt.PTR_TO_SOCK_COMMON, rt.PTR_TO_SOCKET, rt.PTR_TO_TCP_SOCK, rt.PTR_TO_XDP_SOCK)
_TRUSTED = rt.PTR_TO_BTF_ID | rt.PTR_TRUSTED
_RCU = rt.PTR_TO_BTF_ID | rt.MEM_RCU
_ALLOC = rt.PTR_TO_BTF_ID | rt.MEM_ALLOC

_DATA = {
    # What may hold plain bytes: keys and values of maps, and memory, by generation.
    "plain": (rt.PTR_TO_STACK, rt.PTR_TO_PACKET, rt.PTR_TO_PACKET_META, rt.PTR_TO_MAP_VALUE),
    "keys": (
        rt.PTR_TO_STACK, rt.PTR_TO_PACKET, rt.PTR_TO_PACKET_META, rt.PTR_TO_MAP_KEY,
        rt.PTR_TO_MAP_VALUE,
    ),
}  # fmt: skip

_MEM: dict[str, tuple[int, ...]] = {
    "buffers": (
        *_DATA["plain"], rt.PTR_TO_MEM, rt.PTR_TO_BUF | rt.MEM_RDONLY, rt.PTR_TO_BUF,
    ),
    "alloc": (*_DATA["keys"], rt.PTR_TO_MEM, rt.PTR_TO_MEM | rt.MEM_RINGBUF, rt.PTR_TO_BUF),
    "trusted": (
        *_DATA["keys"], rt.PTR_TO_MEM, rt.PTR_TO_MEM | rt.MEM_RINGBUF, rt.PTR_TO_BUF, _TRUSTED,
    ),
    "ctx": (
        *_DATA["keys"], rt.PTR_TO_MEM, rt.PTR_TO_MEM | rt.MEM_RINGBUF, rt.PTR_TO_BUF, _TRUSTED,
        rt.PTR_TO_CTX,
    ),
}  # fmt: skip


@cache
def compatible(generation: str, base: int) -> tuple[int, ...]:
    """Return the register types that an argument of type ``base`` accepts.

    ``generation``: "buffers" (5.10), "alloc" (6.1), "trusted" (6.12) or "ctx" (7.3).
    """
    old = generation in ("buffers", "alloc")
    mem = _MEM[generation]
    if base in (Arg.PTR_TO_MAP_KEY, Arg.PTR_TO_MAP_VALUE):
        if generation == "buffers":
            return _DATA["plain"]
        return _DATA["keys"] if generation == "alloc" else mem
    if base in (Arg.PTR_TO_INT, Arg.PTR_TO_LONG):
        return _DATA["plain"] if generation == "buffers" else _DATA["keys"]
    if base == Arg.PTR_TO_MEM:
        return mem
    btf = (rt.PTR_TO_BTF_ID,) if old else (rt.PTR_TO_BTF_ID, _TRUSTED, _RCU)
    percpu = rt.PTR_TO_BTF_ID | rt.MEM_PERCPU
    kptr: tuple[int, ...] = (rt.PTR_TO_MAP_VALUE,)
    if not old:
        kptr = (rt.PTR_TO_MAP_VALUE, _ALLOC)
    if generation == "ctx":
        kptr = (*kptr, _ALLOC | rt.NON_OWN_REF, _ALLOC | rt.NON_OWN_REF | rt.MEM_RCU)
    ringbuf = rt.PTR_TO_MEM if generation == "buffers" else rt.PTR_TO_MEM | rt.MEM_RINGBUF
    scalars = (rt.SCALAR_VALUE,)
    return {
        Arg.CONST_SIZE: scalars,
        Arg.CONST_SIZE_OR_ZERO: scalars,
        Arg.CONST_ALLOC_SIZE_OR_ZERO: scalars,
        Arg.CONST_MAP_PTR: (rt.CONST_PTR_TO_MAP,),
        Arg.PTR_TO_CTX: (rt.PTR_TO_CTX,),
        Arg.PTR_TO_SOCK_COMMON: _SOCKS,
        Arg.PTR_TO_BTF_ID_SOCK_COMMON: (
            (*_SOCKS, rt.PTR_TO_BTF_ID) if old else (*_SOCKS, rt.PTR_TO_BTF_ID, _TRUSTED)
        ),
        Arg.PTR_TO_SOCKET: (rt.PTR_TO_SOCKET,),
        Arg.PTR_TO_BTF_ID: btf,
        Arg.PTR_TO_SPIN_LOCK: (rt.PTR_TO_MAP_VALUE,) if old else (rt.PTR_TO_MAP_VALUE, _ALLOC),
        Arg.PTR_TO_RINGBUF_MEM: (ringbuf,),
        Arg.PTR_TO_PERCPU_BTF_ID: (
            (percpu,) if old else (percpu, percpu | rt.MEM_RCU, percpu | rt.PTR_TRUSTED)
        ),
        Arg.PTR_TO_FUNC: (rt.PTR_TO_FUNC,),
        Arg.PTR_TO_STACK: (rt.PTR_TO_STACK,),
        Arg.PTR_TO_CONST_STR: (rt.PTR_TO_MAP_VALUE,),
        Arg.PTR_TO_TIMER: (rt.PTR_TO_MAP_VALUE,),
        Arg.KPTR_XCHG_DEST: kptr,
        Arg.PTR_TO_DYNPTR: (rt.PTR_TO_STACK, rt.CONST_PTR_TO_DYNPTR),
    }[base]
