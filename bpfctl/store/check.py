"""Whether a state is what a kernel could have left: charges and references."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from bpfctl.kernel.config import Config
from bpfctl.kernel.mm.alloc import MEMORY_IN_USE, Allocators, Mem
from bpfctl.kernel.mm.footprint import Footprint
from bpfctl.kernel.mm.memcg import ROOT_ID, MemcgTree
from bpfctl.kernel.profile import load
from bpfctl.kernel.records import (
    Alloc,
    Attachment,
    BtfRecord,
    Counter,
    File,
    LinkRecord,
    Mapping,
    MapRecord,
    Memcg,
    Objcg,
    Pin,
    ProgRecord,
    Setting,
    SimObject,
    Task,
    User,
)
from bpfctl.store.check_maps import check_contents
from bpfctl.store.check_objects import check_objects
from bpfctl.store.check_rows import check_rows
from bpfctl.store.holders import held_by_maps, held_by_timers
from bpfctl.store.schema import Table
from bpfctl.store.sqlite import SqlStorage

R = TypeVar("R")
Ref = tuple[str, int]

STATS = ("slab_reclaimable", "slab_unreclaimable", "pagetables", "percpu", "vmalloc", "sock")
ALLOCATORS = (
    "kmalloc", "kmalloc_large", "kmem_cache", "vmalloc", "percpu", "page", "pagetable",
)
# What files and pins may refer to, beside simulated objects.
_KINDS: dict[str, type[Any]] = {
    "map": MapRecord,
    "prog": ProgRecord,
    "btf": BtfRecord,
    "link": LinkRecord,
}


def check_state(storage: SqlStorage) -> list[str]:
    """Return one sentence for everything that is wrong, [] for a sound state.

    Changes nothing, and trusts nothing: the state may come from a damaged file or an import.
    """
    storage.flush()
    findings = check_rows(storage)
    if findings:
        return findings
    return [found for check in _CHECKS for found in check(_View(storage))]


class _View:
    """The records to look at, read from the tables one after another."""

    def __init__(self, storage: SqlStorage) -> None:
        self.storage = storage
        self.conn = storage.conn
        self.config = Config.restore(storage.registry(Setting))

    def rows(self, cls: type[R]) -> Iterator[R]:
        """Yield all records of a class in the order of their keys."""
        table = Table(cls)
        return (table.record(row) for row in self.conn.execute(table.all_sql))

    def ids(self, cls: type[Any]) -> set[Any]:
        """Return all keys of a class."""
        table = Table(cls)
        return {table.key_in(row) for row in self.conn.execute(table.keys_sql)}

    def footprints(self) -> Callable[[Alloc], Footprint]:
        """Return the function that tells what one object of an allocation costs."""
        config = self.config
        tree = MemcgTree(self.storage, config.page_size, config.cgroup_memory, False)
        owners = load(config.kernel, config.patch).accounting.percpu_owners
        mm = Allocators(
            self.storage, tree, config.page_size, config.possible_cpus, config.memory, owners
        )
        return Mem(mm, "", 0, 0).footprint


# --- cgroups and charges ----------------------------------------------------


def _check_tree(view: _View) -> Iterator[str]:
    memcgs = {memcg.id: memcg for memcg in view.rows(Memcg)}
    owners = {objcg.id for objcg in view.rows(Objcg)}
    for memcg in memcgs.values():
        if memcg.id == ROOT_ID:
            continue
        parent = memcgs.get(memcg.parent)
        if parent is None:
            yield f"memcg {memcg.path}: its parent {memcg.parent} does not exist"
        elif memcg.path != f"{parent.path.rstrip('/')}/{memcg.name}":
            yield f"memcg {memcg.path}: is not where its parent {parent.path} says"
        if memcg.objcg not in owners:
            yield f"memcg {memcg.path}: its objcg {memcg.objcg} does not exist"
    for path, count in Tally(memcg.path for memcg in memcgs.values()).items():
        if count > 1:
            yield f"memcg {path}: there are {count} of that name"
    yield from (f"memcg {memcgs[at].path}: is its own ancestor" for at in _in_cycles(memcgs))
    for objcg in view.rows(Objcg):
        if objcg.memcg not in memcgs:
            yield f"objcg {objcg.id}: its memcg {objcg.memcg} does not exist"
    for task in view.rows(Task):
        if task.cgroup not in memcgs:
            yield f"task {task.pid}: its cgroup {task.cgroup} does not exist"


def _in_cycles(memcgs: dict[int, Memcg]) -> Iterator[int]:
    """Yield the ids from which the root cannot be reached, although all parents exist."""
    for start in memcgs:
        seen: set[int] = set()
        at = start
        while at in memcgs and at not in seen and at != ROOT_ID:
            seen.add(at)
            at = memcgs[at].parent
        if at in seen:
            yield start


def _check_charges(view: _View) -> Iterator[str]:
    """The invariant: counters equal the sum of live allocations, at every level."""
    footprint_of = view.footprints()
    page_size = view.config.page_size
    nbytes: Tally[int] = Tally()
    pages: Tally[int] = Tally()
    stats: Tally[tuple[int, str]] = Tally()
    in_use = 0
    for alloc in view.rows(Alloc):
        cost = footprint_of(alloc)
        in_use += alloc.nr * cost.real
        wanted = cost.charge(page_size) if alloc.objcg else 0
        if alloc.charge != wanted:
            yield f"{_name(alloc)}: charges {alloc.charge} bytes an object instead of {wanted}"
        if alloc.allocator not in ALLOCATORS:
            yield f"{_name(alloc)}: there is no allocator {alloc.allocator!r}"
        if alloc.nr < 1:
            yield f"{_name(alloc)}: stands for {alloc.nr} objects"
        if alloc.objcg:
            nbytes[alloc.objcg] += alloc.nr * cost.nbytes
            pages[alloc.objcg] += alloc.nr * cost.pages
            stats[alloc.objcg, cost.stat] += alloc.nr * wanted
    counter = view.storage.registry(Counter).get(MEMORY_IN_USE)
    if (counter.value if counter else None) != in_use:
        yield f"machine memory: {counter and counter.value} bytes in use, objects take {in_use}"
    yield from _check_objcgs(view, nbytes, pages)
    yield from _check_memcgs(view, stats)


def _name(alloc: Alloc) -> str:
    return f"allocation {alloc.label!r} of {alloc.owner_kind} {alloc.owner_id}"


def _check_objcgs(view: _View, nbytes: Tally[int], pages: Tally[int]) -> Iterator[str]:
    known = set()
    for objcg in view.rows(Objcg):
        known.add(objcg.id)
        held = (objcg.nbytes, objcg.pages)
        wanted = (nbytes[objcg.id], pages[objcg.id])
        if held != wanted:
            yield f"objcg {objcg.id}: (bytes, pages) {held}, its allocations have {wanted}"
        ahead = objcg.nbytes + (objcg.stock or 0) + objcg.parked
        if ahead % view.config.page_size or min(objcg.stock or 0, objcg.parked) < 0:
            yield f"objcg {objcg.id}: its bytes and its stock do not fill whole pages"
    for missing in sorted((set(nbytes) | set(pages)) - known):
        yield f"objcg {missing}: does not exist, but allocations name it"


def _check_memcgs(view: _View, stats: Tally[tuple[int, str]]) -> Iterator[str]:
    """Compare each memcg with its own objcgs plus its children, deepest first."""
    memcgs = {memcg.id: memcg for memcg in view.rows(Memcg)}
    if any(True for _ in _in_cycles(memcgs)):
        return
    page_size = view.config.page_size
    wanted: dict[int, Tally[str]] = {at: Tally() for at in memcgs}
    for objcg in view.rows(Objcg):
        chain = wanted.get(objcg.memcg)
        if chain is None:
            continue
        ahead = objcg.nbytes + (objcg.stock or 0) + objcg.parked
        chain["usage_pages"] += objcg.pages + ahead // page_size
        chain["kernel_pages"] += objcg.pages - (-objcg.nbytes // page_size)
        for stat in STATS:
            chain[stat] += stats[objcg.id, stat]
    for memcg in sorted(memcgs.values(), key=lambda m: m.path.count("/"), reverse=True):
        if memcg.id != ROOT_ID and memcg.parent in wanted:
            wanted[memcg.parent].update(wanted[memcg.id])
    for memcg in memcgs.values():
        for field in ("usage_pages", "kernel_pages", *STATS):
            held, sum_of = getattr(memcg, field), wanted[memcg.id][field]
            if held != sum_of:
                yield f"memcg {memcg.path}: {field} is {held}, what lives in it sums to {sum_of}"


def _check_locked(view: _View) -> Iterator[str]:
    """RLIMIT_MEMLOCK accounting: locked_vm equals what the user's objects were charged."""
    wanted: Tally[int] = Tally()
    for cls in (MapRecord, ProgRecord):
        for owner in view.rows(cls):
            wanted[owner.uid] += owner.memlock_pages  # type: ignore[attr-defined]
    for task in view.rows(Task):
        wanted[task.uid] += task.pinned_pages
    held = {user.uid: user.locked_vm_pages for user in view.rows(User)}
    for uid in sorted(set(held) | set(wanted)):
        if held.get(uid, 0) != wanted[uid]:
            yield (
                f"user {uid}: locked_vm is {held.get(uid, 0)} pages, "
                f"its objects were charged {wanted[uid]}"
            )


