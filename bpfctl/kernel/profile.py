"""Kernel profiles: everything that differs between releases, read from profiles/*.toml.

Profiles are shared: they are never changed. One may be based on another; its tables then replace
single keys. A profile of the series ("5.10" with ``patch`` N) is 5.10 with the changes of the
first N patches of series.toml.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from bpfctl.errors import ProfileError
from bpfctl.light import dataclass, field_names

NEWEST = "7.3"
LONG_TERM = "6.18"
"""The newest long-term kernel: what a state is made with unless it is told otherwise."""
THIS = "this"
"""Stands for the release of the running kernel."""
PROFILES = ("5.10", "5.11", "5.15", "6.1", "6.6", "6.12", "6.18", "7.3")
LAST_PATCH = 34
POINTER = 8


@dataclass(slots=True)
class Accounting:
    """Who is charged for what; see the comments in profiles/5.10.toml."""

    families: frozenset[str]
    sites: frozenset[str]
    precharged: frozenset[str]
    accounted: frozenset[str]
    memlock: str
    updates_charge: str
    creation_hole: bool
    map_struct: str
    update_gfp: str
    prefill_gfp: str
    atomic_families: frozenset[str]
    atomic_counts_max: bool
    nowait_counts_max: bool
    sock_throttled: bool
    vmalloc_large_orders: bool
    kvmalloc_waits: bool
    accounted_pages_mappable: bool
    percpu_owners: bool
    memory_peak: bool
    memory_stat: frozenset[str]


@dataclass(slots=True)
class MemAlloc:
    """Who uses bpf_mem_alloc, and how large its per-CPU caches are."""

    families: frozenset[str]
    small_percpu_caches: bool


@dataclass(slots=True)
class Limits:
    """Largest attributes, in bytes or entries; 0 is "no such limit"."""

    hash_key: int
    hash_total: int
    array_value: int
    queue_total_u32: bool
    cgroup_storage_value: int
    cgroup_storage_percpu_value: int
    sockmap_int_max: bool
    nr_cpus: int
    ringbuf_max: int


@dataclass(slots=True)
class Checks:
    """Order and outcome of checks."""

    capability: str
    net_admin_by_sys_admin: bool
    unprivileged: str
    freeze: str
    map_extra: bool
    inner_special_fields: bool
    lookup_and_delete: frozenset[str]
    lookup_and_delete_flags: bool
    lpm_full_before_replace: bool
    special_field_errno: int
    special_fields: frozenset[str]
    kptr_refused: frozenset[str]
    btf_last_kind: int
    btf_struct_ops_late: bool
    cpu_flags: bool
    ringbuf_overwrite: bool
    excl_prog_hash: bool
    common_attrs: bool


@dataclass(slots=True)
class Hashtab:
    """Details of kernel/bpf/hashtab.c."""

    map_locked: int
    usage_counts_locks: bool
    hash_of_maps_spares: bool
    lru_target_free: str


@dataclass(slots=True)
class ArenaFacts:
    """Details of kernel/bpf/arena.c; ``range_node`` in bytes."""

    scratch_page: bool
    range_node: int
    usage_counts_pages: bool


@dataclass(slots=True)
class Net:
    """Sockets: the memory limit of socket options (bytes), protocols that a sockmap takes."""

    optmem_max: int
    psock_protocols: frozenset[str]
    xsk_needs_umem: bool


@dataclass(slots=True)
class LocalStorage:
    """Details of kernel/bpf/bpf_local_storage.c.

    ``elem_head``: bytes of an element before its value.
    """

    elem_head: int
    replace_charges: bool
    pidfs: bool


@dataclass(slots=True)
class Member:
    """One member of a struct: place and size in bytes; ``func`` for a pointer to a function."""

    name: str
    offset: int
    size: int
    func: bool


@dataclass(slots=True)
class StructOpsType:
    """A subsystem that programs can implement: ``type_id`` of its value type in the kernel's BTF.

    ``size`` is that of the subsystem's struct in bytes, members in order of declaration.
    """

    name: str
    type_id: int
    size: int
    members: tuple[Member, ...]


@dataclass(slots=True)
class StructOps:
    """Details of kernel/bpf/bpf_struct_ops.c.

    ``per_member``: tables of pointers that a map has, by what they have one for.
    """

    flags: int
    per_member: tuple[str, ...]
    image_counts: bool
    types: tuple[StructOpsType, ...]


@dataclass(slots=True)
class Progs:
    """Programs: what exists, who may load it, and the cost of machine code in bytes."""

    nr_helpers: int
    nr_attach_types: int
    load_flags: int
    isa: int
    gotol: bool
    last_pseudo_ld: int
    net_admin_types: frozenset[str]
    alloc_errno: int
    jit_prologue: int
    jit_exit: int
    verifier_work: tuple[int, ...]


@dataclass(slots=True)
class Attach:
    """Attaching: ``cgroup_order``: places and revisions in cgroup lists; ``preorder``:
    BPF_F_PREORDER; ``query_prog_flags``: flags of each program; ``effective_hides_flags``: none
    for an effective list."""

    cgroup_order: bool
    preorder: bool
    query_prog_flags: bool
    effective_hides_flags: bool


@dataclass(slots=True)
class Runtime:
    """What running programs looks like: BPF_PROG_TEST_RUN and helpers.

    ``runners``: types that have one. Sizes in bytes; the comments are in profiles/5.10.toml.
    """

    runners: frozenset[str]
    batch_size: bool
    skb_ctx: int
    skb_ingress_ifindex: bool
    skb_checksum_complete: bool
    skb_short_ip_refused: bool
    cgroup_skb_direct: bool
    xdp_ctx: bool
    xdp_frame: int
    xdp_meta_max: int
    sk_lookup_ctx: int
    sk_lookup_remote_port_checked: bool
    flow_retval: bool
    map_errors_extended: bool
    redirect_broadcast: bool
    adjust_room_flags: int
    tstamp_clocks: int
    tunnel_flags: int
    l4_csum_ipv6: bool
    csum_diff_folds: bool
    csum_diff_limited: bool
    comm_padded: bool
    printk_modern: bool
    printk_high_bytes: bool
    stack_frames: int
    timer_flags: int
    modify_return: int
    task_size: int


@dataclass(slots=True)
class Profile:
    """One kernel release. ``sizeof`` maps struct names to bytes (x86-64).

    ``measured``: its figures and verdicts were compared with a running kernel of that release.
    """

    name: str
    release: str
    measured: bool
    verified: str
    memlock_default: int
    tag_digest: str
    map_types: frozenset[str]
    btf_renamed: frozenset[str]
    prog_types: int
    accounting: Accounting
    mem_alloc: MemAlloc
    limits: Limits
    checks: Checks
    hashtab: Hashtab
    arena: ArenaFacts
    net: Net
    local_storage: LocalStorage
    struct_ops: StructOps
    progs: Progs
    runtime: Runtime
    attach: Attach
    batch: dict[str, frozenset[str]]
    sizes: dict[str, int]
    kconfig: dict[str, str]
    patch: int | None = None

    @property
    def caveat(self) -> str:
        """What goes behind the name of a kernel wherever its figures or verdicts are shown."""
        return "" if self.measured else " (not measured)"

    def sizeof(self, struct: str) -> int:
        """Bytes of ``struct``."""
        size = self.sizes.get(struct)
        if size is None:
            raise ProfileError(f"kernel profile {self.name} has no size of struct {struct}")
        return size

    def precharges(self, family: str) -> bool:
        """Tell whether ``family`` is held against RLIMIT_MEMLOCK."""
        known = self.accounting
        if family in known.families:
            return family in known.precharged
        return known.memlock == "charged"

    def accounts(self, site: str) -> bool:
        """Tell whether allocations at ``site`` carry __GFP_ACCOUNT."""
        known = self.accounting
        return (site if site in known.sites else "area") in known.accounted


_TABLES: dict[str, type[Any]] = {
    "accounting": Accounting,
    "mem_alloc": MemAlloc,
    "limits": Limits,
    "checks": Checks,
    "hashtab": Hashtab,
    "arena": ArenaFacts,
    "net": Net,
    "local_storage": LocalStorage,
    "progs": Progs,
    "runtime": Runtime,
    "attach": Attach,
}
_OTHER_TABLES = (
    "batch",
    "sizeof",
    "kconfig",
    "struct_ops",
    "struct_ops_types",
    "struct_ops_members",
)
_SCALARS = (
    "release",
    "measured",
    "verified",
    "memlock_default",
    "tag_digest",
    "map_types",
    "btf_renamed",
    "prog_types",
)


def _read(name: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    # Next to this file: importlib.resources takes longer to import than the file to read.
    with open(os.path.join(os.path.dirname(__file__), "profiles", f"{name}.toml"), "rb") as source:
        return tomllib.load(source)


def compiled_name(name: str) -> str:
    """Return the name of the module beside this one that has a profile, bases included.

    There is one for each in a wheel (setup.py makes them): to read TOML takes a quarter of a
    command's time. A source tree has none, so that what is changed there counts.
    """
    return f"profile_{name.replace('.', '_')}"


def compiled_text(name: str) -> str:
    """Return the text of that module."""
    return f'"""Linux {name}, from profiles/*.toml."""\n\nDATA = {_with_bases(name)!r}\n'


def _data(name: str) -> dict[str, Any]:
    try:
        module = import_module(f"{__package__}.{compiled_name(name)}")
    except ModuleNotFoundError:
        return _with_bases(name)
    data: dict[str, Any] = module.DATA
    return data


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = {**base.get(key, {}), **value} if isinstance(value, dict) else value
    return merged


def _with_bases(name: str) -> dict[str, Any]:
    data = _read(name)
    base = data.pop("based_on", None)
    return _merge(_with_bases(base), data) if base else data


def _table(cls: type[Any], name: str, data: dict[str, Any]) -> Any:
    known = set(field_names(cls))
    if set(data) != known:
        odd = ", ".join(sorted(set(data) ^ known))
        raise ProfileError(f"kernel profile: table [{name}] lacks or does not know: {odd}")
    return cls(**{k: _listed(v) if isinstance(v, list) else v for k, v in data.items()})


def _listed(words: list[Any]) -> frozenset[Any] | tuple[Any, ...]:
    """Return names as a set; numbers keep their order."""
    return tuple(words) if words and isinstance(words[0], int) else frozenset(words)


def _members(declared: list[str]) -> Iterator[Member]:
    """Lay out members given as "name:bytes", or "name()" for a function pointer."""
    offset = 0
    for text in declared:
        member, _, size_text = text.partition(":")
        func = member.endswith("()")
        size = POINTER if func else int(size_text)
        offset = -(-offset // min(size, POINTER)) * min(size, POINTER)
        yield Member(member.removesuffix("()"), offset, size, func)
        offset += size


def _struct_ops(data: dict[str, Any]) -> StructOps:
    types = []
    for name, type_id in data["struct_ops_types"].items():
        members = tuple(_members(data["struct_ops_members"][name]))
        end = members[-1].offset + members[-1].size
        types.append(StructOpsType(name, type_id, -(-end // POINTER) * POINTER, members))
    facts = data["struct_ops"]
    return StructOps(
        facts["flags"], tuple(facts["per_member"]), facts["image_counts"], tuple(types)
    )


def _build(name: str, data: dict[str, Any], patch: int | None) -> Profile:
    unknown = set(data) - set(_SCALARS) - set(_TABLES) - set(_OTHER_TABLES)
    if unknown:
        raise ProfileError(f"kernel profile {name}: unknown keys {', '.join(sorted(unknown))}")
    scalars = {key: data[key] for key in _SCALARS}
    for key in ("map_types", "btf_renamed"):
        scalars[key] = frozenset(scalars[key])
    tables = {key: _table(cls, key, data[key]) for key, cls in _TABLES.items()}
    batch = {kind: frozenset(ops) for kind, ops in data["batch"].items()}
    return Profile(
        name=name,
        **scalars,
        **tables,
        struct_ops=_struct_ops(data),
        batch=batch,
        sizes=data["sizeof"],
        kconfig=data["kconfig"],
        patch=patch,
    )


@dataclass(slots=True)
class Patch:
    """One patch of the series: its subject and what it changes in the model.

    ``show`` has commands that tell a kernel with it from one without, else ``untyped`` says why
    there are none. ``accounts`` sites get __GFP_ACCOUNT, ``uncharges`` families leave
    RLIMIT_MEMLOCK, ``sets`` replaces keys of [accounting].
    """

    number: int
    subject: str
    effect: str
    show: str
    untyped: str = ""
    accounts: tuple[str, ...] = ()
    uncharges: tuple[str, ...] = ()
    sets: tuple[tuple[str, Any], ...] = ()


@cache
def series() -> tuple[Patch, ...]:
    """Return the 34 patches of "bpf: switch to memcg-based memory accounting", in order."""
    found = []
    for entry in _read("series")["patch"]:
        entry = dict(entry)
        for key in ("accounts", "uncharges"):
            entry[key] = tuple(entry.get(key, ()))
        entry["sets"] = tuple(entry.get("sets", {}).items())
        found.append(Patch(**entry))
    return tuple(found)


def _apply_series(data: dict[str, Any], patch: int) -> dict[str, Any]:
    accounting = {**data["accounting"], **_read("series")["base"]}
    for step in series()[:patch]:
        accounting["accounted"] = [*accounting["accounted"], *step.accounts]
        accounting["precharged"] = [
            family for family in accounting["precharged"] if family not in step.uncharges
        ]
        accounting.update(step.sets)
    return {**data, "accounting": accounting}


def resolve(name: str) -> str:
    """Return the name of a profile as given, or for "this" that of the running kernel.

    :raises ProfileError: the running kernel has no profile.
    """
    if name != THIS:
        return name
    release = os.uname().release if hasattr(os, "uname") else ""
    found = ".".join(release.split(".")[:2])
    if found not in PROFILES:
        raise ProfileError(
            f"the running kernel, {release or 'not Linux'}, has no profile",
            hint=f"known kernels: {', '.join(PROFILES)}; take the nearest",
        )
    return found


@cache
def load(name: str, patch: int | None = None) -> Profile:
    """Return the profile ``name``; with ``patch`` (0..34) 5.10 plus that many patches.

    :raises ProfileError: unknown name, or a patch number that does not apply.
    """
    if name not in PROFILES:
        raise ProfileError(
            f"unknown kernel '{name}'", hint=f"known kernels: {', '.join(PROFILES)}"
        )
    if patch is None:
        return _build(name, _data(name), None)
    if name != "5.10" or not 0 <= patch <= LAST_PATCH:
        raise ProfileError(
            f"kernel {name} has no patch {patch} of the series",
            hint=f"patches are 0 to {LAST_PATCH}, of kernel 5.10",
        )
    return _build(name, _apply_series(_data(name), patch), patch)
