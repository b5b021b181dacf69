"""What calls, divisions and checked arithmetic become (do_misc_fixups)."""

from __future__ import annotations

from bpfctl.isa.insn import CALL, EXIT, LD_IMM64, Insn
from bpfctl.kernel.bpf.verifier.env import Env, VMap
from bpfctl.kernel.bpf.verifier.names import lookup_name, op_name

ALU, ALU64, JMP, JMP32, LDX, ST, STX = 4, 7, 5, 6, 1, 2, 3
K, X = 0, 8
ADD, SUB, MUL, DIV, OR, AND, LSH, NEG = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x80
MOD, XOR, MOV, ARSH = 0x90, 0xA0, 0xB0, 0xC0
JEQ, JGT, JGE, JNE, JSGE = 0x10, 0x20, 0x30, 0x50, 0x70
W, H, B, DW = 0x00, 0x08, 0x10, 0x18
MEM = 0x60
PERCPU = -1
"""Offset that makes a MOV the address of this CPU's copy (BPF_ADDR_PERCPU)."""
MAX_LOOPS = 8 * 1024 * 1024
LRU_REF = 35
HTAB_KEY = 48

HELPER_CALL = Insn(CALL, 0, 0, 0, 0)
"""A call into the kernel: there are no addresses, so the helper's number stands for one."""


def ldx(size: int, dst: int, src: int, off: int) -> Insn:
    """``dst = *(size *)(src + off)``."""
    return Insn(LDX | MEM | size, dst, src, off, 0)


def stx(size: int, dst: int, src: int, off: int) -> Insn:
    """``*(size *)(dst + off) = src``."""
    return Insn(STX | MEM | size, dst, src, off, 0)


def alu(op: int, dst: int, imm: int, cls: int = ALU64) -> Insn:
    """``dst op= imm``."""
    return Insn(cls | op, dst, 0, 0, imm)


def alu_x(op: int, dst: int, src: int, cls: int = ALU64, off: int = 0) -> Insn:
    """``dst op= src``."""
    return Insn(cls | op | X, dst, src, off, 0)


def jmp(op: int, dst: int, imm: int, off: int, cls: int = JMP) -> Insn:
    """Skip ``off`` instructions if ``dst op imm``."""
    return Insn(cls | op, dst, 0, off, imm)


def ja(off: int) -> Insn:
    """Skip ``off`` instructions."""
    return Insn(JMP, 0, 0, off, 0)


# --- division ----------------------------------------------------------------------------

DIVISIONS = frozenset(cls | op | X for cls in (ALU, ALU64) for op in (DIV, MOD))


def division(insn: Insn, signed_checks: bool, ax: int) -> list[Insn]:
    """A division by a register, that cannot trap any more."""
    wide = insn.code & 7 == ALU64
    cls = ALU64 if wide else ALU
    jump = JMP if wide else JMP32
    div = insn.code & 0xF0 == DIV
    if insn.off and signed_checks:
        return _signed_division(insn, wide, cls, jump, div, ax)
    if div:
        return [
            jmp(JNE, insn.src, 0, 2, jump), alu_x(XOR, insn.dst, insn.dst, ALU), ja(1), insn,
        ]  # fmt: skip
    skip = jmp(JEQ, insn.src, 0, 1 if wide else 2, jump)
    if wide:
        return [skip, insn]
    return [skip, insn, ja(1), alu_x(MOV, insn.dst, insn.dst, ALU)]


def _signed_division(insn: Insn, wide: bool, cls: int, jump: int, div: bool, ax: int) -> list[Insn]:
    head = [alu_x(MOV, ax, insn.src), alu(ADD, ax, 1, cls)]
    if div:
        return [
            *head, jmp(JGT, ax, 1, 4, jump), jmp(JEQ, ax, 0, 1, jump), alu(MOV, insn.dst, 0, cls),
            Insn(cls | NEG, insn.dst, 0, 0, 0), ja(1), insn,
        ]  # fmt: skip
    tail = [] if wide else [ja(1), alu_x(MOV, insn.dst, insn.dst, ALU)]
    return [
        *head, jmp(JGT, ax, 1, 3, jump), jmp(JEQ, ax, 1, 3 if wide else 4, jump),
        alu(MOV, insn.dst, 0, ALU), ja(1), insn, *tail,
    ]  # fmt: skip


def by_minus_one(insn: Insn) -> list[Insn]:
    """A signed division by -1 (imm), which would trap for the least number."""
    if insn.code & 0xF0 == DIV:
        cls = insn.code & 7
        return [Insn(cls | NEG, insn.dst, 0, 0, 0)]
    return [alu(MOV, insn.dst, 0, ALU)]


# --- pointer arithmetic under speculation ----------------------------------------------------

SANITIZE_SRC, SANITIZE_DST, NEG_VALUE, NON_POINTER, IMMEDIATE = 1, 2, 4, 8, 16