# --- references -------------------------------------------------------------


def _check_owners(view: _View) -> Iterator[str]:
    """Everything that belongs to an object belongs to one that exists."""
    tasks, maps = view.ids(Task), view.ids(MapRecord)
    progs, objcgs = view.ids(ProgRecord), view.ids(Objcg)
    files = view.ids(File)
    known = {
        "map": maps,
        "prog": progs,
        "link": view.ids(LinkRecord),
        "mapping": view.ids(Mapping),
        "object": view.ids(SimObject),
    }
    for alloc in view.rows(Alloc):
        if alloc.owner_kind == "file":
            missing = divmod(alloc.owner_id, 1 << 20) not in files
        else:
            missing = alloc.owner_id not in known.get(alloc.owner_kind, ())
        if missing:
            yield f"{_name(alloc)}: there is no such {alloc.owner_kind}"
    for file in view.rows(File):
        if file.pid not in tasks:
            yield f"descriptor {file.fd} of task {file.pid}: there is no such task"
        if file.objcg and file.objcg not in objcgs:
            yield f"descriptor {file.fd} of task {file.pid}: no objcg {file.objcg}"
    for mapping in view.rows(Mapping):
        if mapping.pid not in tasks:
            yield f"mapping {mapping.id}: there is no task {mapping.pid}"
        if mapping.objcg and mapping.objcg not in objcgs:
            yield f"mapping {mapping.id}: no objcg {mapping.objcg}"
    for table in ("elem", "lru_node"):
        for (mapid,) in view.conn.execute(f'SELECT DISTINCT "map" FROM "{table}"'):
            if mapid not in maps:
                yield f"{table} of map {mapid}: there is no such map"
    for task in view.rows(Task):
        if task.transient:
            yield f"task {task.pid} ({task.comm}): a command that never ended"


