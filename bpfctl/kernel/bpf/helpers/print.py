"""Text: the trace pipe, iterators' files, snprintf (kernel/trace/bpf_trace.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, btf, declare
from bpfctl.kernel.bpf.helpers.format import STRING_LIMIT, Rules, Source, render
from bpfctl.kernel.bpf.helpers.probe import (
    kernel_bytes,
    kernel_string,
    task_size,
    user_string,
)
from bpfctl.kernel.trace import ksyms
from bpfctl.kernel.trace.pipe import trace_print

declare(6, "trace_printk", Ret.INTEGER, (Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE), gpl_only=True)
declare(
    126, "seq_printf", Ret.INTEGER,
    (
        btf("seq_file"), Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE,
        Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO,
    ),
    gpl_only=True,
)  # fmt: skip
declare(
    127, "seq_write", Ret.INTEGER,
    (btf("seq_file"), Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO), gpl_only=True,
)  # fmt: skip
declare(
    149, "snprintf_btf", Ret.INTEGER,
    (
        Arg.PTR_TO_MEM_WRITE, Arg.CONST_SIZE, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE,
        Arg.ANYTHING,
    ),
)  # fmt: skip
declare(
    150, "seq_printf_btf", Ret.INTEGER,
    (btf("seq_file"), Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
    gpl_only=True,
)  # fmt: skip
declare(
    165, "snprintf", Ret.INTEGER,
    (
        Arg.PTR_TO_MEM_WRITE_OR_NULL, Arg.CONST_SIZE_OR_ZERO, Arg.PTR_TO_CONST_STR,
        Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO,
    ),
    gpl_only=True,
)  # fmt: skip
declare(
    177, "trace_vprintk", Ret.INTEGER,
    (
        Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.PTR_TO_MEM_RDONLY_OR_NULL,
        Arg.CONST_SIZE_OR_ZERO,
    ),
    gpl_only=True,
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime


MAX_ARGS = 12
TRACE_BUFFER = 1024


def rules_of(rt: Runtime) -> Rules:
    """Return what format strings this kernel takes."""
    facts = rt.kernel.profile.runtime
    return Rules(facts.printk_modern, facts.printk_high_bytes)


def source(rt: Runtime, args: list[int]) -> Source:
    """Return the arguments of a format string, with memory to follow pointers into."""

    def read(addr: int, size: int) -> bytes | None:
        found = kernel_bytes(rt, addr, size)
        return found if isinstance(found, bytes) else None

    def text(addr: int, kind: str) -> bytes:
        user = kind == "u" or (kind == "s" and addr < task_size(rt) and rt.mem.find(addr) is None)
        find = user_string if user else kernel_string
        found = find(rt, addr, STRING_LIMIT)
        return found[:-1] if isinstance(found, bytes) else b""

    seed = rt.kernel.config.random_seed.to_bytes(8, "little")
    return Source(args, read, text, ksyms.name_at, seed)


def _words(rt: Runtime, data: int, size: int) -> list[int] | None:
    """Return the arguments in an array of u64, None for a bad size."""
    if size & 7 or size > MAX_ARGS * 8 or (size and not data):
        return None
    return [rt.mem.load(data + at, 8) for at in range(0, size, 8)]


def _print(rt: Runtime, fmt: int, size: int, args: list[int]) -> int:
    """Print to the trace pipe; return the length."""
    raw = rt.mem.read(fmt, size)
    if b"\0" not in raw:
        return -E.INVAL
    text = render(raw[: raw.index(b"\0")], source(rt, args), rules_of(rt))[: TRACE_BUFFER - 1]
    trace_print(rt.kernel, text)
    return len(text)


@body(6, registers=True)
def trace_printk(rt: Runtime, fmt: int, size: int, one: int, two: int, three: int) -> int:
    """Print to the trace pipe with up to three arguments: the length, or EINVAL."""
    return _print(rt, fmt, size & U32, [one, two, three])


@body(177)
def trace_vprintk(rt: Runtime, fmt: int, size: int, data: int, length: int) -> int:
    """Print to the trace pipe with arguments in an array."""
    args = _words(rt, data, length & U32)
    return -E.INVAL if args is None else _print(rt, fmt, size & U32, args)


@body(165)
def snprintf(rt: Runtime, to: int, size: int, fmt: int, data: int, length: int) -> int:
    """Print into a buffer; return the length that the whole text has, with its NUL."""
    size &= U32
    args = _words(rt, data, length & U32)
    if args is None:
        return -E.INVAL
    raw = rt.mem.c_string(fmt, 1 << 16) or b""
    text = render(raw, source(rt, args), rules_of(rt))
    if size:
        rt.mem.write(to, text[: size - 1] + b"\0")
    return len(text) + 1
