"""An assembler for the notation of the verifier's log: tests, tools and examples.

Instructions stand one a line or are joined by ``;``; a ``#`` begins a comment where a line does not
call anything. The notation is what :mod:`bpfctl.isa.disasm` writes, opcode numbers in front left
away, and for what the kernel has no name:

``map[N]``, ``map[N]+OFF``
    address of map N, of a byte of its value (ld_imm64; N is what the imm holds)
``btfid[N]``, ``func pc+N``
    kernel variable N, function at a distance (ld_imm64)
``N ll``
    a 64-bit number
``kfunc[N]``
    kernel function N (call)
``.insn CODE DST SRC OFF IMM``
    one slot as it is
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from struct import error as struct_error

from bpfctl.isa import opcodes as op
from bpfctl.isa.disasm import (
    ALU_SIGNS,
    FETCH_NAMES,
    JUMP_SIGNS,
    SIGNED_ALU_SIGNS,
    SIGNED_SIZE_NAMES,
    SIZE_NAMES,
)
from bpfctl.isa.helper_names import HELPERS
from bpfctl.isa.insn import (
    BPF_ALU,
    BPF_ALU64,
    BPF_JMP,
    BPF_JMP32,
    BPF_LD,
    BPF_LDX,
    BPF_ST,
    BPF_STX,
    BPF_X,
    CALL,
    EXIT,
    JA,
    JA32,
    LD_IMM64,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    encode,
)


class AsmError(ValueError):
    """A text is no instruction; says which."""


_ALU_OPS = {sign: (code, 0) for code, sign in ALU_SIGNS.items() if code in op.BINARY_ALU} | {
    sign: (code, op.SIGNED_OFF) for code, sign in SIGNED_ALU_SIGNS.items()
}
_JUMP_OPS = {sign: code for code, sign in JUMP_SIGNS.items() if code in op.COMPARES}
_SIZES = {name: code for code, name in SIZE_NAMES.items()}
_SIGNED_SIZES = {name: code for code, name in SIGNED_SIZE_NAMES.items()}
_FETCHES = {name: code for code, name in FETCH_NAMES.items()}
_LOCKS = {ALU_SIGNS[code]: code for code in FETCH_NAMES}
_OPCODE = re.compile(r"\([0-9a-f]{2}\)\s+")


def _any_of(words: Iterable[str]) -> str:
    """Return a group that matches one of ``words``, the longest that fits."""
    return f"({'|'.join(re.escape(word) for word in sorted(words, key=len, reverse=True))})"


# The parts of the patterns below.
_PARTS = {
    "REG": r"(r\d+)",
    "ANY": r"([rw]\d+)",
    "NUM": r"([+-]?(?:0x[0-9a-fA-F]+|\d+))",
    "PC": r"pc\s*([+-](?:0x[0-9a-fA-F]+|\d+))",
    "SIZE": "(u8|u16|u32|u64)",
    "SSIZE": "(s8|s16|s32|s64)",
    "PLACE": r"\((u8|u16|u32|u64) \*\)\((r\d+)\s*([+-]\s*(?:0x[0-9a-fA-F]+|\d+))\)",
    "ALU": "("
    + "|".join(re.escape(sign) for sign in sorted(_ALU_OPS, key=len, reverse=True))
    + ")",
    "CMP": "("
    + "|".join(re.escape(sign) for sign in sorted(_JUMP_OPS, key=len, reverse=True))
    + ")",
    "LOCK": "(" + "|".join(re.escape(sign) for sign in _LOCKS) + ")",
    "FETCH": "(" + "|".join(_FETCHES) + ")",
}

Builder = Callable[..., bytes]
_FORMS: list[tuple[str, Builder]] = []


def _form(pattern: str) -> Callable[[Builder], Builder]:
    """Declare what a notation stands for; blanks in ``pattern`` match any number of blanks."""

    def declare(build: Builder) -> Builder:
        _FORMS.append((pattern, build))
        return build

    return declare


@cache
def _forms() -> tuple[tuple[re.Pattern[str], Builder], ...]:
    """Return the notations compiled."""
    compiled = []
    for pattern, build in _FORMS:
        text = re.sub(r"<(\w+)>", lambda found: _PARTS[found[1]], pattern.replace(" ", r"\s*"))
        compiled.append((re.compile(text), build))
    return tuple(compiled)


def _reg(name: str) -> int:
    number = int(name[1:])
    if number > 15:
        raise AsmError(f"no register {name}")
    return number


def _num(text: str) -> int:
    return int(text.replace(" ", ""), 0)


def _wide(reg: str) -> bool:
    return reg[0] == "r"


def _ld_imm64(dst: str, src: int, low: int, high: int = 0) -> bytes:
    return encode(LD_IMM64, _reg(dst), src, 0, low) + encode(0, imm=high)


@_form("exit")
def _exit() -> bytes:
    return encode(EXIT)


@_form(r"<ANY> <ALU> <NUM>")
def _alu_imm(dst: str, sign: str, value: str) -> bytes:
    code, off = _ALU_OPS[sign]
    return encode((BPF_ALU64 if _wide(dst) else BPF_ALU) | code, _reg(dst), 0, off, _num(value))


@_form(r"<ANY> <ALU> <ANY>")
def _alu_reg(dst: str, sign: str, src: str) -> bytes:
    code, off = _ALU_OPS[sign]
    cls = BPF_ALU64 if _wide(dst) else BPF_ALU
    return encode(cls | code | BPF_X, _reg(dst), _reg(src), off)


@_form(r"<ANY> = \(s(8|16|32)\) <ANY>")
def _movsx(dst: str, bits: str, src: str) -> bytes:
    cls = BPF_ALU64 if _wide(dst) else BPF_ALU
    return encode(cls | op.MOV | BPF_X, _reg(dst), _reg(src), int(bits))


@_form(r"<ANY> = - <ANY>")
def _neg(dst: str, src: str) -> bytes:
    if dst != src:
        raise AsmError(f"{dst} = -{src}: both are the same register")
    return encode((BPF_ALU64 if _wide(dst) else BPF_ALU) | op.NEG, _reg(dst))


@_form(r"<REG> = (be|le|bswap)(\d+) <REG>")
def _swap(dst: str, kind: str, bits: str, src: str) -> bytes:
    if dst != src:
        raise AsmError(f"{dst} = {kind}{bits} {src}: both are the same register")
    codes = {"le": BPF_ALU, "be": BPF_ALU | BPF_X, "bswap": BPF_ALU64}
    return encode(codes[kind] | op.END, _reg(dst), imm=int(bits))


@_form(r"<REG> = addr_space_cast\( <REG> , <NUM> , <NUM> \)")
def _cast(dst: str, src: str, to: str, origin: str) -> bytes:
    imm = _num(to) << 16 | _num(origin)
    return encode(BPF_ALU64 | op.MOV | BPF_X, _reg(dst), _reg(src), op.ADDR_SPACE_CAST, imm)


@_form(r"<REG> = &\(void __percpu \*\)\( <REG> \)")
def _percpu(dst: str, src: str) -> bytes:
    return encode(BPF_ALU64 | op.MOV | BPF_X, _reg(dst), _reg(src), op.ADDR_PERCPU)


@_form(r"<ANY> = \*\((u8|u16|u32|u64|s8|s16|s32|s64) \*\)\( <REG> <NUM> \)")
def _load(dst: str, size: str, src: str, off: str) -> bytes:
    if size in _SIZES:
        code = BPF_LDX | op.MEM | _SIZES[size]
    else:
        code = BPF_LDX | op.MEMSX | _SIGNED_SIZES[size]
    return encode(code, _reg(dst), _reg(src), _num(off))


@_form(r"\*<PLACE> = <ANY>")
def _store(size: str, dst: str, off: str, src: str) -> bytes:
    return encode(BPF_STX | op.MEM | _SIZES[size], _reg(dst), _reg(src), _num(off))


@_form(r"\*<PLACE> = <NUM>")
def _store_imm(size: str, dst: str, off: str, value: str) -> bytes:
    return encode(BPF_ST | op.MEM | _SIZES[size], _reg(dst), 0, _num(off), _num(value))


@_form("nospec")
def _nospec() -> bytes:
    return encode(BPF_ST | op.NOSPEC)


def _atomic(size: str, dst: str, off: str, src: str, imm: int) -> bytes:
    return encode(BPF_STX | op.ATOMIC | _SIZES[size], _reg(dst), _reg(src), _num(off), imm)


@_form(r"lock \*<PLACE> <LOCK> <ANY>")
def _lock(size: str, dst: str, off: str, sign: str, src: str) -> bytes:
    return _atomic(size, dst, off, src, _LOCKS[sign])


@_form(r"<ANY> = atomic(?:64)?_fetch_<FETCH>\( <PLACE> , <ANY> \)")
def _fetch(_: str, name: str, size: str, dst: str, off: str, src: str) -> bytes:
    return _atomic(size, dst, off, src, _FETCHES[name] | op.FETCH)


@_form(r"<ANY> = atomic(?:64)?_xchg\( <PLACE> , <ANY> \)")
def _xchg(_: str, size: str, dst: str, off: str, src: str) -> bytes:
    return _atomic(size, dst, off, src, op.XCHG)


@_form(r"[rw]0 = atomic(?:64)?_cmpxchg\( <PLACE> , [rw]0 , <ANY> \)")
def _cmpxchg(size: str, dst: str, off: str, src: str) -> bytes:
    return _atomic(size, dst, off, src, op.CMPXCHG)


@_form(r"<ANY> = load_acquire\( <PLACE> \)")
def _load_acquire(dst: str, size: str, src: str, off: str) -> bytes:
    return _atomic(size, dst, off, src, op.LOAD_ACQ)


@_form(r"store_release\( <PLACE> , <ANY> \)")
def _store_release(size: str, dst: str, off: str, src: str) -> bytes:
    return _atomic(size, dst, off, src, op.STORE_REL)


@_form(r"r0 = \*\(<SIZE> \*\)skb\[ <NUM> \]")
def _ld_abs(size: str, off: str) -> bytes:
    return encode(BPF_LD | op.ABS | _SIZES[size], imm=_num(off))


@_form(r"r0 = \*\(<SIZE> \*\)skb\[ <REG> \+ (-?(?:0x[0-9a-fA-F]+|\d+)) \]")
def _ld_ind(size: str, src: str, off: str) -> bytes:
    return encode(BPF_LD | op.IND | _SIZES[size], 0, _reg(src), 0, _num(off))


@_form(r"<REG> = <NUM> ll")
def _wide_imm(dst: str, value: str) -> bytes:
    number = _num(value)
    return _ld_imm64(dst, 0, number, number >> 32)


@_form(r"<REG> = map\[ <NUM> \]")
def _map(dst: str, number: str) -> bytes:
    return _ld_imm64(dst, PSEUDO_MAP_FD, _num(number))


@_form(r"<REG> = map\[ <NUM> \]<NUM>")
def _map_value(dst: str, number: str, off: str) -> bytes:
    return _ld_imm64(dst, PSEUDO_MAP_VALUE, _num(number), _num(off))


@_form(r"<REG> = btfid\[ <NUM> \]")
def _btf_id(dst: str, number: str) -> bytes:
    return _ld_imm64(dst, PSEUDO_BTF_ID, _num(number))


@_form(r"<REG> = func <PC>")
def _func(dst: str, distance: str) -> bytes:
    return _ld_imm64(dst, PSEUDO_FUNC, _num(distance))


@_form("goto <PC>")
def _goto(distance: str) -> bytes:
    return encode(JA, off=_num(distance))


@_form("gotol <PC>")
def _gotol(distance: str) -> bytes:
    return encode(JA32, imm=_num(distance))


@_form("may_goto <PC>")
def _may_goto(distance: str) -> bytes:
    return encode(op.JCOND, off=_num(distance))


@_form("if <ANY> <CMP> <ANY> goto <PC>")
def _if_reg(dst: str, sign: str, src: str, distance: str) -> bytes:
    cls = BPF_JMP if _wide(dst) else BPF_JMP32
    return encode(cls | _JUMP_OPS[sign] | BPF_X, _reg(dst), _reg(src), _num(distance))


@_form("if <ANY> <CMP> <NUM> goto <PC>")
def _if_imm(dst: str, sign: str, value: str, distance: str) -> bytes:
    cls = BPF_JMP if _wide(dst) else BPF_JMP32
    return encode(cls | _JUMP_OPS[sign], _reg(dst), 0, _num(distance), _num(value))


@_form("call <PC>")
def _call_function(distance: str) -> bytes:
    return encode(CALL, src=PSEUDO_CALL, imm=_num(distance))


@_form(r"call kfunc\[ <NUM> \]")
def _call_kfunc(number: str) -> bytes:
    return encode(CALL, src=PSEUDO_KFUNC_CALL, imm=_num(number))


@_form("call <NUM>")
def _call_number(number: str) -> bytes:
    return encode(CALL, imm=_num(number))


@_form(r"call \w+#<NUM>")
def _call_numbered(number: str) -> bytes:
    return encode(CALL, imm=_num(number))


@_form(r"call (?:bpf_)?([a-z]\w*)")
def _call_helper(name: str) -> bytes:
    if name not in HELPERS:
        raise AsmError(f"no helper {name}")
    return encode(CALL, imm=HELPERS.index(name))


@_form(r"\.insn <NUM>\s+<NUM>\s+<NUM>\s+<NUM>\s+<NUM>")
def _slot(*numbers: str) -> bytes:
    code, dst, src, off, imm = map(_num, numbers)
    return encode(code, dst, src, off, imm)


def _statements(text: str) -> Iterator[str]:
    for line in text.splitlines():
        for statement in re.sub(r"(?:^|\s)#.*", "", line).split(";"):
            if statement.strip():
                yield _OPCODE.sub("", statement.strip(), count=1)


def assemble_one(statement: str) -> bytes:
    """Return one instruction (8 bytes, 16 for a ld_imm64).

    :raises AsmError: it is none.
    """
    for pattern, build in _forms():
        found = pattern.fullmatch(statement)
        if found:
            try:
                return build(*found.groups())
            except (KeyError, OverflowError, struct_error) as exc:
                raise AsmError(f"{statement}: a number does not fit") from exc
    raise AsmError(f"not an instruction: {statement}")


def assemble(text: str) -> bytes:
    """Return the instructions that ``text`` spells.

    :raises AsmError: a part of it is no instruction.
    """
    return b"".join(assemble_one(statement) for statement in _statements(text))
