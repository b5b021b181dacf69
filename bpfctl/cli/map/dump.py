"""``map dump``: all elements, by batch system calls where the map type has them."""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.select import map_fds, map_info
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.cli.map.printing import (
    LINE_BYTES,
    REUSEPORT,
    ROW_BYTES,
    Printer,
    map_format,
    slot_bytes,
)
from bpfctl.cli.map.show import header_json, header_plain
from bpfctl.errors import E, KernelError
from bpfctl.map_values import MAP, PERCPU
from bpfctl.plugins import facts_of
from bpfctl.uapi import BatchAttr, BatchResult, Cmd, MapInfo

# Elements asked for at a time, as many as fit into this many bytes.
BATCH_BYTES = 1 << 19
BATCH_ELEMENTS = 4096
_NO_BATCH = (E.INVAL, E.NOTSUPP, E.OPNOTSUPP)


def dump(app: App, words: Words) -> int:
    """Run ``map dump MAP``; the status is the errno that ended a walk."""
    if words.left != 2:
        raise UsageExit
    fds = map_fds(app, words)
    if not fds:
        return -1
    infos = [map_info(app, fd) for fd in fds]
    json = app.out.json
    if json is None and all(info.btf_id for info in infos):
        json = JsonWriter(app.out.put, pretty=True)
    several = len(fds) > 1
    if json is not None and several:
        json.begin_array()
    status = 0
    for index, (fd, info) in enumerate(zip(fds, infos, strict=True)):
        status = _Dump(app, fd, info, json).run(several)
        if json is None and index < len(fds) - 1:
            app.out.put("\n")
        if status:
            break
    if json is not None and several:
        json.end_array()
    if json is not None and app.out.json is None:
        app.out.put("\n")
    return status


class _Dump:
    """The dump of one map; ``json`` is the JSON writer, or the one for BTF in plain mode."""

    def __init__(self, app: App, fd: int, info: MapInfo, json: JsonWriter | None) -> None:
        self.app = app
        self.fd = fd
        self.info = info
        self.json = json
        self.printer = Printer(app, info, map_format(app, info) if json is not None else None)
        if app.out.json is None:
            self.printer.plain_json = json

    def run(self, header: bool) -> int:
        json, out = self.json, self.app.out
        if json is not None:
            if header:
                json.begin_object()
                header_json(json, self.info)
                json.name("elements")
            json.begin_array()
        elif header:
            out.put(header_plain(self.info) + "\n")
        if self.info.type == REUSEPORT and self.info.value_size != 8:
            out.info(
                "Warning: cannot read values from reuseport_sockarray map with value_size != 8"
            )
        count, status = self._elements()
        if json is not None:
            json.end_array()
            if header:
                json.end_object()
        else:
            out.put(f"Found {count} element{'' if count == 1 else 's'}\n")
        return status

    def _elements(self) -> tuple[int, int]:
        """Print the elements; return how many were readable, and -errno of the walk."""
        if facts_of(self.info.type).batch_is_walk:
            try:
                return self._by_batch()
            except _NoBatch:
                pass
        count = 0
        try:
            for key in self.app.bpf.map_keys(self.fd):
                count += self._one(key)
        except KernelError as exc:
            return count, -exc.code
        return count, 0

    def _one(self, key: bytes) -> bool:
        try:
            value = self.app.bpf.map_lookup_elem(self.fd, key)
        except KernelError as exc:
            self.printer.unreadable(key, exc.code)
            return False
        self.printer.entry(key, value)
        return True

    def _by_batch(self) -> tuple[int, int]:
        total = 0
        try:
            for found in self._batches():
                total += found.count
                self._print_batch(found)
                self.app.out.checkpoint()
        except KernelError as exc:
            return total, -exc.code
        return total, 0

    def _batches(self) -> Iterator[BatchResult]:
        """Walk the map; a bucket that does not fit makes the next request larger.

        :raises _NoBatch: the kernel has no batch lookup for this map; nothing was printed.
        """
        info = self.info
        count = max(1, min(BATCH_ELEMENTS, BATCH_BYTES // (info.key_size + info.value_size)))
        cursor: bytes | None = None
        while True:
            attr = BatchAttr(self.fd, cursor, count=count)
            try:
                found = self.app.bpf.map_batch(Cmd.MAP_LOOKUP_BATCH, attr)
            except KernelError as exc:
                found = BatchResult(errno=exc.code)
            if found.errno in _NO_BATCH and cursor is None:
                raise _NoBatch
            if found.errno == E.NOSPC and count < info.max_entries:
                count = min(2 * count, info.max_entries)
                continue
            if found.errno not in (0, E.NOENT):
                raise KernelError(found.errno)
            if found.count:
                yield found
            if found.errno == E.NOENT:
                return
            cursor = found.out_batch

    def _print_batch(self, found: BatchResult) -> None:
        printer, info = self.printer, self.info
        if printer.format is None and printer.values not in (PERCPU, MAP):
            if self.json is not None:
                self.json.raw(json_elements(self.json, info, found))
                return
            if self._one_line():
                self.app.out.put(plain_lines(info, found))
                return
        step = info.value_size
        if printer.percpu:
            step = slot_bytes(step) * self.app.kernel.possible_cpus()
        for index in range(found.count):
            printer.entry(
                found.keys[index * info.key_size : (index + 1) * info.key_size],
                found.values[index * step : (index + 1) * step],
            )

    def _one_line(self) -> bool:
        """Tell whether key and value of an element fit on one line, in rows of one part."""
        key, value = self.info.key_size, self.info.value_size
        return key <= ROW_BYTES // 2 and value <= ROW_BYTES // 2 and key + value <= LINE_BYTES


class _NoBatch(Exception):
    """The kernel offers no batch lookup here."""


def plain_lines(info: MapInfo, found: BatchResult) -> str:
    """Return the lines of short elements: all bytes to hex at once, then cut."""
    keys, values = found.keys.hex(" "), found.values.hex(" ")
    key, value = 3 * info.key_size, 3 * info.value_size
    return "".join(
        [
            f"key: {keys[k : k + key - 1]}  value: {values[v : v + value - 1]}\n"
            for k, v in zip(
                range(0, found.count * key, key), range(0, found.count * value, value), strict=True
            )
        ]
    )


def json_elements(json: JsonWriter, info: MapInfo, found: BatchResult) -> str:
    """Return elements as objects with commas between, laid out for the depth of ``json``."""
    outer, inner = json.line(), json.line(1)
    blank = " " if json.pretty else ""
    head = f'{{{inner}"key":{blank}["0x'
    middle = f'"{inner}],{inner}"value":{blank}["0x'
    tail = f'"{inner}]{outer}}}'
    # Each byte is 0xNN and the three characters before the next one.
    keys = found.keys.hex(",").replace(",", '","0x')
    values = found.values.hex(",").replace(",", '","0x')
    key, value = 7 * info.key_size, 7 * info.value_size
    return ",".join(
        [
            f"{head}{keys[k : k + key - 5]}{middle}{values[v : v + value - 5]}{tail}"
            for k, v in zip(
                range(0, found.count * key, key), range(0, found.count * value, value), strict=True
            )
        ]
    )
