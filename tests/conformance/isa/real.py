"""Compare engines with this machine's own kernel: ``python -m conformance.isa.real [N [SEED]]``.

From the directory of the tests, as root, on Linux with BPF. Loads syscall programs and runs them;
nothing stays behind.
"""

from __future__ import annotations

import ctypes
import os
import random
import struct
import sys

from conformance.isa.engines import ENGINES
from conformance.isa.generate import Generator, context
from conformance.isa.test_fuzz import Runner

SYS_BPF = {"x86_64": 321, "aarch64": 280}
PROG_LOAD, PROG_RUN = 5, 10
SYSCALL_TYPE, SLEEPABLE = 31, 0x10


class HostKernel:
    """bpf(2) of the host."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._number = SYS_BPF[os.uname().machine]

    def _bpf(self, cmd: int, attr: bytes) -> tuple[int, bytes]:
        buf = ctypes.create_string_buffer(attr, 128)
        result = self._libc.syscall(self._number, cmd, buf, len(attr))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result, buf.raw

    def load(self, code: bytes) -> int:
        insns = ctypes.create_string_buffer(code, len(code))
        licence = ctypes.create_string_buffer(b"GPL")
        attr = struct.pack(
            "<IIQQIIQII16s", SYSCALL_TYPE, len(code) // 8, ctypes.addressof(insns),
            ctypes.addressof(licence), 0, 0, 0, 0, SLEEPABLE, b"",
        )  # fmt: skip
        return self._bpf(PROG_LOAD, attr)[0]

    def run(self, code: bytes, contexts: list[bytes]) -> list[tuple[int, bytes]] | None:
        try:
            fd = self.load(code)
        except OSError:
            return None
        found = []
        try:
            for given in contexts:
                ctx = ctypes.create_string_buffer(given, len(given))
                attr = struct.pack(
                    "<IIIIQQIIIIQQ", fd, 0, 0, 0, 0, 0, 0, 0, len(given), 0,
                    ctypes.addressof(ctx), 0,
                )  # fmt: skip
                _, out = self._bpf(PROG_RUN, attr + bytes(16))
                found.append((struct.unpack_from("<I", out, 4)[0], ctx.raw))
        finally:
            os.close(fd)
        return found


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    host = HostKernel()
    runners = [Runner(name, True) for name in ENGINES]
    refused = wrong = 0
    for seed in range(first, first + count):
        code = Generator(seed).program()
        rng = random.Random(seed)
        contexts = [context(rng) for _ in range(3)]
        want = host.run(code, contexts)
        if want is None:
            refused += 1
            continue
        for runner in runners:
            got = [(r0 & 0xFFFFFFFF, memory) for r0, memory in runner.run(code, contexts)]
            if got != want:
                wrong += 1
                print(f"seed {seed}: {runner.name} differs")
    print(f"{count} programs, {refused} refused by the kernel, {wrong} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
