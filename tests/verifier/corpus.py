"""The measured corpus: programs, and what five kernels answered; and what the simulator does.

The format is described in the README of the recordings: one JSON object a line in programs.jsonl
and in a file for each kernel.
"""

from __future__ import annotations

import json
import lzma
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bpfctl import plugins
from bpfctl.errors import KernelError, errno_name
from bpfctl.isa.insn import INSN_BYTES, LD_IMM64
from bpfctl.kernel.kernel import Kernel
from bpfctl.uapi import (
    ALL_CAPS,
    CAPS,
    MAP_TYPE_NUMBER,
    PROG_TYPE_NUMBER,
    BtfLoadAttr,
    Cmd,
    ElemAttr,
    FdAttr,
    MapCreateAttr,
    ProgLoadAttr,
)

KERNELS = ("5.10", "6.1", "6.12", "6.18", "7.3")
DATA = Path(__file__).parent / "data"
UNPRIVILEGED_DISABLED = {"6.18": 2}

_CAPS = {
    "bpf": 1 << CAPS["CAP_BPF"],
    "perfmon": 1 << CAPS["CAP_PERFMON"],
    "net_admin": 1 << CAPS["CAP_NET_ADMIN"],
    "sys_admin": 1 << CAPS["CAP_SYS_ADMIN"],
}


class NotTried(Exception):
    """The simulator cannot make what a program needs; the program does not count."""


def caps_of(mode: str) -> int:
    """The effective capabilities of a mode."""
    if mode == "root":
        return ALL_CAPS
    if mode == "none":
        return 0
    mask = 0
    for word in mode.split("+"):
        mask |= _CAPS[word]
    return mask


