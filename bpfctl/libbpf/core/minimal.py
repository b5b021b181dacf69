"""The part of a kernel's types that given relocations look at."""

from __future__ import annotations

from dataclasses import replace

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.parse import Btf
from bpfctl.btf.types import (
    MODIFIERS,
    Array,
    BtfType,
    Composite,
    Enum,
    FuncProto,
    Kind,
    Ref,
)
from bpfctl.libbpf.core.spec import FIELD_KINDS, TYPE_KINDS, RelocationKind, Spec


class Minimal:
    """Collects types, and of structs the members that are looked at."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.types: set[int] = set()
        self.members: dict[int, set[int]] = {}

    def keep(self, spec: Spec) -> None:
        """Keep what a relocation found."""
        whole = spec.kind == RelocationKind.TYPE_MATCHES
        self._type(spec.root, whole)
        if spec.kind in FIELD_KINDS:
            self._path(spec)
        elif spec.kind not in TYPE_KINDS:
            self._type(self.btf.resolve(spec.root).id, True)

    def _path(self, spec: Spec) -> None:
        """Keep every step from the root to the field."""
        found = self.btf.resolve(spec.root)
        self._type(found.id, False)
        for index in spec.raw[1:]:
            if isinstance(found, Composite):
                self.members.setdefault(found.id, set()).add(index)
                self._type(found.members[index].type, False)
                found = self.btf.resolve(found.members[index].type)
            elif isinstance(found, Array):
                self._type(found.type, False)
                found = self.btf.resolve(found.type)

    def _type(self, type_id: int, whole: bool) -> None:
        """Keep a type and what it is made of; ``whole``: structs with all their members."""
        todo = [(type_id, whole)]
        while todo:
            current, all_of_it = todo.pop()
            found = self.btf.type(current)
            seen = current in self.types
            if isinstance(found, Composite) and all_of_it:
                known = self.members.setdefault(current, set())
                seen = seen and len(known) == len(found.members)
                known.update(range(len(found.members)))
            if not current or seen:
                continue
            self.types.add(current)
            if isinstance(found, Composite) and all_of_it:
                todo += [(member.type, False) for member in found.members]
            elif isinstance(found, Array):
                todo += [(found.type, all_of_it), (found.index, False)]
            elif isinstance(found, FuncProto):
                todo += [(found.ret, False), *((each, False) for _, each in found.params)]
            elif isinstance(found, Ref) and (found.kind in MODIFIERS or found.kind != Kind.PTR):
                todo.append((found.type, all_of_it))

    def encode(self) -> bytes:
        """Return a blob of what was kept; pointers to what was not are to void."""
        builder = BtfBuilder()
        new = {old: number for number, old in enumerate(sorted(self.types), 1)}
        new[0] = 0
        for old in sorted(self.types):
            builder.add(self._copy(self.btf.type(old), new))
        return builder.encode()

    def _copy(self, found: BtfType, new: dict[int, int]) -> BtfType:
        if isinstance(found, Composite):
            kept = sorted(self.members.get(found.id, ()))
            members = [
                replace(found.members[at], type=new.get(found.members[at].type, 0)) for at in kept
            ]
            return replace(found, members=members)
        if isinstance(found, Ref):
            return replace(found, type=new.get(found.type, 0))
        if isinstance(found, Array):
            return replace(found, type=new.get(found.type, 0), index=new.get(found.index, 0))
        if isinstance(found, FuncProto):
            params = [(name, new.get(each, 0)) for name, each in found.params]
            return replace(found, ret=new.get(found.ret, 0), params=params)
        if isinstance(found, Enum):
            return replace(found, values=list(found.values))
        return replace(found)
