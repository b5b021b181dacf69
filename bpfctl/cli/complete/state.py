"""What completion offers of a state file: ids, names and paths.

The file is only read: it is never made, brought up to date or waited for. Whatever is wrong with
it, there is nothing to offer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from bpfctl.errors import Failure
from bpfctl.uapi import MAP_TYPES

if TYPE_CHECKING:
    import sqlite3

BPFFS = "/sys/fs/bpf"
# Nobody waits longer than this for a Tab.
BUSY_SECONDS = 0.1

Offer = tuple[str, str]  # a value and what it is


class MapFacts(NamedTuple):
    """What the grammar of elements depends on; sizes in bytes."""

    type: int
    key_size: int
    value_size: int


class State:
    """The state file that ``given`` (values of global options), environment or settings name."""

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self._conn: sqlite3.Connection | None = None
        self._tried = False

    def rows(self, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query, up to the first one that cannot be read."""
        import sqlite3

        try:
            if not self._tried:
                self._tried = True
                self._conn = self._open()
            if self._conn is not None:
                yield from self._conn.execute(sql, values)
        except (sqlite3.Error, OSError, OverflowError, ValueError):
            return

    def _open(self) -> sqlite3.Connection | None:
        import sqlite3

        from bpfctl.store.schema import APPLICATION_ID

        path = os.path.abspath(self._path())
        # A pipe would wait for somebody to write into it.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        conn = sqlite3.connect(_uri(path), timeout=BUSY_SECONDS, isolation_level=None, uri=True)
        conn.text_factory = lambda data: data.decode(errors="surrogateescape")
        found = conn.execute("PRAGMA application_id").fetchone()[0]
        return conn if found == APPLICATION_ID else None

    def _path(self) -> str:
        from bpfctl.cli.app.settings import Settings
        from bpfctl.store.path import state_path

        typed = self._given.get("state")
        if typed is not None:
            # The shell has not expanded what is still on the command line.
            return os.path.expanduser(os.path.expandvars(typed))
        try:
            return state_path(Settings({}).state)
        except Failure as exc:
            raise ValueError(exc.text) from exc

    # --- maps and programs -------------------------------------------------

    def map_ids(self) -> Iterator[Offer]:
        """Yield ids of maps with type and name."""
        for map_id, kind, name in self.rows('SELECT id, type, name FROM "map" ORDER BY id'):
            yield str(map_id), f"{_type_name(kind)} {os.fsdecode(name)}".rstrip()

    def map_names(self) -> Iterator[Offer]:
        """Yield each name of maps once, with what bears it."""
        sql = 'SELECT name, min(type), count(*), min(id) FROM "map" GROUP BY name ORDER BY min(id)'
        for name, kind, count, map_id in self.rows(sql):
            if name:
                about = f"{_type_name(kind)} {map_id}" if count == 1 else f"{count} maps"
                yield os.fsdecode(name), about

    def find_map(self, keyword: str, word: str) -> MapFacts | None:
        """Return the one map that a selector names, None if there is none or are several."""
        where: dict[str, tuple[str, Any]] = {
            "id": ("id = ?", int(word, 0) if _is_number(word) else -1),
            "name": ("name = ?", os.fsencode(word)),
            "pinned": (
                "id = (SELECT obj_id FROM pin WHERE kind = 'map' AND path = ?)",
                os.path.join(os.getcwd(), word),
            ),
        }
        if keyword not in where:
            return None
        condition, value = where[keyword]
        sql = f'SELECT type, key_size, value_size FROM "map" WHERE {condition} LIMIT 2'
        found = [MapFacts(*row) for row in self.rows(sql, value)]
        return found[0] if len(found) == 1 else None

    def prog_ids(self) -> Iterator[Offer]:
        """Yield ids of programs with their names."""
        for prog_id, name in self.rows("SELECT id, name FROM prog ORDER BY id"):
            yield str(prog_id), os.fsdecode(name)

    def prog_names(self) -> Iterator[Offer]:
        """Yield each name of programs once."""
        for (name,) in self.rows("SELECT DISTINCT name FROM prog ORDER BY name"):
            if name:
                yield os.fsdecode(name), ""

    def prog_tags(self) -> Iterator[Offer]:
        """Yield each tag of programs once, with a name that has it."""
        for tag, name in self.rows("SELECT tag, min(name) FROM prog GROUP BY tag ORDER BY tag"):
            yield tag.hex(), os.fsdecode(name)

    def btf_ids(self) -> Iterator[Offer]:
        """Yield ids of BTF objects."""
        for (btf_id,) in self.rows("SELECT id FROM btf ORDER BY id"):
            yield str(btf_id), ""

    # --- the bpffs -----------------------------------------------------------

    def pins(self, *kinds: str) -> Iterator[Offer]:
        """Yield the paths of pinned objects of ``kinds``, of all without any."""
        named = {"map": dict(self.map_ids()), "prog": dict(self.prog_ids())}
        sql = "SELECT path, kind, obj_id FROM pin WHERE kind NOT IN ('dir', 'mount') ORDER BY path"
        for path, kind, obj_id in self.rows(sql):
            if not kinds or kind in kinds:
                about = named.get(kind, {}).get(str(obj_id), "")
                yield path, f"{kind} {obj_id} {about}".rstrip()

    def directories(self) -> Iterator[Offer]:
        """Yield the directories of the bpffs, with a slash behind each."""
        found = False
        sql = "SELECT path FROM pin WHERE kind IN ('dir', 'mount') ORDER BY path"
        for (path,) in self.rows(sql):
            found = True
            yield path.rstrip("/") + "/", "directory"
        if not found:
            yield BPFFS + "/", "directory"

    # --- the rest of the machine ---------------------------------------------

    def cgroups(self) -> Iterator[Offer]:
        """Yield the paths of cgroups."""
        found = False
        for (path,) in self.rows("SELECT path FROM memcg ORDER BY path"):
            found = True
            yield path, ""
        if not found:
            yield "/", ""

    def tasks(self) -> Iterator[Offer]:
        """Yield pids of long-lived tasks with their names."""
        for pid, comm in self.rows("SELECT pid, comm FROM task WHERE NOT transient ORDER BY pid"):
            yield str(pid), comm

    def descriptors(self, pid: int) -> Iterator[Offer]:
        """Yield the descriptors of a task with what they refer to."""
        sql = "SELECT fd, obj_kind, obj_id FROM file WHERE pid = ? ORDER BY fd"
        for fd, kind, obj_id in self.rows(sql, pid):
            yield str(fd), f"{kind} {obj_id}"

    def mappings(self, pid: int) -> Iterator[Offer]:
        """Yield the numbers of a task's mappings with the map behind each."""
        sql = "SELECT id, map_id, length FROM mapping WHERE pid = ? ORDER BY id"
        for number, map_id, length in self.rows(sql, pid):
            yield str(number), f"map {map_id}, {length} bytes"

    def objects(self) -> Iterator[Offer]:
        """Yield ids of sockets, devices and the like."""
        for obj_id, kind, name in self.rows("SELECT id, kind, name FROM sim_object ORDER BY id"):
            yield str(obj_id), f"{kind} {name}".rstrip()

    def netdevs(self) -> Iterator[Offer]:
        """Yield the names of net devices."""
        for (name,) in self.rows("SELECT name FROM sim_object WHERE kind = 'netdev' ORDER BY id"):
            yield name, ""


def _uri(path: str) -> str:
    from urllib.parse import quote

    path = path.replace("\\", "/") if os.name == "nt" else path
    slash = "" if path.startswith("/") else "/"
    return f"file:{slash}{quote(os.fsencode(path))}?mode=ro"


def _is_number(word: str) -> bool:
    try:
        int(word, 0)
    except ValueError:
        return False
    return True


def _type_name(number: int) -> str:
    if 0 <= number < len(MAP_TYPES):
        return MAP_TYPES[number]
    from bpfctl.plugins import type_name

    return type_name(number) or f"type {number}"
