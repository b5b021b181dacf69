"""Measure what a patch of the series changes: the same few steps on two kernels.

Every subject (a map of each kind, programs) is made by a task in ``/creator``, then updated by
one in ``/updater``. What comes out is a flat record of figures; two records are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bpfctl.errors import KernelError, errno_name
from bpfctl.libbpf.bpf import Bpf
from bpfctl.testbed import Bed
from bpfctl.uapi import (
    BPF_F_MMAPABLE,
    BPF_F_NO_PREALLOC,
    MAP_TYPE_NUMBER,
    PROG_TYPE_NUMBER,
    MapCreateAttr,
    ProgLoadAttr,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.system.releases import Profile

CREATOR, UPDATER = "/creator", "/updater"
CPUS = 2
CACHE_LINE = 64
UPDATES = 4
MMAP_PATCH, FIRST_ACCOUNTED_MAPS = 4, 7

Figures = dict[tuple[str, str], "int | str"]
"""(subject, figure) -> bytes, or a word."""

_R0_ZERO, _EXIT = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0)), bytes((0x95, 0, 0, 0, 0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Subject:
    """A map to make: its attributes, and what ``Work`` does to update it ("" for nothing)."""

    name: str
    type: str
    key: int
    value: int
    entries: int
    flags: int = 0
    update: str = ""
    btf: bool = False


SUBJECTS = (
    Subject("array", "array", 4, 64, 1024, update="index"),
    Subject("array (mmapable)", "array", 4, 64, 1024, BPF_F_MMAPABLE),
    Subject("percpu_array", "percpu_array", 4, 64, 128, update="percpu"),
    Subject("prog_array", "prog_array", 4, 4, 64),
    Subject("perf_event_array", "perf_event_array", 4, 4, 64),
    Subject("hash", "hash", 4, 8, 1000, update="key"),
    Subject("hash (no prealloc)", "hash", 4, 8, 1000, BPF_F_NO_PREALLOC, "key"),
    Subject("percpu_hash", "percpu_hash", 4, 8, 1000, update="percpu"),
    Subject("percpu_hash (no prealloc)", "percpu_hash", 4, 8, 1000, BPF_F_NO_PREALLOC, "percpu"),
    Subject("lru_hash", "lru_hash", 4, 8, 1000, update="key"),
    Subject("lpm_trie", "lpm_trie", 8, 16, 1000, BPF_F_NO_PREALLOC, "prefix"),
    Subject("queue", "queue", 0, 16, 1000, update="push"),
    Subject("stack_trace", "stack_trace", 4, 1016, 100),
    Subject("devmap", "devmap", 4, 4, 64, update="ifindex"),
    Subject("devmap_hash", "devmap_hash", 4, 4, 64, update="ifindex"),
    Subject("cpumap", "cpumap", 4, 4, CPUS, update="qsize"),
    Subject("xskmap", "xskmap", 4, 4, 64, update="xdp socket"),
    Subject("sockmap", "sockmap", 4, 4, 100, update="tcp socket"),
    Subject("sockhash", "sockhash", 4, 4, 100, update="tcp socket"),
    Subject("reuseport_sockarray", "reuseport_sockarray", 4, 8, 64),
    Subject("ringbuf", "ringbuf", 0, 0, 65536),
    Subject("cgroup_storage", "cgroup_storage", 8, 64, 0),
    Subject("sk_storage", "sk_storage", 4, 8, 0, BPF_F_NO_PREALLOC, "of a tcp socket", btf=True),
    Subject("inode_storage", "inode_storage", 4, 8, 0, BPF_F_NO_PREALLOC, "of a inode", btf=True),
)


class Work:
    """One kernel, a creating task and an updating one in their own cgroups."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.bed = Bed(kernel, [CREATOR, UPDATER])
        self.creator = self.bed.task("creator", CREATOR)
        self.updater = self.bed.task("updater", UPDATER)

    # --- making ------------------------------------------------------------

    def create(self, bpf: Bpf, subject: Subject) -> int:
        """Make the map of a subject and return its descriptor."""
        attr = MapCreateAttr(
            map_type=MAP_TYPE_NUMBER[subject.type],
            key_size=subject.key,
            value_size=subject.value,
            max_entries=subject.entries,
            map_flags=subject.flags,
        )
        if subject.btf:
            from bpfctl.btf.build import BtfBuilder

            btf = BtfBuilder()
            attr.btf_key_type_id = btf.add_int("int", 4, 1)
            char = btf.add_int("char", 1, 1)
            attr.btf_value_type_id = btf.add_array(char, subject.value, attr.btf_key_type_id)
            attr.btf_fd = bpf.btf_load(btf.encode())
        return bpf.map_create(attr)

    def struct_ops(self, bpf: Bpf) -> int:
        """Make a struct_ops map of the first type that the kernel has."""
        from bpfctl.btf.build import BtfBuilder

        profile = self.kernel.profile
        kind = profile.struct_ops.types[0]
        size = profile.sizeof("bpf_struct_ops_value") + kind.size
        btf = BtfBuilder()
        btf.add_int("int", 4, 1)
        attr = MapCreateAttr(
            map_type=MAP_TYPE_NUMBER["struct_ops"],
            key_size=4,
            value_size=-(-size // CACHE_LINE) * CACHE_LINE,
            max_entries=1,
            btf_fd=bpf.btf_load(btf.encode()),
            btf_vmlinux_value_type_id=kind.type_id,
        )
        return bpf.map_create(attr)

    def program(self, bpf: Bpf) -> int:
        """Load a program of two instructions."""
        number = PROG_TYPE_NUMBER["socket_filter"]
        return bpf.prog_load(ProgLoadAttr(prog_type=number, insns=_R0_ZERO + _EXIT))

    # --- updating ----------------------------------------------------------

    def update(self, fd: int, subject: Subject, number: int) -> None:
        """Do update ``number`` as the updating task."""
        key, value = self._element(subject, number)
        self.updater.map_update_elem(fd, key, value)

    def _element(self, subject: Subject, number: int) -> tuple[bytes | None, bytes]:
        how = subject.update
        key: bytes | None = number.to_bytes(4, "little").ljust(subject.key, b"\0")
        value = bytes(subject.value)
        if how == "percpu":
            value = bytes(-(-subject.value // 8) * 8 * CPUS)
        elif how == "prefix":
            key = (32).to_bytes(4, "little") + number.to_bytes(4, "big")
        elif how == "push":
            key = None
        elif how == "ifindex":
            value = (1).to_bytes(4, "little")
        elif how == "qsize":
            value = (192).to_bytes(4, "little")
        elif how.endswith(("socket", "inode")):
            fd = self._open(how.split()[-2:]).to_bytes(4, "little")
            key, value = (fd, value) if how.startswith("of") else (key, fd)
        return key, value

    def _open(self, words: list[str]) -> int:
        facts = {"proto": words[0]} if words[1] == "socket" else {}
        made = self.kernel.objects.create(words[1], **facts)
        return self.kernel.objects.open(self.updater.pid, made.id)

    # --- reading -----------------------------------------------------------

    def paid(self, kind: str, obj_id: int) -> dict[str, int]:
        """Return the bytes that each cgroup pays for an object, descriptors apart."""
        paid = self.bed.paid(kind, obj_id)
        return {path: paid.get(path, 0) for path in (CREATOR, UPDATER)}

    def locked(self) -> int:
        """Return what root has locked, in bytes."""
        return self.bed.locked_pages() * self.kernel.config.page_size


def _errno(action: Callable[[], object]) -> str:
    try:
        action()
    except KernelError as exc:
        return errno_name(exc.code)
    return "ok"


def _made(work: Work, kind: str, make: Callable[[Bpf], int]) -> Iterator[tuple[str, int | str]]:
    """Make an object; yield what it costs and whether a limit of 0 stops it."""
    before = work.locked()
    fd = make(work.creator)
    obj_id = work.creator.obj_info(fd).id
    yield "held against RLIMIT_MEMLOCK", work.locked() - before
    yield "charged to the creator's cgroup", work.paid(kind, obj_id)[CREATOR]
    yield "memlock in fdinfo", int(work.creator.fdinfo(fd)["memlock"])
    work.kernel.setrlimit_memlock(work.creator.pid, 0, None)
    yield "with RLIMIT_MEMLOCK 0", _errno(lambda: make(work.creator))
    work.kernel.setrlimit_memlock(work.creator.pid, None, None)


def _updated(work: Work, subject: Subject) -> Iterator[tuple[str, int | str]]:
    """Update a map from another cgroup; yield what each of the two pays for that."""
    fd = work.create(work.creator, subject)
    map_id = work.creator.map_info(fd).id
    before = work.paid("map", map_id)
    shared = work.updater.map_get_fd_by_id(map_id)
    for number in range(min(UPDATES, subject.entries or UPDATES)):
        work.update(shared, subject, number)
    after = work.paid("map", map_id)
    yield "updates charged to the creator", after[CREATOR] - before[CREATOR]
    yield "updates charged to the updater", after[UPDATER] - before[UPDATER]


def _mapped(work: Work, subject: Subject) -> Iterator[tuple[str, int | str]]:
    fd = work.create(work.creator, subject)
    page = work.kernel.config.page_size
    yield "mmap", _errno(lambda: work.kernel.mmap(work.creator.pid, fd, 0, page, True))


def measure(kernel: Kernel) -> Figures:
    """Take all figures of a kernel that was just booted."""
    work = Work(kernel)
    figures: Figures = {}

    def add(subject: str, found: Iterator[tuple[str, int | str]]) -> None:
        figures.update({(subject, name): value for name, value in found})

    for subject in SUBJECTS:
        add(subject.name, _made(work, "map", lambda bpf, it=subject: work.create(bpf, it)))  # type: ignore[misc]
        if subject.update:
            add(subject.name, _updated(work, subject))
        if subject.name in ("array (mmapable)", "ringbuf"):
            add(subject.name, _mapped(work, subject))
    add("program", _made(work, "prog", work.program))
    # 5.10 reads its own BTF when the first program is loaded, and not for struct_ops.
    add("struct_ops", _made(work, "map", work.struct_ops))
    return figures


def kernels_of(patch: int) -> tuple[Profile, Profile, str]:
    """Return the profiles before and after ``patch``, and what is special about them.

    The flag of patch 4 shows once pages of maps are accounted: patch 7 with and without it.
    """
    from bpfctl.system.releases import load

    if patch != MMAP_PATCH:
        return load("5.10", patch - 1), load("5.10", patch), ""
    after = load("5.10", FIRST_ACCOUNTED_MAPS)
    accounting = replace(after.accounting, accounted_pages_mappable=False)
    note = f"at patch {FIRST_ACCOUNTED_MAPS}, without and with patch {MMAP_PATCH}"
    return replace(after, accounting=accounting), after, note


def boot(profile: Profile) -> Kernel:
    """Boot a kernel in memory for measuring."""
    kernel = Bed.boot("5.10", profile.patch, cpus=CPUS).kernel
    kernel.profile = profile
    return kernel


@dataclass(frozen=True, slots=True)
class Change:
    """One figure that a patch changes."""

    subject: str
    figure: str
    before: int | str
    after: int | str


def changes(patch: int) -> tuple[list[Change], str]:
    """Return the figures that ``patch`` changes, and a note on how they were taken."""
    old, new, note = kernels_of(patch)
    before, after = measure(boot(old)), measure(boot(new))
    found = [
        Change(*key, before[key], value) for key, value in after.items() if before[key] != value
    ]
    return found, note