def masked(insn: Insn, state: int, limit: int, ax: int) -> list[Insn]:
    """Pointer arithmetic whose offset is masked in case it is speculated upon."""
    neg, imm = bool(state & NEG_VALUE), bool(state & IMMEDIATE)
    from_src = bool(state & SANITIZE_SRC)
    off_reg = insn.src if from_src else insn.dst
    patch = []
    if imm:
        patch.append(alu(MOV, ax, limit, ALU))
    else:
        if neg:
            patch.append(alu(MUL, off_reg, -1))
        patch += [
            alu(MOV, ax, limit, ALU), alu_x(SUB, ax, off_reg), alu_x(OR, ax, off_reg),
            alu(NEG, ax, 0), alu(ARSH, ax, 63), alu_x(AND, ax, off_reg),
        ]  # fmt: skip
    if not from_src:
        patch.append(alu_x(MOV, insn.dst, insn.src))
    code = insn.code
    if neg:
        code = ALU64 | X | (SUB if insn.code & 0xF0 == ADD else ADD)
    patch.append(insn._replace(code=code, src=ax))
    if from_src and neg and not imm:
        patch.append(alu(MUL, off_reg, -1))
    return patch


# --- packet loads ---------------------------------------------------------------------------


def packet_load(insn: Insn) -> tuple[list[Insn], str]:
    """A classic packet load, and the kernel function that it calls (bpf_gen_ld_abs)."""
    patch = []
    if insn.code & 0xE0 == 0x20:
        patch.append(alu(MOV, 2, insn.imm))
    else:
        patch.append(alu_x(MOV, 2, insn.src))
        if insn.imm:
            patch.append(alu(ADD, 2, insn.imm))
    bits = {W: 32, H: 16, B: 8}[insn.code & 0x18]
    patch += [
        alu_x(MOV, 1, 6), HELPER_CALL, jmp(JSGE, 0, 0, 2), alu_x(XOR, 0, 0, ALU),
        Insn(EXIT, 0, 0, 0, 0),
    ]  # fmt: skip
    return patch, f"bpf_skb_load_helper_{bits}_no_cache"


# --- map lookups ----------------------------------------------------------------------------


