"""Changing a program's instructions to fit the kernel's types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import BtfError
from bpfctl.isa import insn, patch
from bpfctl.libbpf.core.match import Candidates, match
from bpfctl.libbpf.core.spec import CoreRelocation, RelocationKind, Spec, parse_spec
from bpfctl.libbpf.core.value import CoreError, Result, calculate

# A call that no kernel has, plus the number of the relocation: refused only if it is reached.
POISON_CALL = 195896080
_SHORT_MAX = 0x7FFF
_SIZES = {8: 0x18, 4: 0x00, 2: 0x08, 1: 0x10}
_BYTES = {code: nbytes for nbytes, code in _SIZES.items()}

Warn = Callable[[str], None]


@dataclass(slots=True)
class Target:
    """The kernel's types, and what is known of their names."""

    btf: Btf
    _candidates: Candidates | None = field(default=None)

    @property
    def candidates(self) -> Candidates:
        """The types by essential name."""
        if self._candidates is None:
            self._candidates = Candidates(self.btf)
        return self._candidates


def relocate_core(
    name: str,
    code: bytearray,
    relocations: list[CoreRelocation],
    local: Btf,
    target: Target,
    warn: Warn,
) -> None:
    """Do all CO-RE relocations of program ``name``.

    What the kernel does not have poisons its instruction.

    :raises CoreError: one cannot be done at all; ``warn`` has been told.
    """
    for number, relocation in enumerate(relocations):
        try:
            result = _resolve(name, number, relocation, local, target, warn)
            _patch(name, number, code, relocation, result, warn)
        except BtfError as exc:
            warn(
                f"prog '{name}': relo #{number}: parsing [{relocation.type_id}] "
                f"+ {relocation.access} failed: {-22}"
            )
            raise CoreError(22, exc.reason) from None
        except CoreError as exc:
            warn(f"prog '{name}': relo #{number}: failed to relocate: {-exc.errno}")
            raise


def _resolve(
    name: str, number: int, relocation: CoreRelocation, local: Btf, target: Target, warn: Warn
) -> Result:
    spec = parse_spec(local, relocation)
    if relocation.kind == RelocationKind.TYPE_ID_LOCAL:
        return calculate(relocation.kind, spec, None)
    declared = local.type(relocation.type_id)
    if not declared.name:
        warn(f"prog '{name}': relo #{number}: <{relocation.kind}> (0) relocation doesn't support "
             "anonymous types")
        raise CoreError(95, "an anonymous type")
    chosen: tuple[Spec, Result] | None = None
    for candidate in target.candidates.of(declared):
        try:
            found = match(spec, target.btf, candidate)
        except BtfError:
            found = None
        if found is None:
            continue
        result = calculate(relocation.kind, spec, found)
        if chosen is None:
            chosen = found, result
            continue
        _refuse_ambiguity(name, number, chosen, (found, result), warn)
    return calculate(relocation.kind, spec, None) if chosen is None else chosen[1]


def _refuse_ambiguity(
    name: str, number: int, one: tuple[Spec, Result], other: tuple[Spec, Result], warn: Warn
) -> None:
    if one[0].bit_offset != other[0].bit_offset:
        warn(
            f"prog '{name}': relo #{number}: field offset ambiguity: "
            f"{other[0].bit_offset} != {one[0].bit_offset}"
        )
        raise CoreError(22, "ambiguous offset")
    if (one[1].poison, one[1].new) != (other[1].poison, other[1].new):
        words = ["failure" if each[1].poison else "success" for each in (other, one)]
        warn(
            f"prog '{name}': relo #{number}: relocation decision ambiguity: "
            f"{words[0]} {other[1].new} != {words[1]} {one[1].new}"
        )
        raise CoreError(22, "ambiguous value")


