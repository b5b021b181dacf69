"""Instructions as text, in the words of the kernel's verifier log and of ``prog dump``.

Mirrors kernel/bpf/disasm.c. What a call or a ld_imm64 names is the caller's to say; without a
saying they read as in the log.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.isa.helper_names import HELPERS
from bpfctl.isa.insn import (
    BPF_ALU,
    BPF_ALU64,
    BPF_CALL,
    BPF_EXIT,
    BPF_JMP,
    BPF_JMP32,
    BPF_LD,
    BPF_LDX,
    BPF_ST,
    BPF_STX,
    BPF_X,
    JA,
    JA32,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    Insn,
)
from bpfctl.isa.opcodes import (
    ABS,
    ADDR_PERCPU,
    ADDR_SPACE_CAST,
    ATOMIC,
    CLASSES,
    CMPXCHG,
    DW,
    END,
    FETCH,
    IND,
    JCOND,
    LOAD_ACQ,
    MAY_GOTO,
    MEM,
    MEMSX,
    MODE_MASK,
    MOV,
    NEG,
    NOSPEC,
    OP_MASK,
    SIGNED_OFF,
    SIZE_MASK,
    STORE_REL,
    XCHG,
)

# Text of the callee of a call, and of the value of a ld_imm64 (its two slots).
CallName = Callable[[Insn], str]
ImmName = Callable[[Insn, Insn], str]

ALU_SIGNS = {
    0x00: "+=", 0x10: "-=", 0x20: "*=", 0x30: "/=", 0x40: "|=", 0x50: "&=", 0x60: "<<=",
    0x70: ">>=", 0x80: "neg", 0x90: "%=", 0xA0: "^=", 0xB0: "=", 0xC0: "s>>=", 0xD0: "endian",
}  # fmt: skip
SIGNED_ALU_SIGNS = {0x30: "s/=", 0x90: "s%="}
FETCH_NAMES = {0x00: "add", 0x40: "or", 0x50: "and", 0xA0: "xor"}
JUMP_SIGNS = {
    0x00: "jmp", 0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&", 0x50: "!=", 0x60: "s>",
    0x70: "s>=", 0x80: "call", 0x90: "exit", 0xA0: "<", 0xB0: "<=", 0xC0: "s<", 0xD0: "s<=",
}  # fmt: skip
SIZE_NAMES = {0x00: "u32", 0x08: "u16", 0x10: "u8", 0x18: "u64"}
SIGNED_SIZE_NAMES = {0x00: "s32", 0x08: "s16", 0x10: "s8", 0x18: "s64"}
_MOVSX = {8: "(s8)", 16: "(s16)", 32: "(s32)"}


def log_call(insn: Insn) -> str:
    """Return the callee as the verifier's log names it (__func_get_name())."""
    if insn.src == 0 and 0 <= insn.imm < len(HELPERS):
        return f"bpf_{HELPERS[insn.imm]}"
    if insn.src == PSEUDO_CALL:
        return f"{insn.imm:+d}"
    return "kernel-function" if insn.src == PSEUDO_KFUNC_CALL else "unknown"


def wide_imm(insn: Insn, follower: Insn) -> str:
    """Return the 64 bits that a ld_imm64 holds (__func_imm_name())."""
    return f"0x{(follower.imm & 0xFFFFFFFF) << 32 | insn.imm & 0xFFFFFFFF:x}"


def text(
    insn: Insn,
    follower: Insn,
    call_name: CallName = log_call,
    imm_name: ImmName = wide_imm,
) -> str:
    """Return one instruction, such as ``(b4) w0 = 0``; ``follower`` is the slot behind it."""
    kind = insn.code & 7
    if kind in (BPF_ALU, BPF_ALU64):
        body = _alu(insn, kind == BPF_ALU)
    elif kind in (BPF_JMP, BPF_JMP32):
        body = _jump(insn, call_name)
    elif kind == BPF_LD:
        body = _ld(insn, follower, imm_name)
    else:
        body = {BPF_LDX: _ldx, BPF_ST: _st, BPF_STX: _stx}[kind](insn)
    return body if body.startswith("BUG_") else f"({insn.code:02x}) {body}"


