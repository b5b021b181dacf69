"""All types of a BTF as a C header that compiles: each one after what it needs."""

from __future__ import annotations

from collections.abc import Iterable

from bpfctl.btf.c_decl import MAX_DEPTH, Speller
from bpfctl.btf.parse import Btf, references
from bpfctl.btf.types import (
    MODIFIERS,
    Array,
    BtfError,
    BtfType,
    Composite,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ref,
)

_HEAD = """\
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

"""
_KFUNCS_HEAD = "\n/* BPF kfuncs */\n#ifndef BPF_NO_KFUNC_PROTOTYPES\n"
_KFUNCS_TAIL = "#endif\n\n"
_TAIL = """\
#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
"""
_KFUNC_TAG = "bpf_kfunc"
_BUILTIN_TYPEDEF = "__builtin_va_list"
# Types that compilers for some machines know and others do not.
_ALIASES = {
    "__Poly8_t": "unsigned char",
    "__Poly16_t": "unsigned short",
    "__Poly64_t": "unsigned long long",
    "__Poly128_t": "unsigned __int128",
}
_LAST_RANK = 10
_NEW, _BUSY, _DONE = 0, 1, 2
_THROUGH = MODIFIERS | {Kind.PTR, Kind.TYPEDEF, Kind.DECL_TAG}


def dump_c(btf: Btf, roots: Iterable[int] | None = None, ordered: bool = True) -> str:
    """Return the header: of all types, by kind and name unless ``ordered`` is False, or of some.

    ``roots`` are the ids asked for; what they need comes along.

    :raises BtfError: a struct that contains itself, or types that no compiler makes.
    """
    dumper = _Dumper(btf)
    if roots is not None:
        for type_id in roots:
            dumper.dump(type_id)
        return _HEAD + dumper.taken() + _TAIL
    # The sorted list begins with void or any other type, but is gone through from its second
    # entry: what comes first is written only if something needs it.
    ids = _sorted_ids(btf)[1:] if ordered else list(range(1, len(btf.types)))
    for type_id in ids:
        dumper.dump(type_id)
    types = dumper.taken()
    dumper.kfuncs()
    return _HEAD + types + _KFUNCS_HEAD + dumper.taken() + _KFUNCS_TAIL + _TAIL


# --- the order of a sorted dump --------------------------------------------------


def _sorted_ids(btf: Btf) -> list[int]:
    keys = {
        found.id: (_rank(btf, found), _sort_name(btf, found).encode(), found.name.encode())
        for found in btf.types
    }
    return sorted(keys, key=keys.__getitem__)


def _target(found: BtfType) -> int:
    return found.type if isinstance(found, Ref | Array | DeclTag) else 0


def _rank(btf: Btf, found: BtfType) -> int:
    """Return the place of a type's kind; names count for what they refer to."""
    named = bool(found.name)
    while (isinstance(found, Array) or found.kind in _THROUGH) and named:
        found = btf.types[_target(found)]
    named = named or bool(found.name)
    if isinstance(found, Enum):
        return 1 if named else 0
    if isinstance(found, Int | Float):
        return 2
    if isinstance(found, Composite) and named:
        return 3
    return 4 if isinstance(found, FuncProto) and named else _LAST_RANK


def _sort_name(btf: Btf, found: BtfType) -> str:
    """Return the name of what a type refers to in the end; of an enum, maybe its first value."""
    start = found
    while isinstance(found, Array) or found.kind in _THROUGH:
        found = btf.types[_target(found)]
    if found is start and isinstance(found, Enum) and not found.name and found.values:
        return found.values[0][0]
    return found.name


def _uses(found: BtfType) -> list[int]:
    """Return the types that are written where ``found`` is; what a function returns is not."""
    if isinstance(found, FuncProto):
        return [type_id for _, type_id in found.params]
    return references(found)