def read_lines(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file, compressed or not."""
    plain = folder / name
    if plain.exists():
        with plain.open() as source:
            for line in source:
                yield json.loads(line)
        return
    with lzma.open(folder / f"{name}.xz", "rt") as source:
        for line in source:
            yield json.loads(line)


def btfs(folder: Path) -> dict[str, Any]:
    """The BTF objects that programs name."""
    plain = folder / "btf.json"
    if plain.exists():
        found = json.loads(plain.read_text())
    else:
        found = json.loads(lzma.decompress((folder / "btf.json.xz").read_bytes()))
    return dict(found)


def insns_of(text: str) -> bytes:
    """Decode the hex of a program, repetitions included."""
    out = []
    for part in re.findall(r"\[([0-9a-f]*)\]\*(\d+),?|([0-9a-f]+),?", text):
        out.append(bytes.fromhex(part[0]) * int(part[1]) if part[1] else bytes.fromhex(part[2]))
    return b"".join(out)


@dataclass
class Answer:
    """What a kernel said, or the simulator."""

    ok: bool
    errno: str = ""
    line: str = ""
    processed: int | None = None
    states: list[int] = field(default_factory=list)
    log: str = ""
    stack: str = ""
    xlated: str = ""


class Loader:
    """A simulated kernel that tries programs of the corpus."""

    def __init__(self, kernel: str, folder: Path, log_level: int = 0) -> None:
        self.name = kernel
        self.btfs = btfs(folder)
        self.log_level = log_level
        self.kernel = Kernel.in_memory(
            kernel,
            unprivileged_bpf_disabled=UNPRIVILEGED_DISABLED.get(kernel, 0),
            possible_cpus=2,
        )

    def load(self, spec: dict[str, Any]) -> Answer:
        """Make the maps, load the program, close everything."""
        kernel = self.kernel
        root = kernel.spawn("maker", transient=True)
        mode = spec.get("mode", "root")
        task = kernel.spawn(
            "loader", uid=0 if mode == "root" else 1000, caps=caps_of(mode), transient=True
        )
        try:
            return self._load(spec, task.pid)
        finally:
            kernel.exit_task(task.pid)
            kernel.exit_task(root.pid)

    def _load(self, spec: dict[str, Any], pid: int) -> Answer:
        fds = self._maps(spec, pid)
        attr = self._attr(spec, pid, fds)
        attr.log_level = self.log_level
        kernel = self.kernel
        try:
            fd = kernel.bpf(pid, Cmd.PROG_LOAD, attr)
        except KernelError as exc:
            return self._answer(attr, False, errno_name(exc.code))
        answer = self._answer(attr, True, "")
        info = kernel.bpf(pid, Cmd.OBJ_GET_INFO_BY_FD, FdAttr(fd))
        answer.xlated = self._masked(info.insns, [self._map_id(pid, fd) for fd in fds])
        return answer

    def _map_id(self, pid: int, fd: int) -> int:
        return self.kernel.files.get(pid, fd).obj_id

    def _masked(self, insns: bytes, ids: list[int]) -> str:
        """Name maps by their place in the spec, hide addresses, as the recordings do."""
        raw = bytearray(insns)
        for at in range(0, len(raw) - INSN_BYTES + 1, INSN_BYTES):
            if raw[at] == LD_IMM64 and raw[at + 1] >> 4 in (1, 2):
                found = struct.unpack_from("<i", raw, at + 4)[0]
                if found in ids:
                    struct.pack_into("<i", raw, at + 4, ids.index(found))
        return raw.hex()

    def _answer(self, attr: ProgLoadAttr, ok: bool, errno: str) -> Answer:
        lines = [line for line in attr.log.split("\n") if line.strip()]
        line = attr.last_line or (lines[-1] if lines else "")
        stats = attr.verified
        states = []
        processed = None
        if stats is not None:
            processed = stats.processed
            states = [stats.max_states_per_insn, stats.total_states, stats.peak_states]
        return Answer(ok, errno, line, processed, states, attr.log)

    # --- maps and BTF ---

    def _as_root(self, pid: int) -> Any:
        task = self.kernel.task(pid)
        saved = task.caps, task.uid
        task.caps, task.uid = ALL_CAPS, 0
        return saved

    def _maps(self, spec: dict[str, Any], pid: int) -> list[int]:
        kernel = self.kernel
        task = kernel.task(pid)
        saved = self._as_root(pid)
        try:
            return [
                self._map(pid, f"m{index}", facts)
                for index, facts in enumerate(spec.get("maps", ()))
            ]
        except KernelError as exc:
            raise NotTried(f"map: {exc}") from exc
        finally:
            task.caps, task.uid = saved

    def _map(self, pid: int, name: str, facts: dict[str, Any]) -> int:
        kernel = self.kernel
        number = facts["type"]
        if isinstance(number, str):
            number = MAP_TYPE_NUMBER[number]
        attr = MapCreateAttr(
            map_type=number,
            key_size=facts.get("key", 0),
            value_size=facts.get("value", 0),
            max_entries=facts.get("max", 0),
            map_flags=facts.get("flags", 0),
            map_name=name.encode(),
        )
        if facts.get("inner"):
            attr.inner_map_fd = self._map(pid, "inner", facts["inner"])
        if facts.get("btf"):
            attr.btf_fd = self._btf(pid, facts["btf"])
            attr.btf_key_type_id = facts.get("btf_key", 0)
            attr.btf_value_type_id = facts.get("btf_value", 0)
        fd: int = kernel.bpf(pid, Cmd.MAP_CREATE, attr)
        values = facts.get("init", ())
        if isinstance(values, str):
            digits = 2 * attr.value_size
            values = [values[at : at + digits] for at in range(0, len(values), digits)]
        for index, value in enumerate(values):
            key = struct.pack("<I", index)
            kernel.bpf(pid, Cmd.MAP_UPDATE_ELEM, ElemAttr(fd, key, bytes.fromhex(value)))
        if facts.get("freeze"):
            kernel.bpf(pid, Cmd.MAP_FREEZE, FdAttr(fd))
        return fd

    def _btf(self, pid: int, name: str) -> int:
        found = self.btfs[name]
        blob = bytes.fromhex(found["hex"] if isinstance(found, dict) else found)
        fd: int = self.kernel.bpf(pid, Cmd.BTF_LOAD, BtfLoadAttr(blob))
        return fd

    def _attr(self, spec: dict[str, Any], pid: int, fds: list[int]) -> ProgLoadAttr:
        kind = spec["prog_type"]
        number = PROG_TYPE_NUMBER.get(kind, kind) if isinstance(kind, str) else kind
        if isinstance(number, str):
            number = 0 if number == "unspec" else int(number)
        attr = ProgLoadAttr(
            prog_type=number,
            insns=self._insns(spec, fds),
            license=spec.get("license", "GPL").encode(),
            prog_flags=spec.get("flags", 0),
            prog_name=spec.get("prog_name", "t").encode(),
            expected_attach_type=spec.get("attach", 0),
        )
        if spec.get("kfuncs") or spec.get("attach_btf"):
            raise NotTried("BTF of the kernel")
        for odd in ("attr_size", "attr_trailing", "log_size", "count", "log_level"):
            if odd in spec:
                raise NotTried(odd)
        if spec.get("btf"):
            saved = self._as_root(pid)
            try:
                attr.prog_btf_fd = self._btf(pid, spec["btf"])
            except KernelError as exc:
                raise NotTried(f"btf: {exc}") from exc
            finally:
                task = self.kernel.task(pid)
                task.caps, task.uid = saved
            pairs = spec.get("func_info", ())
            attr.func_info_cnt = len(pairs)
            attr.func_info = b"".join(struct.pack("<II", *pair) for pair in pairs)
        return attr

    def _insns(self, spec: dict[str, Any], fds: list[int]) -> bytes:
        raw = bytearray(insns_of(spec["insns"]))
        for at in range(0, len(raw) - INSN_BYTES + 1, INSN_BYTES):
            if raw[at] == LD_IMM64 and raw[at + 1] >> 4 in (1, 2):
                index = struct.unpack_from("<i", raw, at + 4)[0]
                if 0 <= index < len(fds):
                    struct.pack_into("<i", raw, at + 4, fds[index])
        return bytes(raw)


def measured(record: dict[str, Any]) -> Answer:
    """What the kernel's file says."""
    return Answer(
        record["ok"],
        record.get("errno", ""),
        record.get("line", ""),
        record.get("processed"),
        record.get("states", []),
        record.get("log", ""),
        record.get("stack_depth", ""),
    )


def pairs(folder: Path, kernel: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each program with what the kernel answered, those that were not tried left out."""
    answers = {record["id"]: record for record in read_lines(folder, f"{kernel}.jsonl")}
    for spec in read_lines(folder, "programs.jsonl"):
        record = answers.get(spec["id"])
        if record is not None and "prep_error" not in record and "ok" in record:
            yield spec, record


__all__ = ["plugins"]
