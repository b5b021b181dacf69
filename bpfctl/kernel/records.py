"""What the simulated kernel remembers between system calls, as plain records.

A storage keeps one table per record class: the column names are the field names, the first
``KEYS`` fields are the key. Fields hold int, str, bytes, None or a JSON-able dict, nothing else.
``INDEX`` names fields that never change and that records are often looked up by; ``U64`` those
that may reach 2**63 and beyond.
Amounts are bytes unless the name ends in ``_pages``; ``None`` means "no limit".
"""

from __future__ import annotations

from typing import Any, ClassVar

from bpfctl.light import dataclass, field


@dataclass(slots=True)
class User:
    """struct user_struct: what RLIMIT_MEMLOCK is held against."""

    KEYS: ClassVar[int] = 1
    uid: int
    locked_vm_pages: int = 0


@dataclass(slots=True)
class Task:
    """struct task_struct: credentials, cgroup and limits of a process.

    ``caps`` is the effective capability mask; ``cgroup`` a :class:`Memcg` id. ``mlocked_pages``
    are mlock(2)ed (mm->locked_vm); ``pinned_pages`` are locked on the user's account by other
    subsystems than BPF (perf rings, AF_XDP umem, io_uring).
    """

    KEYS: ClassVar[int] = 1
    U64: ClassVar[tuple[str, ...]] = ("memlock_soft", "memlock_hard")
    pid: int
    comm: str = ""
    uid: int = 0
    caps: int = 0
    cgroup: int = 1
    memlock_soft: int | None = None
    memlock_hard: int | None = None
    cpu: int = 0
    transient: int = 0
    mlocked_pages: int = 0
    pinned_pages: int = 0


@dataclass(slots=True)
class File:
    """struct file: one open descriptor. ``obj_kind`` is map, prog, btf or a simulated object."""

    KEYS: ClassVar[int] = 2
    INDEX: ClassVar[tuple[str, ...]] = ("pid",)
    pid: int
    fd: int
    obj_kind: str = "map"
    obj_id: int = 0
    fmode: int = 3
    objcg: int = 0


@dataclass(slots=True)
class Memcg:
    """struct mem_cgroup. Counters include all descendants, events have a local twin.

    ``usage_pages`` is the page counter that limits are held against (it includes what sits in
    object stocks); ``kernel_pages`` is what memory.current and memory.stat:kernel show.
    """

    KEYS: ClassVar[int] = 1
    INDEX: ClassVar[tuple[str, ...]] = ("parent",)
    id: int
    parent: int = 0
    name: str = ""
    path: str = "/"
    objcg: int = 0
    max_pages: int | None = None
    high_pages: int | None = None
    low_pages: int | None = 0
    min_pages: int | None = 0
    usage_pages: int = 0
    kernel_pages: int = 0
    peak_pages: int = 0
    slab_reclaimable: int = 0
    slab_unreclaimable: int = 0
    pagetables: int = 0
    percpu: int = 0
    vmalloc: int = 0
    sock: int = 0
    ev_low: int = 0
    ev_high: int = 0
    ev_max: int = 0
    ev_oom: int = 0
    ev_oom_kill: int = 0
    local_low: int = 0
    local_high: int = 0
    local_max: int = 0
    local_oom: int = 0
    local_oom_kill: int = 0


@dataclass(slots=True)
class Objcg:
    """struct obj_cgroup: who pays. Re-pointed at the parent when its cgroup goes away.

    ``nbytes`` is the sum of live byte charges; ``stock`` the bytes charged ahead (None: not
    cached), ``parked`` bytes left behind by a drained stock; ``pages`` whole-page charges.
    """

    KEYS: ClassVar[int] = 1
    id: int
    memcg: int = 0
    nbytes: int = 0
    pages: int = 0
    stock: int | None = None
    parked: int = 0


@dataclass(slots=True)
class Alloc:
    """A live allocation: ``nr`` equal objects of ``size`` bytes each.

    ``charge`` is what one object adds to its objcg in bytes; ``objcg`` 0 is nobody.
    """

    KEYS: ClassVar[int] = 4
    INDEX: ClassVar[tuple[str, ...]] = ("owner_kind", "owner_id")
    owner_kind: str
    owner_id: int
    label: str
    objcg: int
    allocator: str = "kmalloc"
    size: int = 0
    nr: int = 0
    charge: int = 0


