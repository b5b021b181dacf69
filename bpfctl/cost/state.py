"""The maps and programs of a state file, as a plan for other kernels."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bpfctl.cost.choices import Machine
from bpfctl.cost.plan import MapItem, ProgItem, Source
from bpfctl.isa import insn, patch
from bpfctl.kernel.records import MapRecord, ProgRecord
from bpfctl.libbpf.mapspec import MapSpec
from bpfctl.uapi import BPF_F_RDONLY_PROG

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

# The kernel sets this flag itself, and takes it from nobody.
_IMPLIED_FLAGS = {"devmap": BPF_F_RDONLY_PROG, "devmap_hash": BPF_F_RDONLY_PROG}
_TEMPLATE_FIELDS = ("type", "key_size", "value_size", "max_entries", "map_flags")


def machine_of(kernel: Kernel) -> Machine:
    """Return the machine that a state simulates."""
    config = kernel.config
    return Machine(config.kernel, config.patch, config.possible_cpus, config.page_size)


def state_sources(kernel: Kernel, label: str) -> list[Source]:
    """Return what a state holds: the maps, then the programs, apart for each BTF object.

    Objects of one BTF keep the order of their ids.
    """
    maps: dict[int, Source] = {}
    programs: dict[int, Source] = {}
    for rec in kernel.maps.records.find():
        _source(maps, kernel, rec.btf_id, label).maps.append(_map_item(kernel, rec))
    for prog in kernel.progs.records.find():
        _source(programs, kernel, prog.btf_id, label).programs.append(_prog_item(prog))
    return [*maps.values(), *programs.values()]


def _source(sources: dict[int, Source], kernel: Kernel, btf_id: int, label: str) -> Source:
    if btf_id not in sources:
        blob = kernel.btfs.get(btf_id).blob if btf_id else None
        sources[btf_id] = Source(label, btf=blob, scope=label)
    return sources[btf_id]


def _map_item(kernel: Kernel, rec: MapRecord) -> MapItem:
    type_name = kernel.maps.get(rec.id).name
    name = rec.name.decode("ascii", "replace")
    spec = MapSpec(
        name or f"map{rec.id}",
        rec.type,
        rec.key_size,
        rec.value_size,
        rec.max_entries,
        rec.map_flags & ~_IMPLIED_FLAGS.get(type_name, 0),
        map_extra=rec.map_extra,
        btf_key_type_id=rec.btf_key_type_id,
        btf_value_type_id=rec.btf_value_type_id,
    )
    template = rec.priv.get("inner")
    if template:
        sizes = {key: template[key] for key in _TEMPLATE_FIELDS}
        spec.inner = MapSpec(f"{spec.name}.inner", **sizes)
    return MapItem(
        spec,
        now=rec.nr_elems,
        ifindex=rec.ifindex,
        key=str(rec.id),
        ops=rec.priv.get("ops", ""),
    )


def _prog_item(rec: ProgRecord) -> ProgItem:
    """Return a program as its loader gave it: map ids in the instructions become references."""
    from bpfctl.libbpf.object_progs import ProgramSpec, Reference

    name = rec.name.decode("ascii", "replace")
    spec = ProgramSpec(name or f"prog{rec.id}", "", rec.type)
    spec.insns = rec.insns
    spec.attach_type = rec.priv.get("attach_type")
    spec.func_info = list(struct.iter_unpack("<2I", bytes.fromhex(rec.priv.get("func_info", ""))))
    spec.line_info = list(struct.iter_unpack("<4I", bytes.fromhex(rec.priv.get("line_info", ""))))
    code, previous = rec.insns, 0
    kinds = {insn.PSEUDO_MAP_FD: "map", insn.PSEUDO_MAP_VALUE: "value"}
    for at in range(spec.insn_cnt - 1):
        wide = patch.opcode(code, at) == insn.LD_IMM64 and previous != insn.LD_IMM64
        previous = insn.LD_IMM64 if wide else 0
        kind = kinds.get(patch.src_reg(code, at)) if wide else None
        if kind:
            offset = patch.imm(code, at + 1)
            spec.references.append(Reference(at, kind, str(patch.imm(code, at)), offset))
    return ProgItem(spec)