class _Dumper:
    """Writes types, each once, after those that it needs."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.speller = Speller(btf)
        count = len(btf.types)
        self.order_state = [_NEW] * count
        self.emit_state = [_NEW] * count
        self.order_state[0] = self.emit_state[0] = _DONE
        self.fwd_emitted: set[int] = set()
        self.queue: list[int] = []
        self.depth = 0
        self.referenced = {target for found in btf.types for target in _uses(found)}

    def taken(self) -> str:
        """Return what was written since the last call."""
        text = "".join(self.speller.text)
        self.speller.text.clear()
        return text

    def dump(self, type_id: int) -> None:
        """Write a type and all that it needs and that was not written yet."""
        self.queue.clear()
        self.order(type_id, False)
        for queued in self.queue:
            self.emit(queued, 0)

    def kfuncs(self) -> None:
        """Write prototypes of the functions that are tagged as callable by programs."""
        for found in self.btf:
            if not isinstance(found, DeclTag) or found.component != -1:
                continue
            func = self.btf.types[found.type]
            if found.name == _KFUNC_TAG and isinstance(func, Func):
                self.speller.put("extern ")
                self.speller.declare(func.type, func.name, 0)
                self.speller.put(" __weak __ksym;\n")

    def _enter(self) -> None:
        self.speller.step()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise BtfError("types nest too deeply")

    # --- what has to be written, in which order ----------------------------------------

    def order(self, type_id: int, through_ptr: bool) -> bool:
        """Queue the definitions that a type needs, itself last.

        Return whether the type is, or holds, something defined: a typedef that is reached
        through a pointer can then be written.
        """
        state = self.order_state[type_id]
        found = self.btf.type(type_id)
        if state == _DONE:
            return True
        if state == _BUSY:
            if isinstance(found, Composite) and through_ptr and found.name:
                return False  # a forward declaration will do
            raise BtfError(f"unsatisfiable type cycle, id:[{type_id}]")
        self._enter()
        strong = self._order(found, through_ptr)
        self.depth -= 1
        return strong

    def _order(self, found: BtfType, through_ptr: bool) -> bool:
        type_id = found.id
        if isinstance(found, Composite):
            return self._order_composite(found, through_ptr)
        if isinstance(found, Enum | Fwd):
            if found.name or type_id not in self.referenced:
                self.queue.append(type_id)
            self.order_state[type_id] = _DONE
            return True
        if isinstance(found, Array):
            return self.order(found.type, False)
        if isinstance(found, FuncProto):
            strong = [self.order(found.ret, through_ptr)]
            strong += [self.order(param, through_ptr) for _, param in found.params]
            return any(strong)
        if isinstance(found, Ref) and found.kind in MODIFIERS:
            return self.order(found.type, through_ptr)
        if isinstance(found, Ref) and found.kind == Kind.TYPEDEF:
            if not self.order(found.type, through_ptr) and through_ptr:
                return False
            self.queue.append(type_id)
            self.order_state[type_id] = _DONE
            return True
        strong_target = isinstance(found, Ref) and self.order(found.type, True)
        self.order_state[type_id] = _DONE
        return strong_target

    def _order_composite(self, found: Composite, through_ptr: bool) -> bool:
        if through_ptr and found.name:
            return False
        self.order_state[found.id] = _BUSY
        for member in found.members:
            self.order(member.type, False)
        if found.name:
            self.queue.append(found.id)
        self.order_state[found.id] = _DONE
        return True

    # --- writing ---------------------------------------------------------------------

    def emit(self, type_id: int, container: int) -> None:
        """Write a definition, or what ``container`` needs to name a type."""
        state = self.emit_state[type_id]
        if state == _DONE:
            return
        found = self.btf.types[type_id]
        if state == _BUSY:
            self._emit_again(found, container)
            return
        self._enter()
        self._emit(found, container)
        self.depth -= 1

    def _emit_again(self, found: BtfType, container: int) -> None:
        """Declare a type that is needed while it is being written."""
        if found.id in self.fwd_emitted:
            return
        if isinstance(found, Composite):
            if found.id == container or not found.name:
                return
            self._forward(found)
        elif isinstance(found, Ref) and found.kind == Kind.TYPEDEF:
            self._typedef(found)
        self.fwd_emitted.add(found.id)

    def _emit(self, found: BtfType, container: int) -> None:
        type_id = found.id
        if isinstance(found, Composite):
            self._emit_composite(found, container)
        elif isinstance(found, Ref) and found.kind == Kind.TYPEDEF:
            self.emit_state[type_id] = _BUSY
            self.emit(found.type, type_id)
            if type_id not in self.fwd_emitted:
                self._typedef(found)
            self.emit_state[type_id] = _DONE
        elif isinstance(found, Ref | Array):
            self.emit(found.type, container)
        elif isinstance(found, FuncProto):
            self.emit(found.ret, container)
            for _, param in found.params:
                self.emit(param, container)
        else:
            self._emit_simple(found, container)

    def _emit_simple(self, found: BtfType, container: int) -> None:
        if isinstance(found, Int) and found.name in _ALIASES:
            self.speller.put(f"typedef {_ALIASES[found.name]} {found.name};\n\n")
        elif isinstance(found, Enum) and not container:
            self.speller.enum(found, 0)
            self.speller.put(";\n\n")
        elif isinstance(found, Fwd):
            self._forward(found)
        if isinstance(found, Int | Enum | Fwd):
            self.emit_state[found.id] = _DONE

    def _emit_composite(self, found: Composite, container: int) -> None:
        type_id = found.id
        self.emit_state[type_id] = _BUSY
        if not container or not found.name:
            inside = type_id if found.name else container
            for member in found.members:
                self.emit(member.type, inside)
        elif type_id not in self.fwd_emitted and type_id != container:
            self._forward(found)
            self.fwd_emitted.add(type_id)
        if container:
            self.emit_state[type_id] = _NEW
            return
        self.speller.composite(found, 0)
        self.speller.put(";\n\n")
        self.emit_state[type_id] = _DONE

    def _forward(self, found: BtfType) -> None:
        self.speller.forward(found)
        self.speller.put(";\n\n")

    def _typedef(self, found: Ref) -> None:
        if found.name != _BUILTIN_TYPEDEF:
            self.speller.typedef(found)
            self.speller.put(";\n\n")
