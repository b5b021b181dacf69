"""What becomes of an accepted program: the instructions that ``prog dump xlated`` shows.

Mirrors what bpf_check() does after the walk: dead code goes, context accesses become accesses of
the kernel's structs, lookups and small helpers are written out. Engines run the program as it was
loaded; this one is only shown. Not modelled: rewriting of kernel functions beyond their calls, of
arenas, and inlined trampoline helpers.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bpfctl.isa.helper_names import helper_name
from bpfctl.isa.insn import CALL, JA, LD_IMM64, PSEUDO_BTF_ID, PSEUDO_CALL, PSEUDO_KFUNC_CALL, Insn
from bpfctl.kernel.bpf.helpers import by_id
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.verifier import fixups
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.blocks import Blocks, Piece
from bpfctl.kernel.bpf.verifier.convert import BY_POINTER, BY_TYPE
from bpfctl.kernel.bpf.verifier.convert.access import Access
from bpfctl.kernel.bpf.verifier.ctx import sock_access
from bpfctl.kernel.bpf.verifier.env import Env

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NOSPEC = Insn(0xC2, 0, 0, 0, 0)
NOP = Insn(JA, 0, 0, 0, 0)
TRAP = Insn(JA, 0, 0, -1, 0)
MODE_MASK, MEM, MEMSX = 0xE0, 0x60, 0x80
LDX, ST, STX = 1, 2, 3
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
WORDS = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
TC_ACT_SHOT, SK_DROP = 2, 0
_PROLOGUE = {"sched_cls": TC_ACT_SHOT, "sched_act": TC_ACT_SHOT, "sk_skb": SK_DROP}


@dataclass
class Rewritten:
    """The program as the kernel has it, calls of functions by distance.

    ``starts`` are its functions, ``symbols`` names kernel addresses by instruction, ``at`` says
    where each instruction that was loaded is now.
    """

    insns: list[Insn]
    starts: list[int]
    symbols: dict[int, str] = field(default_factory=dict)
    at: list[int] = field(default_factory=list)


@cache
def _file() -> dict[str, Any]:
    from bpfctl.kernel import profile

    path = os.path.join(os.path.dirname(profile.__file__), "profiles", "offsets.toml")
    with open(path, "rb") as source:
        return tomllib.load(source)


@cache
def offsets_of(profile: str) -> dict[str, int]:
    """Offsets of members of kernel structs, by "struct.member"."""
    data = _file()
    own = dict(data.get(profile, {}))
    base = own.pop("based_on", None)
    return {**(offsets_of(base) if base else data["all"]), **own}


class _Unknown(Exception):
    """The offset of a member was never measured on this kernel."""


class Rewriter:
    """The rewriting of one program."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.insns = list(env.insns)
        self.blocks = Blocks(self.insns)
        self.offsets = offsets_of(env.kernel.profile.name)
        self.traits = prog_rules(env.kernel.profile.name).traits
        self.ax = 12 if "ax_12" in self.traits else 11
        self.names: dict[int, list[tuple[int, str]]] = {}
        self.unmodelled: list[str] = []

    def run(self) -> Rewritten:
        """Do all of it."""
        self._inline_loops()
        self._dead_code()
        self._accesses()
        self._fixups()
        self._prologue()
        return self._finish()

    def _at(self, name: str) -> int:
        if name not in self.offsets:
            raise _Unknown(name)
        return self.offsets[name]

    def _name(self, index: int, place: int, name: str) -> None:
        if name:
            self.names.setdefault(index, []).append((place, name))

    # --- dead code --------------------------------------------------------------------

    def _dead_code(self) -> None:
        env, blocks = self.env, self.blocks
        if not env.bpf_capable:
            for index, aux in enumerate(env.aux):
                if not aux.seen and not self._second_slot(index):
                    blocks.blocks[index] = [Piece(TRAP)]
            return
        decided = self._decided() if "known_branches_gone" in self.traits else frozenset[int]()
        for index, insn in enumerate(self.insns):
            if index in decided and not insn.off:
                blocks.blocks[index] = [Piece(NOP, index + 1)]
            elif self._conditional(insn):
                self._hard_wire(index, insn)
        for index, aux in enumerate(env.aux):
            first = index - 1 if self._second_slot(index) else index
            if not env.aux[first].seen and not aux.seen:
                blocks.remove(index)
        self._remove_nops()

    def _second_slot(self, index: int) -> bool:
        return index > 0 and self.insns[index].code == 0 and self._is_wide(index - 1)

    def _is_wide(self, index: int) -> bool:
        return self.insns[index].code == LD_IMM64

    @staticmethod
    def _conditional(insn: Insn) -> bool:
        return insn.code & 7 in (5, 6) and insn.code & 0xF0 not in (0x00, 0x80, 0x90, 0xE0)

    def _decided(self) -> frozenset[int]:
        """Branches between constants of the same straight piece, which 7.3 settles beforehand."""
        targets = {piece.target for block in self.blocks.blocks for piece in block}
        known: set[int] = set()
        found = set()
        for index, insn in enumerate(self.insns):
            if index in targets:
                known.clear()
            cls, by_reg = insn.code & 7, bool(insn.code & 8)
            if self._conditional(insn):
                if insn.dst in known and (not by_reg or insn.src in known):
                    found.add(index)
            elif cls in (4, 7) and insn.code & 0xF0 == 0xB0 and not insn.off:
                constant = not by_reg or insn.src in known
                known = known | {insn.dst} if constant else known - {insn.dst}
            elif cls in (LDX, 0, 4, 7):
                known.discard(insn.dst)
            elif insn.code == CALL:
                known -= set(range(6))
        return frozenset(found)

    def _hard_wire(self, index: int, insn: Insn) -> None:
        aux = self.env.aux
        if not aux[index].seen:
            return
        target = index + 1 + insn.off
        if not aux[index + 1].seen:
            self.blocks.blocks[index] = [Piece(NOP, target)]
        elif not aux[target].seen:
            self.blocks.blocks[index] = [Piece(NOP, index + 1)]

    def _remove_nops(self) -> None:
        starts = self.blocks.starts()
        for index, block in enumerate(self.blocks.blocks):
            if len(block) != 1:
                continue
            insn, target = block[0]
            wired = insn.code == JA
            may_goto = insn.code == 0xE5 and insn.src == 0
            if (wired or may_goto) and target >= 0 and starts[target] == starts[index] + 1:
                self.blocks.remove(index)

    # --- accesses ------------------------------------------------------------------------

    def _accesses(self) -> None:
        for index, insn in enumerate(self.insns):
            block = self.blocks.blocks[index]
            if not block or insn.code == 0 or self._second_slot(index):
                continue
            aux = self.env.aux[index]
            cls, mode = insn.code & 7, insn.code & MODE_MASK
            access = cls in (LDX, ST, STX) and mode in (MEM, MEMSX)
            if access and not (cls != LDX and aux.nospec_result):
                self._access(index, insn, aux.ptr_type)
            block = self.blocks.blocks[index]
            if aux.nospec_result and cls in (ST, STX) and mode == MEM:
                block = [*block, Piece(NOSPEC)]
            if aux.nospec:
                block = [Piece(NOSPEC), *block]
            self.blocks.blocks[index] = block

    def _access(self, index: int, insn: Insn, ptr_type: int) -> None:
        write = insn.code & 7 != LDX
        base = ptr_type & rt.BASE
        size = SIZES[insn.code & 0x18]
        if base == rt.PTR_TO_CTX:
            convert = BY_TYPE.get(self.env.type.name)
            layout = self.env.type.ctx
            if convert is None or layout is None:
                return
            found = layout.access(
                insn.off, size, write, self.env.attach_type, self.env.bpf_capable, self.traits
            )
        elif base in BY_POINTER:
            convert = BY_POINTER[base]
            found = sock_access(base, insn.off, size)
        else:
            return
        field_size = found.field_size if found is not None else 0
        narrow = size < field_size
        loaded = insn
        if narrow:
            loaded = insn._replace(
                code=LDX | MEM | WORDS[field_size], off=insn.off & ~(field_size - 1)
            )
        acc = Access(loaded, self._at, self.traits)
        try:
            convert(acc)
        except (_Unknown, KeyError) as exc:
            self.unmodelled.append(f"{index}: {exc}")
            return
        if narrow and size < acc.target:
            shift = (insn.off & (field_size - 1)) * 8
            if shift:
                acc.alu(0x70, insn.dst, shift, wide=field_size > 4)
            acc.alu(0x50, insn.dst, (1 << size * 8) - 1 if size < 4 else -1, wide=False)
        if insn.code & MODE_MASK == MEMSX:
            acc.out.append(Insn(0xBF, insn.dst, insn.dst, size * 8, 0))
        self.blocks.replace(index, acc.out)

    def _prologue(self) -> None:
        name = self.env.type.name
        if not self.env.seen_direct_write or name not in _PROLOGUE:
            return
        first = self.blocks.blocks[0]
        patch = fixups.unclone_prologue(_PROLOGUE[name], NOP, self._at("sk_buff.cloned"))
        self.blocks.blocks[0] = [*(Piece(insn) for insn in patch[:-1]), *first]
        self.names[0] = [(place + 10, text) for place, text in self.names.get(0, [])]
        self._name(0, 5, "sk_skb_pull_data" if name == "sk_skb" else "bpf_skb_pull_data")

    # --- the rest ------------------------------------------------------------------------

    def _inline_loops(self) -> None:
        env = self.env
        for index, insn in enumerate(self.insns):
            if insn.code != CALL or insn.src or insn.imm != 181:
                continue
            extra = env.aux[index].extra or {}
            subprog = extra.get("loop_callback")
            if subprog is None or extra.get("loop_generic"):
                continue
            info = max(
                (sub for sub in env.subprogs if sub.start <= index), key=lambda sub: sub.start
            )
            base = -(-(-info.stack_depth // 8) * 8 + 24)
            patch, call = fixups.bpf_loop(insn, base)
            self.blocks.replace(index, patch)
            target = env.subprogs[subprog].start
            self.blocks.blocks[index][call] = Piece(patch[call], target)

    def _fixups(self) -> None:
        env = self.env
        for index, insn in enumerate(self.insns):
            block = self.blocks.blocks[index]
            if not block or block[0].insn == TRAP:
                continue
            if self._second_slot(index):
                continue
            code = insn.code
            if code == CALL:
                self._call(index, insn)
            elif code in fixups.DIVISIONS:
                checks = "signed_division_checks" in self.traits
                self.blocks.replace(index, fixups.division(insn, checks, self.ax))
            elif code & 0xF0 in (0x30, 0x90) and code & 7 in (4, 7) and insn.off == 1:
                if insn.imm == -1 and "signed_division_checks" in self.traits:
                    self.blocks.replace(index, fixups.by_minus_one(insn))
            elif code & 7 == 0 and code & MODE_MASK in (0x20, 0x40):
                patch, name = fixups.packet_load(insn)
                self.blocks.replace(index, patch)
                self._name(index, patch.index(fixups.HELPER_CALL), name)
            elif code in (0x0F, 0x1F) and env.aux[index].alu_state:
                self._masked(index, insn)

    def _masked(self, index: int, insn: Insn) -> None:
        aux = self.env.aux[index]
        if aux.alu_state == fixups.NON_POINTER:
            return
        self.blocks.replace(index, fixups.masked(insn, aux.alu_state, aux.alu_limit, self.ax))

    def _call(self, index: int, insn: Insn) -> None:
        if insn.src == PSEUDO_CALL or len(self.blocks.blocks[index]) > 2:
            return
        if insn.src == PSEUDO_KFUNC_CALL:
            self._set(index, [insn._replace(imm=0)])
            return
        helper = by_id(insn.imm)
        if helper is None:
            return
        name = helper.name
        aux = self.env.aux[index]
        extra = aux.extra or {}
        if name == "tail_call":
            self._tail_call(index, insn)
        elif name in fixups.MAP_OPS and self._known_map(name):
            if extra.get("map_poisoned") or aux.map is None:
                self._set(index, [fixups.HELPER_CALL], helper_name(insn.imm) or "")
                return
            patch, symbol = fixups.map_call(self.env, name, aux.map, self.offsets, self.traits)
            self._set(index, patch, symbol)
        else:
            patch, symbol = self._helper(name, insn)
            self._set(index, patch, symbol)

    def _known_map(self, name: str) -> bool:
        if name in ("redirect_map", "for_each_map_elem", "map_lookup_percpu_elem"):
            return "map_ops_all" in self.traits
        return True

    def _set(self, index: int, patch: list[Insn], symbol: str = "") -> None:
        before = [piece for piece in self.blocks.blocks[index] if piece.insn == NOSPEC]
        number = self.insns[index].imm
        patch = [
            insn._replace(imm=number) if insn == fixups.HELPER_CALL else insn for insn in patch
        ]
        self.blocks.blocks[index] = [*before, *(Piece(insn) for insn in patch)]
        if symbol:
            for place, insn in enumerate(patch):
                if insn.code in (CALL, LD_IMM64):
                    self._name(index, place + len(before), symbol)
                    break

    def _tail_call(self, index: int, insn: Insn) -> None:
        env = self.env
        aux = env.aux[index]
        if env.bypass_spec_v1 or aux.map is None:
            return
        entries = aux.map.max_entries
        mask = fixups._index_mask(entries)
        self._set(
            index,
            [fixups.jmp(0x30, 3, entries, 2), fixups.alu(0x50, 3, mask, 4), insn],
        )

    def _helper(self, name: str, insn: Insn) -> tuple[list[Insn], str]:
        """A helper's call, with what the release puts before it or writes in its place."""
        symbol = f"bpf_{name}"
        if name == "jiffies64":
            return [*fixups.load_address(), fixups.ldx(0x18, 0, 0, 0)], "jiffies"
        if name == "get_smp_processor_id" and "inline_cpu_number" in self.traits:
            return [
                fixups.alu(0xB0, 0, 0, 4), fixups.alu_x(0xB0, 0, 0, 7, fixups.PERCPU),
                fixups.ldx(0x00, 0, 0, 0),
            ], ""  # fmt: skip
        if name.startswith("get_current_task") and "inline_current_task" in self.traits:
            return [
                fixups.alu(0xB0, 0, self._at("const.current_task")),
                fixups.alu_x(0xB0, 0, 0, 7, fixups.PERCPU), fixups.ldx(0x18, 0, 0, 0),
            ], ""  # fmt: skip
        if name.endswith("_storage_get") and "storage_gfp" in self.traits:
            gfp = 0xCC0 if self.env.sleepable else self._at("const.gfp_atomic")
            return [fixups.alu(0xB0, 5, gfp), fixups.HELPER_CALL], symbol
        if name == "timer_set_callback" and "timer_prog_aux" in self.traits:
            return [Insn(LD_IMM64, 3, 0, 0, 0), Insn(0, 0, 0, 0, 0), fixups.HELPER_CALL], symbol
        if name == "kptr_xchg" and "inline_kptr_xchg" in self.traits:
            return [fixups.alu_x(0xB0, 0, 2), Insn(0xDB, 1, 0, 0, 0xE1)], ""
        return [fixups.HELPER_CALL], symbol

    # --- the result --------------------------------------------------------------------------

    def _finish(self) -> Rewritten:
        env = self.env
        starts = self.blocks.starts()
        insns: list[Insn] = []
        laid_out = self.blocks.laid_out()
        symbols: dict[int, str] = {}
        for index, block in enumerate(self.blocks.blocks):
            for place in range(len(block)):
                insns.append(self._resolved(laid_out[starts[index] + place], index))
            for place, name in self.names.get(index, []):
                symbols[starts[index] + place] = name
        live = [starts[sub.start] for sub in env.subprogs if self._has_code(sub.start)]
        return Rewritten(insns, live, symbols, starts[:-1])

    def _has_code(self, start: int) -> bool:
        ends = [*sorted(sub.start for sub in self.env.subprogs), len(self.insns)]
        end = ends[ends.index(start) + 1]
        return any(self.blocks.blocks[start:end])

    def _resolved(self, insn: Insn, index: int) -> Insn:
        """Put the id of a map in the place of its descriptor."""
        if insn.code != LD_IMM64:
            return insn
        map_ = self.env.map_of_insn.get(index) or self.env.aux[index].map
        if insn.src in (1, 2, 5, 6) and map_ is not None:
            kind = 2 if insn.src in (2, 6) else 1
            return insn._replace(src=kind, imm=map_.id)
        return insn._replace(src=0, imm=0) if insn.src == PSEUDO_BTF_ID else insn


def rewrite(env: Env) -> Rewritten:
    """Rewrite an accepted program as the kernel of its profile does."""
    return Rewriter(env).run()
