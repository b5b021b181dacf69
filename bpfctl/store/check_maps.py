"""Whether what is stored of maps, programs and BTF is what their types could have stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpfctl.kernel.config import Config
from bpfctl.kernel.records import BtfRecord, LruNode, MapRecord, ProgRecord
from bpfctl.store.holders import stored_maps, stored_rows
from bpfctl.store.schema import Table

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.facts import Row, Sizes
    from bpfctl.kernel.bpf.map import MapType

_INSN_BYTES = 8
_LD_IMM64 = 0x18


def check_contents(conn: sqlite3.Connection, config: Config) -> Iterator[str]:
    """Check rows against their maps, and the bytes of programs and BTF."""
    for cls, rec in stored_maps(conn):
        yield from _check_priv(cls, rec)
        yield from _check_elements(cls, rec, stored_rows(conn, rec.id), config.possible_cpus)
    yield from _check_lists(conn, config.possible_cpus)
    yield from _check_programs(conn)
    yield from _check_btf(conn)


def _check_priv(cls: type[MapType], rec: MapRecord) -> Iterator[str]:
    for name in cls.priv_needed:
        if name not in rec.priv:
            yield f"map {rec.id}: a {cls.name} without priv.{name}"
    if cls.priv_kept is None:
        return
    for name, value in rec.priv.items():
        wanted = cls.priv_kept.get(name)
        if wanted is None:
            yield f"map {rec.id}: a {cls.name} has no priv.{name}"
        elif type(value) is not wanted or (isinstance(value, int) and value < 0):
            yield f"map {rec.id}: priv.{name} is {value!r}"


def _check_elements(
    cls: type[MapType], rec: MapRecord, rows: Iterator[Row], cpus: int
) -> Iterator[str]:
    keys, values = cls.row_sizes(rec, cpus)
    count = 0
    kinds = set()
    for row in rows:
        count += 1
        kinds.add(type(row[2]))
        complaint = _size("key", row[0], keys) or _size("value", row[1], values)
        complaint = complaint or cls.odd_row(rec, row)
        if complaint:
            yield f"map {rec.id}: element {row[0].hex()}: {complaint}"
    if len(kinds) > 1 or not kinds <= {int, bytes}:
        yield f"map {rec.id}: positions of elements are not of one type"
    if cls.counts_rows and rec.nr_elems != count:
        yield f"map {rec.id}: counts {rec.nr_elems} elements, there are {count}"


def _size(what: str, content: bytes, sizes: Sizes) -> str:
    if sizes is None or len(content) in sizes:
        return ""
    return f"a {what} of {len(content)} bytes, not {' or '.join(map(str, sorted(set(sizes))))}"


def _check_lists(conn: sqlite3.Connection, cpus: int) -> Iterator[str]:
    """Check that neighbours on LRU lists name each other."""
    table = Table(LruNode)
    nodes: dict[tuple[int, int], LruNode] = {}
    for row in conn.execute(table.all_sql):
        node: LruNode = table.record(row)
        nodes[node.map, node.node] = node
    for node in nodes.values():
        before = nodes.get((node.map, node.prev))
        behind = nodes.get((node.map, node.next))
        if before is None or behind is None:
            yield f"lru_node {node.map} {node.node}: a neighbour is missing"
        elif before.next != node.node or behind.prev != node.node:
            yield f"lru_node {node.map} {node.node}: its neighbours do not name it"
        if not 0 <= node.cpu < cpus:
            yield f"lru_node {node.map} {node.node}: there is no CPU {node.cpu}"


def _check_programs(conn: sqlite3.Connection) -> Iterator[str]:
    table = Table(ProgRecord)
    for row in conn.execute(table.all_sql):
        rec: ProgRecord = table.record(row)
        complaint = _odd_instructions(rec.insns)
        if complaint:
            yield f"prog {rec.id}: {complaint}"


def _odd_instructions(code: bytes) -> str:
    """Return what makes bytes no instructions, "" if they may be some."""
    if not code or len(code) % _INSN_BYTES:
        return f"{len(code)} bytes are no instructions"
    at = 0
    while at < len(code):
        if code[at] == _LD_IMM64:
            at += _INSN_BYTES
            if at >= len(code) or code[at] or code[at + 1]:
                return "half of a 64-bit load"
        at += _INSN_BYTES
    return ""


def _check_btf(conn: sqlite3.Connection) -> Iterator[str]:
    table = Table(BtfRecord)
    for row in conn.execute(table.all_sql):
        rec: BtfRecord = table.record(row)
        from bpfctl.btf.parse import parse_btf
        from bpfctl.btf.types import BtfError

        try:
            parse_btf(rec.blob)
        except BtfError as exc:
            yield f"btf {rec.id}: {exc.text}"