def _alu(insn: Insn, is_32: bool) -> str:
    op, dst, src, off = insn.code & OP_MASK, insn.dst, insn.src, insn.off
    reg = "w" if is_32 else "r"
    if op == END:
        if not is_32:
            return f"r{dst} = bswap{insn.imm} r{dst}"
        return f"r{dst} = {'be' if insn.code & BPF_X else 'le'}{insn.imm} r{dst}"
    if op == NEG:
        return f"{reg}{dst} = -{reg}{dst}"
    if insn.code == BPF_ALU64 | MOV | BPF_X and off == ADDR_SPACE_CAST:
        imm = insn.imm & 0xFFFFFFFF
        return f"r{dst} = addr_space_cast(r{src}, {imm >> 16}, {imm & 0xFFFF})"
    if insn.code == BPF_ALU64 | MOV | BPF_X and off == ADDR_PERCPU:
        return f"r{dst} = &(void __percpu *)(r{src})"
    table = SIGNED_ALU_SIGNS if op in SIGNED_ALU_SIGNS and off == SIGNED_OFF else ALU_SIGNS
    sign = table.get(op, "")
    if not insn.code & BPF_X:
        return f"{reg}{dst} {sign} {insn.imm}"
    cast = _MOVSX.get(off, "") if op == MOV else ""
    return f"{reg}{dst} {sign} {cast}{reg}{src}"


def _place(insn: Insn, reg: int, sizes: dict[int, str] = SIZE_NAMES) -> str:
    return f"({sizes[insn.code & SIZE_MASK]} *)(r{reg} {insn.off:+d})"


def _ldx(insn: Insn) -> str:
    mode = insn.code & MODE_MASK
    if mode not in (MEM, MEMSX):
        return f"BUG_ldx_{insn.code:02x}"
    sizes = SIZE_NAMES if mode == MEM else SIGNED_SIZE_NAMES
    return f"r{insn.dst} = *{_place(insn, insn.src, sizes)}"


def _st(insn: Insn) -> str:
    mode = insn.code & MODE_MASK
    if mode == MEM:
        return f"*{_place(insn, insn.dst)} = {insn.imm}"
    return "nospec" if mode == NOSPEC else f"BUG_st_{insn.code:02x}"


def _stx(insn: Insn) -> str:
    mode, imm = insn.code & MODE_MASK, insn.imm
    place = _place(insn, insn.dst)
    if mode == MEM:
        return f"*{place} = r{insn.src}"
    wide = "64" if insn.code & SIZE_MASK == DW else ""
    if mode == ATOMIC and imm in FETCH_NAMES:
        return f"lock *{place} {ALU_SIGNS[imm]} r{insn.src}"
    if mode == ATOMIC and imm & ~FETCH in FETCH_NAMES:
        name = FETCH_NAMES[imm & ~FETCH]
        return f"r{insn.src} = atomic{wide}_fetch_{name}({place}, r{insn.src})"
    if mode == ATOMIC and imm == CMPXCHG:
        return f"r0 = atomic{wide}_cmpxchg({place}, r0, r{insn.src})"
    if mode == ATOMIC and imm == LOAD_ACQ:
        return f"r{insn.dst} = load_acquire({_place(insn, insn.src)})"
    if mode == ATOMIC and imm == STORE_REL:
        return f"store_release({place}, r{insn.src})"
    if mode == ATOMIC and imm == XCHG:
        return f"r{insn.src} = atomic{wide}_xchg({place}, r{insn.src})"
    return f"BUG_{insn.code:02x}"


def _ld(insn: Insn, follower: Insn, imm_name: ImmName) -> str:
    mode = insn.code & MODE_MASK
    if mode == ABS:
        return f"r0 = *({SIZE_NAMES[insn.code & SIZE_MASK]} *)skb[{insn.imm}]"
    if mode == IND:
        return f"r0 = *({SIZE_NAMES[insn.code & SIZE_MASK]} *)skb[r{insn.src} + {insn.imm}]"
    if insn.code == LD_IMM64:
        return f"r{insn.dst} = {imm_name(insn, follower)}"
    return f"BUG_ld_{insn.code:02x}"


def _jump(insn: Insn, call_name: CallName) -> str:
    code, op = insn.code, insn.code & OP_MASK
    if op == BPF_CALL:
        name = call_name(insn)
        return f"call pc{name}" if insn.src == PSEUDO_CALL else f"call {name}#{insn.imm}"
    if code == JA:
        return f"goto pc{insn.off:+d}"
    if code == JA32:
        return f"gotol pc{insn.imm:+d}"
    if code == JCOND and insn.src == MAY_GOTO:
        return f"may_goto pc{insn.off:+d}"
    if code == BPF_JMP | BPF_EXIT:
        return "exit"
    reg = "w" if code & 7 == BPF_JMP32 else "r"
    other = f"{reg}{insn.src}" if code & BPF_X else f"0x{insn.imm & 0xFFFFFFFF:x}"
    return (
        f"if {reg}{insn.dst} {JUMP_SIGNS.get(op, CLASSES[code & 7])} {other} goto pc{insn.off:+d}"
    )
