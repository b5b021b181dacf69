"""Layouts of one map element: plain, JSON, per CPU, map-in-map, BTF."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl.cli.app.out import JsonWriter, Out, hex_rows
from bpfctl.cli.app.session import App
from bpfctl.errors import E, strerror
from bpfctl.map_values import MAP, PROG
from bpfctl.plugins import facts_of
from bpfctl.uapi import MAP_TYPE_NUMBER, MapInfo

if TYPE_CHECKING:
    from bpfctl.cli.map.btf import Format

REUSEPORT = MAP_TYPE_NUMBER["reuseport_sockarray"]

# Widest key and value, in bytes, that share a row with their name, and with each other.
ROW_BYTES = 16
LINE_BYTES = 24

NO_ENTRY = "<no entry>"
CANNOT_READ = "<cannot read>"


def slot_bytes(value_size: int) -> int:
    """Return how far apart the values of two CPUs are."""
    return (value_size + 7) & ~7


def plain_parts(key_size: int, value_size: int) -> tuple[str, str]:
    """Return what stands before the bytes of a key and what between key and value label."""
    if key_size > ROW_BYTES or value_size > ROW_BYTES:
        return "\n", "\n"
    return " ", "  " if key_size + value_size <= LINE_BYTES else "\n"


def write_per_cpu(json: JsonWriter, slots: list[bytes], write: Callable[[bytes], object]) -> None:
    """Write the member ``values``, one object for each CPU; stop when ``write`` returns False."""
    json.name("values")
    json.begin_array()
    for cpu, slot in enumerate(slots):
        json.begin_object()
        json.member("cpu", cpu)
        json.name("value")
        going = write(slot)
        json.end_object()
        if going is False:
            break
    json.end_array()


class Printer:
    """Prints elements of one map in the layout that suits it.

    ``format`` prints by BTF, if the map has any; ``plain_json`` is where it does so in plain mode.
    """

    def __init__(self, app: App, info: MapInfo, form: Format | None) -> None:
        self.out: Out = app.out
        self.info = info
        self.format = form
        self.plain_json: JsonWriter | None = None
        facts = facts_of(info.type)
        self.values = facts.values
        self.percpu = facts.percpu
        self._possible_cpus = app.kernel.possible_cpus if self.percpu else (lambda: 1)

    def slots(self, value: bytes) -> list[bytes]:
        """Return the values of all possible CPUs."""
        step = slot_bytes(self.info.value_size)
        count = self._possible_cpus()
        return [value[at : at + self.info.value_size] for at in range(0, count * step, step)]

    def entry(self, key: bytes, value: bytes) -> None:
        """Print an element as ``lookup`` and ``dump`` do."""
        if self.out.json is not None:
            self.entry_json(self.out.json, key, value)
        elif self.format is not None and self.plain_json is not None:
            self.format.write(self.plain_json, key, self._values(value), plain=True)
        else:
            self.out.put(self.entry_plain(key, value))

    def entry_plain(self, key: bytes, value: bytes) -> str:
        """Return the text of an element, newline included."""
        info = self.info
        if self.percpu:
            return self._percpu_plain(key, value)
        lead, gap = plain_parts(info.key_size, info.value_size)
        text = f"key:{lead}{hex_rows(key)}{gap}" if info.key_size else ""
        if self.values == MAP:
            return f"{text}inner_map_id:{lead}{int.from_bytes(value[:4], 'little')} \n"
        if info.value_size:
            text += f"value:{lead}{hex_rows(value)}"
        return text + "\n"

    def _percpu_plain(self, key: bytes, value: bytes) -> str:
        lines = [f"key:\n{hex_rows(key)}\n"]
        lead = "\n" if self.info.value_size > ROW_BYTES else " "
        for cpu, slot in enumerate(self.slots(value)):
            lines.append(f"value (CPU {cpu:02d}):{lead}{hex_rows(slot)}\n")
        return "".join(lines)

    def entry_json(self, json: JsonWriter, key: bytes, value: bytes) -> None:
        """Write an element as an object."""
        json.begin_object()
        json.name("key")
        json.hex_array(key)
        if self.percpu:
            write_per_cpu(json, self.slots(value), json.hex_array)
        else:
            json.name("value")
            json.hex_array(value)
            if self.values == MAP:
                json.member("inner_map_id", int.from_bytes(value[:4], "little"))
        if self.format is not None:
            json.name("formatted")
            self.format.write(json, key, self._values(value), plain=False)
        json.end_object()

    def _values(self, value: bytes) -> bytes | list[bytes]:
        return self.slots(value) if self.percpu else value

    def unreadable(self, key: bytes, err: int) -> None:
        """Print an element of a dump whose value cannot be had."""
        info = self.info
        if err == E.NOENT and self.values in (MAP, PROG):
            return
        if self.out.json is not None:
            json = self.out.json
            json.begin_object()
            json.name("key")
            json.hex_array(key)
            json.name("value")
            json.begin_object()
            json.member("error", strerror(err))
            json.end_object()
            json.end_object()
            return
        text = strerror(err)
        if err == E.NOENT:
            text = NO_ENTRY
        elif err == E.NOSPC and info.type == REUSEPORT:
            text = CANNOT_READ
        lead, gap = plain_parts(info.key_size, len(text))
        self.out.put(f"key:{lead}{hex_rows(key)}{gap}value:{lead}{text}\n")


def map_format(app: App, info: MapInfo) -> Format | None:
    """Return how to print the values of a map with a BTF value type, else None."""
    if not info.btf_value_type_id:
        return None
    # The BTF modules take their time to import; few maps have types.
    from bpfctl.cli.map.btf import Format

    return Format.of_map(app, info)


def print_element(app: App, info: MapInfo, key: bytes, value: bytes) -> None:
    """Print the element that a command has found."""
    printer = Printer(app, info, map_format(app, info))
    if printer.format is not None and app.out.json is None:
        printer.plain_json = JsonWriter(app.out.put, pretty=True)
    printer.entry(key, value)
    if printer.plain_json is not None:
        app.out.put("\n")
