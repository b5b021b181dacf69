"""A program as the kernel rewrote it, kept beside the one that was loaded and runs."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfctl.isa.insn import encode
from bpfctl.kernel.records import ProgRecord

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.verifier.result import VerifiedProgram

FUNC_INFO, LINE_INFO = 8, 16
"""Bytes of a record; the number of an instruction is its first word."""


@dataclass
class Xlated:
    """What bpf_prog_info shows of the instructions. ``starts``: none for a single function."""

    insns: bytes
    starts: list[int]
    func_info: bytes
    line_info: bytes
    symbols: dict[int, str] = field(default_factory=dict)


def keep(rec: ProgRecord, verified: VerifiedProgram) -> bytes:
    """Remember what became of a program, and return the rewritten instructions."""
    insns = b"".join(encode(*insn) for insn in verified.xlated)
    if verified.symbols:
        rec.priv["symbols"] = {str(at): name for at, name in verified.symbols.items()}
    if insns == rec.insns:
        return insns
    rec.priv["xlated"] = insns.hex()
    if len(verified.xlated_starts) > 1:
        rec.priv["xlated_starts"] = verified.xlated_starts
    for name, size in (("func_info", FUNC_INFO), ("line_info", LINE_INFO)):
        moved = _moved(bytes.fromhex(rec.priv.get(name, "")), size, verified)
        rec.priv[f"xlated_{name}"] = moved.hex()
    return insns


def _moved(table: bytes, size: int, verified: VerifiedProgram) -> bytes:
    """Records of a table with the numbers that their instructions have now.

    Of several records for one place the last one stays (bpf_adj_linfo_after_remove).
    """
    found: dict[int, bytes] = {}
    for at, record in _records(table, size):
        if at < len(verified.xlated_at):
            place = verified.xlated_at[at]
            if place < len(verified.xlated):
                found[place] = struct.pack("<I", place) + record[4:]
    return b"".join(found.values())


def _records(table: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    for at in range(0, len(table) - size + 1, size):
        record = table[at : at + size]
        yield struct.unpack_from("<I", record)[0], record


def xlated(rec: ProgRecord) -> Xlated:
    """Return a program as it is shown."""
    priv = rec.priv
    symbols = {int(at): name for at, name in priv.get("symbols", {}).items()}
    if "xlated" not in priv:
        return Xlated(
            rec.insns,
            list(priv.get("starts", ())),
            bytes.fromhex(priv.get("func_info", "")),
            bytes.fromhex(priv.get("line_info", "")),
            symbols,
        )
    return Xlated(
        bytes.fromhex(priv["xlated"]),
        list(priv.get("xlated_starts", ())),
        bytes.fromhex(priv["xlated_func_info"]),
        bytes.fromhex(priv["xlated_line_info"]),
        symbols,
    )
