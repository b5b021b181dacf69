"""Kernel symbols: names and the addresses where the simulated kernel has them.

Addresses are those of a kernel without KASLR that nothing is known of but the names of its
functions: the same name has the same address in every machine.
"""

from __future__ import annotations

from binascii import crc32

TEXT_START = 0xFFFFFFFF81000000
TEXT_SIZE = 0x01000000
FUNCTION_ALIGN = 16

TEST_RUN_STACK = (
    "bpf_prog_test_run_raw_tp",
    "__sys_bpf",
    "__x64_sys_bpf",
    "do_syscall_64",
    "entry_SYSCALL_64_after_hwframe",
)
"""Who called whom below a program in a test run, innermost first."""
NAMES = frozenset(
    (*TEST_RUN_STACK, "__bpf_prog_test_run_raw_tp", "schedule", "__schedule", "bpf_prog_run")
)
BPF_TEXT_START = 0xFFFFFFFFC0000000
_SYSCALL_STUB, _CALLER = 0x7FFFF7D1E88D, 0x5555555551A9


def address(name: str) -> int:
    """Return where the function ``name`` begins."""
    return TEXT_START + crc32(name.encode()) % (TEXT_SIZE // FUNCTION_ALIGN) * FUNCTION_ALIGN


def prog_address(prog_id: int) -> int:
    """Return where the machine code of a program begins."""
    return BPF_TEXT_START + prog_id * 0x1000


def lookup(name: str) -> int | None:
    """Return the address of a symbol, None if this kernel has none of that name."""
    return address(name) if name in NAMES else None


def name_at(addr: int) -> str | None:
    """Return ``symbol+offset/size`` style text for an address, None outside of known text."""
    for name in NAMES:
        start = address(name)
        if start <= addr < start + FUNCTION_ALIGN:
            return f"{name}+{addr - start:#x}/{FUNCTION_ALIGN:#x}"
    return None


def test_run_stack(prog_id: int, frames: int) -> list[int]:
    """Return the call chain of a program in a test run, innermost first, ``frames`` deep."""
    chain = [prog_address(prog_id)]
    names = list(TEST_RUN_STACK)
    if frames > len(names) + 1:
        names.insert(0, "__bpf_prog_test_run_raw_tp")
    return chain + [address(name) + 5 for name in names]


def user_stack() -> list[int]:
    """Return the call chain of a process in bpf(2): the stub of the C library, and its caller."""
    return [_SYSCALL_STUB, _CALLER]
