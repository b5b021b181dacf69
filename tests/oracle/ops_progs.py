"""Operations on programs."""

from __future__ import annotations

from typing import Any

from bpfctl import uapi
from bpfctl.errors import KernelError
from bpfctl.libbpf.bpf import Bpf
from oracle.lab import Lab
from oracle.making import program_btf, straight, with_maps, with_subprograms
from oracle.ops_maps import Result, Spec, failed, left, memlock

USED_MAP: dict[str, Any] = {"type": "array", "key": 4, "value": 4, "max": 1}


def load_attr(bpf: Bpf, lab: Lab, spec: Spec) -> uapi.ProgLoadAttr:
    """Return the attributes of BPF_PROG_LOAD, having made the maps and the BTF object."""
    count = spec["insns"]
    if spec.get("nmaps"):
        prep = lab.prepare(bpf, USED_MAP)
        insns = with_maps(count, [lab.create(bpf, USED_MAP, prep) for _ in range(spec["nmaps"])])
    elif spec.get("nsub"):
        insns = with_subprograms(count, spec["nsub"])
    else:
        insns = straight(count)
    functions = 1 + spec.get("nsub", 0)
    with_info = bool(spec.get("finfo") or spec.get("linfo"))
    return uapi.ProgLoadAttr(
        prog_type=uapi.PROG_TYPE_NUMBER[spec.get("prog_type", "socket_filter")],
        insns=insns,
        prog_flags=spec.get("pflags", 0),
        prog_name=spec.get("name", "").encode(),
        prog_btf_fd=bpf.btf_load(program_btf(functions)) if with_info else 0,
        func_info_cnt=functions if with_info else 0,
        line_info_cnt=spec.get("linfo", 0),
    )


def prog(lab: Lab, spec: Spec) -> Result:
    """BPF_PROG_LOAD.

    Real kernels were measured at the second load, which leaves out what is made once (kallsyms,
    the JIT's packs); the simulated one makes nothing once.
    """
    lab = lab.with_jit(spec["jit"])
    group = lab.new_group()
    with lab.worker() as bpf:
        attr = load_attr(bpf, lab, spec)
        lab.move(bpf, group)
        try:
            fd = bpf.prog_load(attr)
        except KernelError as exc:
            return {**failed(exc), "after_close": left(lab, group)}
        info = bpf.obj_info(fd)
        assert isinstance(info, uapi.ProgInfo)
        result = {
            "ok": True,
            "memlock": memlock(bpf, fd),
            "xlated_len": info.xlated_prog_len,
            "jited_len": info.jited_prog_len,
            "tag": info.tag.hex(),
            "nr_map_ids": len(info.map_ids),
            "create": lab.counters(group),
            "create_bytes": lab.charged_bytes(group),
        }
        bpf.close(fd)
        result["after_close"] = left(lab, group)
        return result


def load_minimal(bpf: Bpf, insns: int = 2, prog_type: str = "socket_filter") -> int:
    """Load ``insns`` instructions and return the descriptor."""
    number = uapi.PROG_TYPE_NUMBER[prog_type]
    return bpf.prog_load(uapi.ProgLoadAttr(prog_type=number, insns=straight(insns)))