def _check_pins(view: _View) -> Iterator[str]:
    kinds = {pin.path: pin.kind for pin in view.rows(Pin)}
    for pin in view.rows(Pin):
        if pin.kind != "mount" and kinds.get(pin.parent) not in ("dir", "mount"):
            yield f"pin {pin.path}: is in no directory"


def _check_references(view: _View) -> Iterator[str]:
    """Counts equal descriptors, pins and holders."""
    users: Tally[Ref] = Tally()
    holders: Tally[Ref] = Tally()
    for file in view.rows(File):
        users[_ref(file.obj_kind, file.obj_id)] += 1
    for pin in view.rows(Pin):
        if pin.kind not in ("dir", "mount"):
            users[_ref(pin.kind, pin.obj_id)] += 1
    writers: Tally[int] = Tally()
    for mapping in view.rows(Mapping):
        users["map", mapping.map_id] += 1
        writers[mapping.map_id] += mapping.writable
    for prog in view.rows(ProgRecord):
        words = prog.map_ids.split(",") if prog.map_ids else []
        odd = [word for word in words if not (word.isascii() and word.isdecimal())]
        if odd:
            yield f"prog {prog.id}: {odd[0]!r} among its map ids"
        else:
            holders.update(("map", int(word)) for word in words)
        holders["btf", prog.btf_id] += bool(prog.btf_id)
    for found in view.rows(MapRecord):
        holders["btf", found.btf_id] += bool(found.btf_id)
        if found.mappings != writers[found.id]:
            yield (
                f"map {found.id}: counts {found.mappings} writable mappings, "
                f"there are {writers[found.id]}"
            )
    for link in view.rows(LinkRecord):
        holders["prog", link.prog_id] += 1
    for row in view.rows(Attachment):
        holders["prog", row.prog_id] += not row.link_id
    holders.update(held_by_maps(view.conn))
    holders.update(held_by_timers(view.conn))
    yield from _compare_counts(view, users, holders)


