"""The .BTF.ext section: which instruction belongs to which function and source line."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import BTF_MAGIC, BTF_VERSION, BtfError

FUNC_INFO_BYTES = 8
LINE_INFO_BYTES = 16
CORE_RELO_BYTES = 16
_HEADER_BYTES = 24


@dataclass(slots=True)
class InfoRecord:
    """One record: instruction offset in bytes from the section start, then its other words."""

    insn_off: int
    words: tuple[int, ...]


@dataclass(slots=True)
class BtfExt:
    """Records of each kind, by the name of the section that they describe."""

    func_info: dict[str, list[InfoRecord]] = field(default_factory=dict)
    line_info: dict[str, list[InfoRecord]] = field(default_factory=dict)
    core_relos: dict[str, list[InfoRecord]] = field(default_factory=dict)


def parse_btf_ext(blob: bytes, btf: Btf) -> BtfExt:
    """Parse and check the section.

    :raises BtfError: it is cut off, or names a section that is not in the strings of ``btf``.
    """
    if len(blob) < _HEADER_BYTES:
        raise BtfError(f"{len(blob)} bytes are too few for a header", 0)
    endian = ">" if btf.big_endian else "<"
    magic, version, _flags, hdr_len = struct.unpack_from(f"{endian}HBBI", blob)
    if magic != BTF_MAGIC:
        raise BtfError("wrong magic number", 0)
    if version != BTF_VERSION:
        raise BtfError(f"unknown version {version}", 2)
    if not _HEADER_BYTES <= hdr_len <= len(blob):
        raise BtfError(f"header length {hdr_len} does not fit", 4)
    parts = struct.unpack_from(f"{endian}4I", blob, 8)
    core = struct.unpack_from(f"{endian}2I", blob, 24) if hdr_len >= 32 else (0, 0)
    reader = _Reader(blob, endian, hdr_len, btf)
    return BtfExt(
        reader.table(parts[0], parts[1], FUNC_INFO_BYTES),
        reader.table(parts[2], parts[3], LINE_INFO_BYTES),
        reader.table(core[0], core[1], CORE_RELO_BYTES),
    )


@dataclass(slots=True)
class _Reader:
    blob: bytes
    endian: str
    start: int
    btf: Btf

    def table(self, offset: int, length: int, least: int) -> dict[str, list[InfoRecord]]:
        """Read one of the three tables; ``least`` bytes of each record are used."""
        found: dict[str, list[InfoRecord]] = {}
        if length == 0:
            return found
        at = self.start + offset
        end = at + length
        if at % 4 or length < 4 or end > len(self.blob):
            raise BtfError("a table does not fit", at)
        (size,) = struct.unpack_from(f"{self.endian}I", self.blob, at)
        if size < least or size % 4:
            raise BtfError(f"records of {size} bytes", at)
        at += 4
        while at < end:
            if end - at < 8:
                raise BtfError("a section header does not fit", at)
            name_off, count = struct.unpack_from(f"{self.endian}2I", self.blob, at)
            at += 8
            if count == 0 or count * size > end - at:
                raise BtfError(f"{count} records do not fit", at - 4)
            records = found.setdefault(self.btf.string(name_off), [])
            for _ in range(count):
                first, *rest = struct.unpack_from(f"{self.endian}{least // 4}I", self.blob, at)
                records.append(InfoRecord(first, tuple(rest)))
                at += size
        return found