def _round8(size: int) -> int:
    return -(-size // 8) * 8


def _index_mask(entries: int) -> int:
    return (1 << max(entries - 1, 0).bit_length()) - 1


def _bound(map_: VMap, skip: int, masks: bool) -> list[Insn]:
    if not masks:
        return [jmp(JGE, 0, map_.max_entries, skip)]
    mask = _index_mask(map_.max_entries)
    return [jmp(JGE, 0, map_.max_entries, skip + 1), alu(AND, 0, mask, ALU)]


def _array(env: Env, map_: VMap, offsets: dict[str, int], masks: bool) -> list[Insn]:
    size = _round8(map_.value_size)
    power = size & (size - 1) == 0
    scale = alu(LSH, 0, size.bit_length() - 1) if power else alu(MUL, 0, size)
    return [
        alu(ADD, 1, offsets["bpf_array.value"]), ldx(W, 0, 2, 0), *_bound(map_, 3, masks), scale,
        alu_x(ADD, 0, 1), ja(1), alu(MOV, 0, 0),
    ]  # fmt: skip


def _percpu_array(env: Env, map_: VMap, offsets: dict[str, int], masks: bool) -> list[Insn]:
    return [
        alu(ADD, 1, offsets["bpf_array.value"]), ldx(W, 0, 2, 0), *_bound(map_, 5, masks),
        alu(LSH, 0, 3), alu_x(ADD, 0, 1), ldx(DW, 0, 0, 0), alu_x(MOV, 0, 0, ALU64, PERCPU),
        ja(1), alu(MOV, 0, 0),
    ]  # fmt: skip


def _array_of_maps(env: Env, map_: VMap, offsets: dict[str, int], masks: bool) -> list[Insn]:
    return [
        alu(ADD, 1, offsets["bpf_array.value"]), ldx(W, 0, 2, 0), *_bound(map_, 5, masks),
        alu(LSH, 0, 3), alu_x(ADD, 0, 1), ldx(DW, 0, 0, 0), jmp(JEQ, 0, 0, 1), ja(1),
        alu(MOV, 0, 0),
    ]  # fmt: skip


def _value(map_: VMap) -> Insn:
    return alu(ADD, 0, HTAB_KEY + _round8(map_.key_size))


def _hash(env: Env, map_: VMap, offsets: dict[str, int], masks: bool) -> list[Insn]:
    return [HELPER_CALL, jmp(JEQ, 0, 0, 1), _value(map_)]


def _lru_hash(env: Env, map_: VMap, offsets: dict[str, int], masks: bool) -> list[Insn]:
    return [
        HELPER_CALL, jmp(JEQ, 0, 0, 4), ldx(B, 1, 0, LRU_REF), jmp(JNE, 1, 0, 1),
        Insn(ST | MEM | B, 0, 0, LRU_REF, 1), _value(map_),
    ]  # fmt: skip


def _percpu_hash(env: Env, map_: VMap, offsets: dict[str, int], masks: bool) -> list[Insn]:
    return [
        HELPER_CALL, jmp(JEQ, 0, 0, 3), _value(map_), ldx(DW, 0, 0, 0),
        alu_x(MOV, 0, 0, ALU64, PERCPU),
    ]  # fmt: skip


def _hash_of_maps(env: Env, map_: VMap, offsets: dict[str, int], masks: bool) -> list[Insn]:
    return [HELPER_CALL, jmp(JEQ, 0, 0, 2), _value(map_), ldx(DW, 0, 0, 0)]


def _xskmap(env: Env, map_: VMap, offsets: dict[str, int], masks: bool) -> list[Insn]:
    cls = JMP32 if "xskmap_jmp32" in env.traits else JMP
    return [
        ldx(W, 0, 2, 0), jmp(JGE, 0, map_.max_entries, 5, cls), alu(LSH, 0, 3),
        alu(ADD, 1, offsets["xsk_map.xsk_map"]), alu_x(ADD, 0, 1), ldx(DW, 0, 0, 0), ja(1),
        alu(MOV, 0, 0),
    ]  # fmt: skip


LOOKUPS = {
    "array": _array,
    "percpu_array": _percpu_array,
    "array_of_maps": _array_of_maps,
    "hash": _hash,
    "lru_hash": _lru_hash,
    "percpu_hash": _percpu_hash,
    "hash_of_maps": _hash_of_maps,
    "xskmap": _xskmap,
}
BPF_F_INNER_MAP = 1 << 12
_PERCPU = ("percpu_array", "percpu_hash")

MAP_OPS = {
    "map_lookup_elem": "lookup_elem", "map_update_elem": "update_elem",
    "map_delete_elem": "delete_elem", "map_push_elem": "push_elem", "map_pop_elem": "pop_elem",
    "map_peek_elem": "peek_elem", "redirect_map": "redirect",
    "for_each_map_elem": "for_each_callback", "map_lookup_percpu_elem": "lookup_percpu_elem",
}  # fmt: skip


def map_call(
    env: Env, name: str, map_: VMap, offsets: dict[str, int], traits: frozenset[str]
) -> tuple[list[Insn], str]:
    """A call of a map's own function, or a lookup written out; and the name of what is called."""
    if name == "map_lookup_elem":
        build = LOOKUPS.get(map_.type)
        inner = map_.type in ("array", "percpu_array") and map_.flags & BPF_F_INNER_MAP
        plain_percpu = map_.type in _PERCPU and "inline_percpu" not in traits
        if build is not None and not inner and not plain_percpu:
            patch = build(env, map_, offsets, not env.bypass_spec_v1)
            return patch, lookup_name(map_.type)
    return [HELPER_CALL], op_name(map_.type, MAP_OPS[name])


# --- helpers written out ----------------------------------------------------------------------


def load_address() -> list[Insn]:
    """``r0 = ADDRESS ll``: an address of the kernel, shown as 0."""
    return [Insn(LD_IMM64, 0, 0, 0, 0), Insn(0, 0, 0, 0, 0)]


def bpf_loop(insn: Insn, stack_base: int) -> tuple[list[Insn], int]:
    """A loop around calls of the callback; also where in the patch it is called."""
    r6, r7, r8 = stack_base, stack_base + 8, stack_base + 16
    patch = [
        jmp(0xB0, 1, MAX_LOOPS, 2), alu(MOV, 0, -7, ALU), ja(16),
        stx(DW, 10, 6, r6), stx(DW, 10, 7, r7), stx(DW, 10, 8, r8),
        alu_x(MOV, 6, 1), alu(MOV, 7, 0, ALU), alu_x(MOV, 8, 3),
        Insn(JMP | JGE | X, 7, 6, 5, 0), alu_x(MOV, 1, 7), alu_x(MOV, 2, 8),
        Insn(CALL, 0, 1, 0, 0), alu(ADD, 7, 1), jmp(JEQ, 0, 0, -6), alu_x(MOV, 0, 7),
        ldx(DW, 6, 10, r6), ldx(DW, 7, 10, r7), ldx(DW, 8, 10, r8),
    ]  # fmt: skip
    return patch, 12


def unclone_prologue(drop: int, first: Insn, cloned: int) -> list[Insn]:
    """What runs before a program that writes to packets (bpf_unclone_prologue)."""
    return [
        ldx(B, 6, 1, cloned), alu(AND, 6, 1, ALU), jmp(JEQ, 6, 0, 7), alu_x(MOV, 6, 1),
        alu_x(XOR, 2, 2), HELPER_CALL, jmp(JEQ, 0, 0, 2), alu(MOV, 0, drop, ALU),
        Insn(EXIT, 0, 0, 0, 0), alu_x(MOV, 1, 6), first,
    ]  # fmt: skip