@dataclass(slots=True)
class MapRecord:
    """struct bpf_map plus what is private to the type (``priv``).

    ``fields`` has the special fields of the value (struct btf_record): kind to a list of
    (offset, size); ``owner`` what kind of program the map is for (struct bpf_map_owner), {} as
    long as none was seen. ``memlock_pages`` is what was charged to user ``uid`` (rlimit era);
    ``objcg`` the saved creator; ``refcnt`` counts descriptors, pins and holders, ``usercnt`` the
    first two of them only.
    """

    KEYS: ClassVar[int] = 1
    U64: ClassVar[tuple[str, ...]] = ("map_extra",)
    id: int
    type: int = 0
    name: bytes = b""
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    map_flags: int = 0
    map_extra: int = 0
    ifindex: int = 0
    btf_id: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    btf_vmlinux_value_type_id: int = 0
    uid: int = 0
    objcg: int = 0
    memlock_pages: int = 0
    nr_elems: int = 0
    seq: int = 0
    frozen: int = 0
    refcnt: int = 0
    usercnt: int = 0
    mappings: int = 0
    fields: dict[str, Any] = field(default_factory=dict)
    owner: dict[str, Any] = field(default_factory=dict)
    priv: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class ProgRecord:
    """struct bpf_prog and its aux: what was loaded and what it holds."""

    KEYS: ClassVar[int] = 1
    id: int
    type: int = 0
    name: bytes = b""
    tag: bytes = b""
    insns: bytes = b""
    gpl_compatible: int = 1
    jited_len: int = 0
    pages: int = 0
    load_time: int = 0
    uid: int = 0
    objcg: int = 0
    memlock_pages: int = 0
    btf_id: int = 0
    refcnt: int = 0
    map_ids: str = ""
    priv: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class BtfRecord:
    """struct btf: a loaded blob."""

    KEYS: ClassVar[int] = 1
    id: int
    blob: bytes = b""
    refcnt: int = 0


@dataclass(slots=True)
class LinkRecord:
    """struct bpf_link and what its type keeps: one program at one place, held by descriptors.

    ``type`` is an enum bpf_link_type, ``target`` what it is attached to (a cgroup's id, an
    ifindex, ...; 0: nothing any more). ``attached`` is 0 once it was detached or lost its target.
    """

    KEYS: ClassVar[int] = 1
    INDEX: ClassVar[tuple[str, ...]] = ("type", "target")
    U64: ClassVar[tuple[str, ...]] = ("cookie",)
    id: int
    type: int = 0
    target: int = 0
    attach_type: int = 0
    prog_id: int = 0
    attached: int = 1
    flags: int = 0
    cookie: int = 0
    name: bytes = b""
    objcg: int = 0
    refcnt: int = 0
    priv: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Attachment:
    """A program in the list of one hook of one target; ``link_id`` 0 where no link holds it."""

    KEYS: ClassVar[int] = 3
    INDEX: ClassVar[tuple[str, ...]] = ("hook", "target")
    hook: str
    target: int
    pos: int
    prog_id: int = 0
    link_id: int = 0
    flags: int = 0


@dataclass(slots=True)
class AttachPoint:
    """What a hook of a target remembers beside its programs: its mode, how often it changed."""

    KEYS: ClassVar[int] = 2
    hook: str
    target: int
    flags: int = 0
    revision: int = 1


@dataclass(slots=True)
class Pin:
    """An inode of the virtual bpffs: a directory, or a pinned object.

    ``ino`` grows from one entry to the next: a directory is read newest first.
    """

    KEYS: ClassVar[int] = 1
    INDEX: ClassVar[tuple[str, ...]] = ("parent",)
    path: str
    parent: str = ""
    kind: str = "dir"
    obj_id: int = 0
    ino: int = 0


@dataclass(slots=True)
class Mapping:
    """struct vm_area_struct: part of a map that a task has mapped.

    ``start`` is the address, ``offset`` where in the map's mappable memory it begins; ``objcg``
    pays for it; ``priv["tables"]`` numbers the page tables that lead to it.
    """

    KEYS: ClassVar[int] = 1
    INDEX: ClassVar[tuple[str, ...]] = ("pid",)
    id: int
    pid: int = 0
    map_id: int = 0
    start: int = 0
    offset: int = 0
    length: int = 0
    writable: int = 0
    objcg: int = 0
    priv: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class SimObject:
    """Something of the rest of the kernel that maps refer to: socket, inode, net device, ...

    Made with ``bpfctl sim object``. ``refcnt`` counts descriptors only.
    """

    KEYS: ClassVar[int] = 1
    id: int
    kind: str = ""
    name: str = ""
    refcnt: int = 0
    priv: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class LruNode:
    """struct bpf_lru_node (and, with a negative ``node``, a list head).

    ``prev`` and ``next`` are node numbers; ``kind`` is the list the node is on.
    """

    KEYS: ClassVar[int] = 2
    map: int
    node: int
    key: bytes = b""
    kind: int = 0
    cpu: int = 0
    ref: int = 0
    prev: int = 0
    next: int = 0


@dataclass(slots=True)
class Output:
    """What a program put out: a record of ring number ``ring`` of a kind (trace, perf).

    ``seq`` grows from one record to the next.
    """

    KEYS: ClassVar[int] = 3
    kind: str
    ring: int
    seq: int
    data: bytes = b""


@dataclass(slots=True)
class Setting:
    """One key of the simulator's configuration."""

    KEYS: ClassVar[int] = 1
    name: str
    value: str


@dataclass(slots=True)
class Counter:
    """A number that lives on: the last id given out per kind, bytes of memory in use."""

    KEYS: ClassVar[int] = 1
    name: str
    value: int = 0


RECORDS = (
    Setting,
    Counter,
    User,
    Task,
    File,
    Memcg,
    Objcg,
    Alloc,
    MapRecord,
    ProgRecord,
    BtfRecord,
    LinkRecord,
    Attachment,
    AttachPoint,
    Pin,
    SimObject,
    Mapping,
    LruNode,
    Output,
)
