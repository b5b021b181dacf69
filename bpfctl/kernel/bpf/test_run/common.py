"""What the runners of BPF_PROG_TEST_RUN share: buffers in and out (net/bpf/test_run.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.prog_run import run_prog, run_time_ns
from bpfctl.kernel.bpf.vm.vm import Vm
from bpfctl.light import dataclass
from bpfctl.uapi import ProgRunAttr, ProgRunResult

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena
    from bpfctl.kernel.bpf.vm.runtime import Context
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.profile import Runtime
    from bpfctl.kernel.records import ProgRecord, Task

PAGE_SIZE = 4096
ETH_HLEN = 14
U32 = 0xFFFFFFFF


@dataclass(slots=True)
class Test:
    """One BPF_PROG_TEST_RUN: who asks, what is run, and with what."""

    kernel: Kernel
    task: Task
    prog: ProgRecord
    attr: ProgRunAttr
    duration: int = 0

    @property
    def source(self) -> bytes:
        """The program's instructions as they were loaded."""
        return self.kernel.part(Vm).program(self.prog.id).raw

    @property
    def mem(self) -> Arena:
        """The memory of programs."""
        return self.kernel.part(Vm).arena

    def run(self, ctx: Context, times: int = 1) -> int:
        """Run the program on ``ctx``, which stays as each round left it; return the last r0.

        :raises KernelError: EINTR (stopped).
        """
        self.duration = run_time_ns(self.prog)
        return run_prog(self.kernel, self.prog, ctx, times)

    @property
    def facts(self) -> Runtime:
        """What this kernel's runners do otherwise than others'."""
        return self.kernel.profile.runtime


def bad(what: str) -> KernelError:
    """Return EINVAL, to be raised."""
    return KernelError(E.INVAL, what)


def data_init(attr: ProgRunAttr, size: int, room: int) -> bytes:
    """Copy ``size`` bytes of the caller's data in (bpf_test_init).

    :raises KernelError: EINVAL (shorter than a MAC header, or more than ``room``); EFAULT.
    """
    if size < ETH_HLEN or size > room:
        raise bad(f"data_size_in {size}")
    return user_data(attr, size)


def user_data(attr: ProgRunAttr, size: int) -> bytes:
    """Copy the first ``size`` bytes of the caller's data in.

    :raises KernelError: EFAULT.
    """
    data = attr.data_in or b""
    if len(data) < size:
        raise KernelError(E.FAULT, "data_in")
    return data[:size]


def ctx_init(attr: ProgRunAttr, size: int) -> bytearray | None:
    """Copy the caller's context in, cut or padded to ``size`` bytes; None without one.

    :raises KernelError: E2BIG (a longer one that is not zero behind ``size``, or more than a
        page); EFAULT.
    """
    if attr.ctx_in is None and not attr.ctx_out:
        return None
    given = attr.ctx_in or b""
    asked = attr.ctx_size_in
    if asked > size:
        if asked > PAGE_SIZE:
            raise KernelError(E.BIG, f"ctx_size_in {asked}")
        if len(given) < asked:
            raise KernelError(E.FAULT, "ctx_in")
        if any(given[size:asked]):
            raise KernelError(E.BIG, "context beyond what this kernel knows")
    take = min(asked, size)
    if len(given) < take:
        raise KernelError(E.FAULT, "ctx_in")
    return bytearray(given[:take].ljust(size, b"\0"))


def data_finish(test: Test, data: bytes, retval: int, frags: bytes = b"") -> ProgRunResult:
    """Hand data, return value and duration to the caller (bpf_test_finish).

    ``frags`` follow ``data``. A result that is cut says ENOSPC; one whose linear part alone is
    missing is not handed out at all.
    """
    attr = test.attr
    size = len(data) + len(frags)
    copy = size
    result = ProgRunResult()
    if attr.data_size_out and copy > attr.data_size_out:
        copy = attr.data_size_out
        result.errno = E.NOSPC
    if attr.data_out:
        linear = copy - len(frags)
        if linear < 0:
            return ProgRunResult(errno=E.NOSPC)
        result.data_out = data[:linear] + frags[: copy - linear]
    result.data_size_out = size
    result.retval = retval & U32
    result.duration = test.duration
    return result


def ctx_finish(test: Test, result: ProgRunResult, ctx: bytes | bytearray | None) -> ProgRunResult:
    """Hand the context to the caller, unless the data did not fit (bpf_ctx_finish)."""
    attr = test.attr
    if result.errno or ctx is None or not attr.ctx_out:
        return result
    copy = len(ctx)
    if copy > attr.ctx_size_out:
        copy = attr.ctx_size_out
        result.errno = E.NOSPC
    result.ctx_out = bytes(ctx[:copy])
    result.ctx_size_out = len(ctx)
    return result


def is_zero(data: bytes | bytearray, start: int, end: int) -> bool:
    """Tell whether a range of bytes is zero (range_is_zero)."""
    return not any(data[start:end])


def word(data: bytes | bytearray, offset: int, size: int = 4) -> int:
    """Read a little-endian number."""
    return int.from_bytes(data[offset : offset + size], "little")


def set_word(data: bytearray, offset: int, value: int, size: int = 4) -> None:
    """Write a little-endian number."""
    data[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def repeated(test: Test, ctx: Context) -> int:
    """Run the program as often as asked for on the same context; return the last r0."""
    return test.run(ctx, test.attr.repeat or 1)
