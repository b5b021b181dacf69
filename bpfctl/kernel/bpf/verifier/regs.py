"""Reading and writing whole registers (check_reg_arg), and the read marks that go with it."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.regtype import NOT_INIT, SCALAR_VALUE, type_text
from bpfctl.kernel.bpf.verifier.state import FP, NR_REGS, UNKNOWN_SCALAR, Live, Reg

LIVE_READ, LIVE_WRITTEN, LIVE_DONE = 1, 2, 4


def mark_read(node: Live) -> None:
    """Tell the states that this register came from that it is needed (mark_reg_read)."""
    parent = node.parent
    writes = True
    while parent is not None:
        if writes and node.marks & LIVE_WRITTEN:
            return
        if parent.marks & LIVE_READ:
            return
        parent.marks |= LIVE_READ
        node = parent
        parent = node.parent


def read_reg(env: Env, regno: int) -> Reg:
    """Check that a register may be read, note that it was, and return it (SRC_OP).

    :raises Refused: EINVAL, EACCES.
    """
    if regno >= NR_REGS:
        env.fail(E.INVAL, f"R{regno} is invalid")
    frame = env.cur_state.frames[-1]
    reg = frame.regs[regno]
    if reg.type == NOT_INIT:
        env.fail(E.ACCES, f"R{regno} !read_ok")
    if frame.live and regno != FP:
        mark_read(frame.live[regno])
    return reg


def check_writable(env: Env, regno: int) -> None:
    """Check that a register may be written, and note that it was (DST_OP_NO_MARK).

    :raises Refused: EINVAL, EACCES.
    """
    if regno >= NR_REGS:
        env.fail(E.INVAL, f"R{regno} is invalid")
    if regno == FP:
        env.fail(E.ACCES, "frame pointer is read only")
    frame = env.cur_state.frames[-1]
    if frame.live:
        frame.live[regno].marks |= LIVE_WRITTEN


def write_unknown(env: Env, regno: int) -> None:
    """Check that a register may be written, and make it any number (DST_OP)."""
    check_writable(env, regno)
    mark_unknown(env, regno)


def mark_unknown(env: Env, regno: int) -> None:
    """Make a register any number (mark_reg_unknown)."""
    env.set_reg(regno, UNKNOWN_SCALAR, env.precise_default)


def is_pointer(reg: Reg) -> bool:
    """Tell whether a register is anything but a number."""
    return reg.type != SCALAR_VALUE


def words(env: Env, reg: Reg) -> str:
    """The type of a register as the log names it."""
    text = type_text(reg.type, env.rules.scalar_word)
    return text.replace("ringbuf_", env.rules.ringbuf_word)