def _patch(
    name: str,
    number: int,
    code: bytearray,
    relocation: CoreRelocation,
    result: Result,
    warn: Warn,
) -> None:
    at = relocation.insn
    wide = patch.opcode(code, at) == insn.LD_IMM64
    if result.poison:
        _poison(code, at, number, wide)
        return
    start = at * insn.INSN_BYTES
    word = insn.decode(code[start : start + insn.INSN_BYTES])
    kind = word.code & 7
    if kind in (insn.BPF_ALU, insn.BPF_ALU64):
        if word.code & insn.BPF_X:
            raise CoreError(22, "a register is to be relocated")
        _expect(name, number, at, "ALU/ALU64", word.imm & 0xFFFFFFFF, result, 32, warn)
        patch.set_imm(code, at, result.new)
    elif kind in (insn.BPF_LDX, insn.BPF_ST, insn.BPF_STX):
        _expect(name, number, at, "LDX/ST/STX", word.off, result, 64, warn)
        if result.new > _SHORT_MAX:
            warn(f"prog '{name}': relo #{number}: insn #{at} (LDX/ST/STX) value too big: "
                 f"{result.new}")
            raise CoreError(34, "the offset is too large")
        if result.bad_size:
            warn(
                f"prog '{name}': relo #{number}: insn #{at} (LDX/ST/STX) accesses field "
                "incorrectly. Make sure you are accessing pointers, unsigned integers, or fields "
                "of matching type and size."
            )
            _poison(code, at, number, wide)
            return
        code[start + 2 : start + 4] = result.new.to_bytes(2, "little")
        if result.new_size != result.old_size and result.new_size:
            _resize(name, number, code, at, word.code, result, warn)
    elif wide:
        value = (word.imm & 0xFFFFFFFF) | (patch.imm(code, at + 1) & 0xFFFFFFFF) << 32
        _expect(name, number, at, "LDIMM64", value, result, 64, warn)
        patch.set_imm(code, at, result.new)
        patch.set_imm(code, at + 1, result.new >> 32)
    else:
        warn(f"prog '{name}': relo #{number}: trying to relocate unrecognized insn #{at}, "
             f"code:0x{word.code:x}, src:0x{word.src:x}, dst:0x{word.dst:x}, "
             f"off:0x{word.off & 0xFFFF:x}, imm:0x{word.imm & 0xFFFFFFFF:x}")
        raise CoreError(22, "an instruction that cannot be relocated")


def _expect(
    name: str,
    number: int,
    at: int,
    what: str,
    value: int,
    result: Result,
    bits: int,
    warn: Warn,
) -> None:
    """Make sure that the compiler wrote what the object's own types say."""
    if result.validate and value != result.old & ((1 << bits) - 1):
        warn(
            f"prog '{name}': relo #{number}: unexpected insn #{at} ({what}) value: "
            f"got {value}, exp {result.old} -> {result.new}"
        )
        raise CoreError(22, "the instruction is not what its types say")


def _resize(
    name: str, number: int, code: bytearray, at: int, opcode: int, result: Result, warn: Warn
) -> None:
    if _BYTES[opcode & 0x18] != result.old_size:
        warn(f"prog '{name}': relo #{number}: insn #{at} (LDX/ST/STX) unexpected mem size: "
             f"got {_BYTES[opcode & 0x18]}, exp {result.old_size}")
        raise CoreError(22, "size of the access")
    if result.new_size not in _SIZES:
        warn(f"prog '{name}': relo #{number}: insn #{at} (LDX/ST/STX) invalid new mem size: "
             f"{result.new_size}")
        raise CoreError(22, "size of the field")
    code[at * insn.INSN_BYTES] = opcode & ~0x18 | _SIZES[result.new_size]


def _poison(code: bytearray, at: int, number: int, wide: bool) -> None:
    for place in (at, at + 1) if wide else (at,):
        start = place * insn.INSN_BYTES
        code[start : start + insn.INSN_BYTES] = insn.encode(
            insn.CALL, imm=POISON_CALL + number
        )


def explain(number: int, relocations: list[CoreRelocation], local: Btf) -> str:
    """Return how libbpf words relocation ``number``, for a log that stops at its instruction."""
    try:
        return parse_spec(local, relocations[number]).text()
    except (BtfError, IndexError):
        return ""
