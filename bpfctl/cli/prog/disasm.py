"""Instructions as text, in the words of the kernel's verifier log and of ``prog dump``."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.kernel.bpf.insn import (
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
    Insn,
)

# Text of the callee of a call, and of the value of a ld_imm64 (its two slots).
CallName = Callable[[Insn], str]
ImmName = Callable[[Insn, Insn], str]

_CLASSES = ("ld", "ldx", "st", "stx", "alu", "jmp", "jmp32", "alu64")
_ALU = {
    0x00: "+=", 0x10: "-=", 0x20: "*=", 0x30: "/=", 0x40: "|=", 0x50: "&=", 0x60: "<<=",
    0x70: ">>=", 0x80: "neg", 0x90: "%=", 0xA0: "^=", 0xB0: "=", 0xC0: "s>>=", 0xD0: "endian",
}  # fmt: skip
_SIGNED_ALU = {0x30: "s/=", 0x90: "s%="}
_FETCHES = {0x00: "add", 0x40: "or", 0x50: "and", 0xA0: "xor"}
_JUMPS = {
    0x00: "jmp", 0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&", 0x50: "!=", 0x60: "s>",
    0x70: "s>=", 0x80: "call", 0x90: "exit", 0xA0: "<", 0xB0: "<=", 0xC0: "s<", 0xD0: "s<=",
}  # fmt: skip
_SIZES = {0x00: "u32", 0x08: "u16", 0x10: "u8", 0x18: "u64"}
_SIGNED_SIZES = {0x00: "s32", 0x08: "s16", 0x10: "s8", 0x18: "s64"}
_MOVSX = {8: "(s8)", 16: "(s16)", 32: "(s32)"}

_NEG, _MOV, _END = 0x80, 0xB0, 0xD0
_IMM, _ABS, _IND, _MEM, _MEMSX, _ATOMIC, _NOSPEC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0, 0xC0
_DW = 0x18
_FETCH, _XCHG, _CMPXCHG = 0x01, 0xE1, 0xF1
_JCOND = BPF_JMP | 0xE0
_CAST, _PERCPU = 1, -1


def text(insn: Insn, follower: Insn, call_name: CallName, imm_name: ImmName) -> str:
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
    op, dst, src, off = insn.code & 0xF0, insn.dst, insn.src, insn.off
    reg = "w" if is_32 else "r"
    if op == _END:
        if not is_32:
            return f"r{dst} = bswap{insn.imm} r{dst}"
        return f"r{dst} = {'be' if insn.code & BPF_X else 'le'}{insn.imm} r{dst}"
    if op == _NEG:
        return f"{reg}{dst} = -{reg}{dst}"
    if insn.code == BPF_ALU64 | _MOV | BPF_X and off == _CAST:
        imm = insn.imm & 0xFFFFFFFF
        return f"r{dst} = addr_space_cast(r{src}, {imm >> 16}, {imm & 0xFFFF})"
    if insn.code == BPF_ALU64 | _MOV | BPF_X and off == _PERCPU:
        return f"r{dst} = &(void __percpu *)(r{src})"
    table = _SIGNED_ALU if op in _SIGNED_ALU and off == 1 else _ALU
    sign = table.get(op, "")
    if not insn.code & BPF_X:
        return f"{reg}{dst} {sign} {insn.imm}"
    cast = _MOVSX.get(off, "") if op == _MOV else ""
    return f"{reg}{dst} {sign} {cast}{reg}{src}"


def _place(insn: Insn, reg: int, sizes: dict[int, str] = _SIZES) -> str:
    return f"({sizes[insn.code & 0x18]} *)(r{reg} {insn.off:+d})"


def _ldx(insn: Insn) -> str:
    mode = insn.code & 0xE0
    if mode not in (_MEM, _MEMSX):
        return f"BUG_ldx_{insn.code:02x}"
    sizes = _SIZES if mode == _MEM else _SIGNED_SIZES
    return f"r{insn.dst} = *{_place(insn, insn.src, sizes)}"


def _st(insn: Insn) -> str:
    mode = insn.code & 0xE0
    if mode == _MEM:
        return f"*{_place(insn, insn.dst)} = {insn.imm}"
    return "nospec" if mode == _NOSPEC else f"BUG_st_{insn.code:02x}"


def _stx(insn: Insn) -> str:
    mode, imm = insn.code & 0xE0, insn.imm
    place = _place(insn, insn.dst)
    if mode == _MEM:
        return f"*{place} = r{insn.src}"
    wide = "64" if insn.code & 0x18 == _DW else ""
    if mode == _ATOMIC and imm in _FETCHES:
        return f"lock *{place} {_ALU[imm]} r{insn.src}"
    if mode == _ATOMIC and imm & ~_FETCH in _FETCHES:
        name = _FETCHES[imm & ~_FETCH]
        return f"r{insn.src} = atomic{wide}_fetch_{name}({place}, r{insn.src})"
    if mode == _ATOMIC and imm == _CMPXCHG:
        return f"r0 = atomic{wide}_cmpxchg({place}, r0, r{insn.src})"
    if mode == _ATOMIC and imm == _XCHG:
        return f"r{insn.src} = atomic{wide}_xchg({place}, r{insn.src})"
    return f"BUG_{insn.code:02x}"


def _ld(insn: Insn, follower: Insn, imm_name: ImmName) -> str:
    mode = insn.code & 0xE0
    if mode == _ABS:
        return f"r0 = *({_SIZES[insn.code & 0x18]} *)skb[{insn.imm}]"
    if mode == _IND:
        return f"r0 = *({_SIZES[insn.code & 0x18]} *)skb[r{insn.src} + {insn.imm}]"
    if insn.code == LD_IMM64:
        return f"r{insn.dst} = {imm_name(insn, follower)}"
    return f"BUG_ld_{insn.code:02x}"


def _jump(insn: Insn, call_name: CallName) -> str:
    code, op = insn.code, insn.code & 0xF0
    if op == BPF_CALL:
        name = call_name(insn)
        return f"call pc{name}" if insn.src == PSEUDO_CALL else f"call {name}#{insn.imm}"
    if code == JA:
        return f"goto pc{insn.off:+d}"
    if code == JA32:
        return f"gotol pc{insn.imm:+d}"
    if code == _JCOND and insn.src == 0:
        return f"may_goto pc{insn.off:+d}"
    if code == BPF_JMP | BPF_EXIT:
        return "exit"
    reg = "w" if code & 7 == BPF_JMP32 else "r"
    other = f"{reg}{insn.src}" if code & BPF_X else f"0x{insn.imm & 0xFFFFFFFF:x}"
    return f"if {reg}{insn.dst} {_JUMPS.get(op, _CLASSES[code & 7])} {other} goto pc{insn.off:+d}"