def _check_attached(view: _View) -> Iterator[str]:
    """Lists of attach points are numbered without gaps, and their links are there and attached."""
    links = {link.id: link for link in view.rows(LinkRecord)}
    places: dict[tuple[str, int], list[int]] = {}
    for row in view.rows(Attachment):
        places.setdefault((row.hook, row.target), []).append(row.pos)
        link = links.get(row.link_id)
        if row.link_id and link is None:
            yield f"attachment {row.hook} of {row.target}: there is no link {row.link_id}"
        elif link is not None and (not link.attached or link.prog_id != row.prog_id):
            yield f"attachment {row.hook} of {row.target}: link {link.id} says otherwise"
    for (hook, target), found in places.items():
        if sorted(found) != list(range(len(found))):
            yield f"attachments {hook} of {target}: positions {found}"


def _check_objects(view: _View) -> Iterator[str]:
    return check_objects(view.conn, view.rows(SimObject))


def _check_contents(view: _View) -> Iterator[str]:
    return check_contents(view.conn, view.config)


def _ref(kind: str, obj_id: int) -> Ref:
    return (kind, obj_id) if kind in _KINDS else ("object", obj_id)


def _compare_counts(view: _View, users: Tally[Ref], holders: Tally[Ref]) -> Iterator[str]:
    wanted = users + holders
    kinds: dict[str, type[Any]] = {**_KINDS, "object": SimObject}
    for kind, cls in kinds.items():
        for found in view.rows(cls):
            ref = (kind, found.id)
            count = wanted.pop(ref, 0)
            if found.refcnt != count:
                yield f"{kind} {found.id}: refcnt is {found.refcnt}, {count} refer to it"
            elif count == 0 and kind != "object":
                yield f"{kind} {found.id}: nothing refers to it"
            if kind == "map" and found.usercnt != users[ref]:
                yield f"map {found.id}: usercnt is {found.usercnt}, {users[ref]} use it"
    for kind, obj_id in sorted(wanted):
        yield f"{kind} {obj_id}: does not exist, but {wanted[kind, obj_id]} refer to it"


_CHECKS = (
    _check_tree,
    _check_charges,
    _check_locked,
    _check_owners,
    _check_pins,
    _check_references,
    _check_attached,
    _check_objects,
    _check_contents,
)
