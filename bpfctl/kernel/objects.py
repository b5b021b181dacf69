"""Small models of the rest of the kernel: what maps have as keys and values.

Sockets, inodes, net devices and the like are :class:`~bpfctl.kernel.records.SimObject` records,
made and removed by a person. A task opens one to have a descriptor of it. ``KINDS`` says as data
which kinds and attributes there are.

An object lives until it is removed and, where descriptors keep such a thing alive, until the last
one is closed. When its life ends it leaves the maps that it is in: an object's
``priv["maps"]`` counts its elements by map id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from bpfctl.errors import E, KernelError
from bpfctl.kernel.context import Context
from bpfctl.kernel.fs import STREAM, FileTable
from bpfctl.kernel.ids import Ids
from bpfctl.kernel.mm.memcg import MemcgTree
from bpfctl.kernel.profile import Profile
from bpfctl.kernel.records import File, Memcg, SimObject, Task
from bpfctl.kernel.storage import Storage
from bpfctl.light import dataclass

LOOPBACK = "lo"
LOOPBACK_IFINDEX = 1
ANON_INODE = "anon_inode:"
# Kinds whose descriptors share one inode, by whether pidfds have inodes of their own.
ANON = {False: ("perf_event", "pidfd"), True: ("perf_event",)}


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a kind. ``choices`` are its possible words; a flag or a number has none."""

    name: str
    help: str
    default: str | int | bool
    choices: tuple[str, ...] = ()

    def parse(self, text: str) -> str | int | bool:
        """Return the value that a person wrote.

        :raises KernelError: EINVAL, with a hint.
        """
        if self.choices and text in self.choices:
            return text
        if isinstance(self.default, bool) and text in ("yes", "no"):
            return text == "yes"
        if type(self.default) is int and text.isdecimal():
            return int(text)
        raise KernelError(E.INVAL, f"{self.name}={text}", f"{self.name} is {self.expected()}")

    def check(self, value: Any) -> None:
        """Refuse a value of the wrong kind.

        :raises KernelError: EINVAL, with a hint.
        """
        if type(value) is not type(self.default) or (
            value not in self.choices if self.choices else type(value) is int and value < 0
        ):
            raise KernelError(E.INVAL, self.name, f"{self.name} is {self.expected()}")

    def expected(self) -> str:
        """Say what values there are."""
        if self.choices:
            return f"one of {', '.join(filter(None, self.choices))}"
        return "yes or no" if isinstance(self.default, bool) else "a number"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object. ``named`` says what its name stands for; ``opens``: it has descriptors."""

    help: str
    named: str = "any label"
    attributes: tuple[Attribute, ...] = ()
    opens: bool = True


# What a new socket is where nobody says: its state by protocol.
SOCKET_STATES = {
    "tcp": "established",
    "udp": "bound",
    "unix": "established",
    "vsock": "established",
    "xdp": "bound",
    "packet": "bound",
}

PERF_EVENTS = ("bpf_output", "page-faults", "context-switches", "cpu-migrations")

KINDS: dict[str, Kind] = {
    "netdev": Kind(
        "a net device; it has no descriptors",
        "the interface name",
        (
            Attribute("ifindex", "interface index; 0 takes the next free one", 0),
            Attribute("xdp", "its driver runs XDP programs (native mode)", True),
            Attribute("peer", "the other end of a veth pair; empty: packets leave the machine", ""),
            Attribute("mac", "its address, empty: one made of the index", ""),
            Attribute("mtu", "bytes of a packet without its MAC header", 1500),
            Attribute("queues", "how many queues it receives on", 1),
            Attribute("up", "it sends and receives", True),
        ),
        opens=False,
    ),
    "socket": Kind(
        "a socket",
        attributes=(
            Attribute("proto", "protocol", "tcp", tuple(SOCKET_STATES)),
            Attribute(
                "state",
                "what was done with it; the default goes with the protocol",
                "",
                ("established", "listening", "bound", "unbound", "closed", ""),
            ),
            Attribute("type", "how it carries data (unix)", "stream", ("stream", "dgram")),
            Attribute("reuseport", "SO_REUSEPORT is set", False),
            Attribute("umem", "it has rings and memory of its own (xdp)", True),
        ),
    ),
    "inode": Kind("an open file on some file system", "a path, or any label"),
    "pidfd": Kind(
        "a descriptor of a task", "the pid; without one a new task is started for the purpose"
    ),
    "cgroup": Kind(
        "a cgroup directory", "its path below the mount, made if missing; empty for a new one"
    ),
    "perf_event": Kind(
        "a perf event",
        attributes=(
            Attribute("event", "what it counts or carries", "bpf_output", PERF_EVENTS),
            Attribute("cpu", "the CPU that it is on", 0),
            Attribute("pages", "pages of the ring that a process has mapped; 0: none", 8),
        ),
    ),
    "netns": Kind("a network namespace; init is the one that all tasks are in"),
}


def parse_attributes(kind: str, words: list[str]) -> dict[str, Any]:
    """Return the attributes that ``words`` name: ``NAME=VALUE``, a flag, or a choice alone.

    :raises KernelError: EINVAL, with a hint, for a word that means nothing to this kind.
    """
    found: dict[str, Any] = {}
    attributes = _kind(kind).attributes
    for word in words:
        name, equals, text = word.partition("=")
        for attribute in attributes:
            if equals and name == attribute.name:
                found[name] = attribute.parse(text)
            elif not equals and word == attribute.name and isinstance(attribute.default, bool):
                found[name] = True
            elif not equals and word in attribute.choices:
                found[attribute.name] = word
            else:
                continue
            break
        else:
            raise KernelError(E.INVAL, word, _attributes_hint(kind))
    return found


def _kind(name: str) -> Kind:
    found = KINDS.get(name)
    if found is None:
        raise KernelError(E.INVAL, name, f"kinds of objects: {', '.join(KINDS)}")
    return found


def _attributes_hint(kind: str) -> str:
    said = [f"{a.name} ({a.expected()})" for a in KINDS[kind].attributes]
    return f"attributes of a {kind}: {', '.join(said)}" if said else f"a {kind} has no attributes"


if TYPE_CHECKING:

    class Host(Protocol):
        """What these objects need of the machine that they are part of."""

        storage: Storage
        profile: Profile
        memcg: MemcgTree
        files: FileTable
        ctx: Context

        def task(self, pid: int) -> Task: ...

        def spawn(self, comm: str) -> Task: ...

        def exit_task(self, pid: int) -> None: ...


class SimObjects:
    """Objects by id. ``gone`` is told of each one that ends."""

    def __init__(self, machine: Host) -> None:
        self._machine = machine
        self.records = machine.storage.registry(SimObject)
        self.ids = Ids(machine.storage, "object_id", self.records)  # type: ignore[arg-type]
        self.gone: Callable[[SimObject], None] | None = None
        self._short_lived: set[int] = set()
        self._netdevs: dict[int, int] = {}
        machine.memcg.removed.append(self.cgroup_removed)

    def boot(self) -> None:
        """Start with the loopback device."""
        self.ids.boot()
        self.create("netdev", LOOPBACK, xdp=False)

    # --- making and finding ----------------------------------------------

    def create(self, kind: str, name: str = "", **attributes: Any) -> SimObject:
        """Make an object.

        :raises KernelError: EINVAL for an unknown kind, attribute or value; EEXIST for what there
            is already; ENOENT for a task that does not live.
        """
        facts = self._checked(kind, attributes)
        if kind == "netdev":
            facts["ifindex"] = self._free_ifindex(name, facts["ifindex"])
        elif kind == "socket":
            facts["state"] = facts["state"] or SOCKET_STATES[facts["proto"]]
        elif kind == "pidfd":
            facts["pid"] = self._task_of(name)
            name = str(facts["pid"])
        elif kind == "cgroup":
            name, facts["memcg"] = self._memcg_of(name)
        if kind in ("pidfd", "cgroup") and self.find(kind, name) is not None:
            raise KernelError(E.EXIST, f"{kind} {name}")
        made = SimObject(self.ids.take(), kind, name, 0, facts)
        self.records.add(made)
        return made

    @staticmethod
    def _checked(kind: str, attributes: dict[str, Any]) -> dict[str, Any]:
        known = {attribute.name: attribute for attribute in _kind(kind).attributes}
        for name, value in attributes.items():
            if name not in known:
                raise KernelError(E.INVAL, name, _attributes_hint(kind))
            known[name].check(value)
        return {**{a.name: a.default for a in known.values()}, **attributes}

    def _free_ifindex(self, name: str, wanted: int) -> int:
        if not name:
            raise KernelError(E.INVAL, "netdev", "a net device has a name")
        devices = list(self.records.find(kind="netdev"))
        taken = {dev.priv["ifindex"] for dev in devices}
        if wanted in taken or any(dev.name == name for dev in devices):
            raise KernelError(E.EXIST, name)
        return wanted or max(taken, default=0) + 1

    def _task_of(self, name: str) -> int:
        if not name:
            return self._machine.spawn("sleep").pid
        if not name.isdecimal():
            raise KernelError(E.INVAL, name, "the name of a pidfd is a pid")
        task = self._machine.task(int(name))
        if task.transient:
            raise KernelError(E.INVAL, name, "a command ends before its pidfd could be used")
        return task.pid

    def _memcg_of(self, path: str) -> tuple[str, int]:
        tree = self._machine.memcg
        if not path:
            path = f"/cgroup{self.ids.peek()}"
        try:
            memcg = tree.lookup(path)
        except KernelError:
            memcg = tree.create(path)
        return memcg.path, memcg.id

    def get(self, obj_id: int) -> SimObject:
        """Return an object.

        :raises KernelError: ENOENT.
        """
        found = self.records.get(obj_id)
        if found is None:
            raise KernelError(E.NOENT, f"object {obj_id}")
        return found

    def find(self, kind: str, name: str) -> SimObject | None:
        """Return the living object of a kind and name."""
        named = self.records.find(kind=kind, name=name)
        return next((found for found in named if not is_dead(found)), None)

    def find_or_create(self, kind: str, name: str) -> SimObject:
        """Return the object of a kind and name, made now if there is none."""
        return self.find(kind, name) or self.create(kind, name)

    def of_task(self, pid: int) -> SimObject:
        """Return what a task's storage hangs on: its pidfd, also that of a task of a command."""
        found = self.find("pidfd", str(pid))
        if found is None:
            found = SimObject(self.ids.take(), "pidfd", str(pid), 0, {"pid": pid})
            self.records.add(found)
            self._short_lived.add(pid)
        return found

    def netdev(self, ifindex: int) -> SimObject | None:
        """Return the net device with that index."""
        found = self.records.get(self._netdevs.get(ifindex, 0))
        if found is None:
            devices = self.records.find(kind="netdev")
            found = next((dev for dev in devices if dev.priv["ifindex"] == ifindex), None)
            if found is not None:
                self._netdevs[ifindex] = found.id
        return found

    # --- descriptors -----------------------------------------------------

    def open(self, pid: int, obj_id: int) -> int:
        """Return a new descriptor of task ``pid`` for an object.

        :raises KernelError: ENOENT, also for what is gone; EINVAL for what has no descriptors.
        """
        found = self.get(obj_id)
        if not KINDS[found.kind].opens:
            raise KernelError(E.INVAL, found.kind, f"a {found.kind} has no descriptors")
        if is_dead(found):
            raise KernelError(E.NOENT, f"object {obj_id}")
        fd = self._machine.files.open(self._machine.task(pid), found.kind, obj_id, 3)
        found.refcnt += 1
        return fd

    def inc(self, obj_id: int) -> None:
        """Take a descriptor's reference.

        :raises KernelError: ENOENT.
        """
        self.get(obj_id).refcnt += 1

    def put(self, obj_id: int) -> None:
        """Drop a descriptor's reference."""
        found = self.records.get(obj_id)
        if found is None:
            return
        found.refcnt -= 1
        if not found.refcnt and (is_dead(found) or found.priv.get("unlinked")):
            self._end(found)

    def file(self, fd: int) -> File:
        """Return what is open at ``fd`` of the task in the system call.

        :raises KernelError: EBADF.
        """
        return self._machine.files.get(self._machine.ctx.in_task.pid, fd)

    def of_fd(self, fd: int, kind: str, err: int = E.BADF) -> SimObject:
        """Return the object of one kind that is open at ``fd``.

        :raises KernelError: EBADF; ``err`` for another kind of file.
        """
        file = self.file(fd)
        if file.obj_kind != kind:
            raise KernelError(err, f"fd {fd} is a {file.obj_kind}")
        return self.get(file.obj_id)

    def inode_of_fd(self, fd: int, create: bool = False) -> SimObject | None:
        """Return the object whose inode is behind ``fd``.

        Maps, programs and the like have one nameless inode in common, the standard streams are
        taken for one terminal; these are None until ``create`` makes them.

        :raises KernelError: EBADF.
        """
        file = self.file(fd)
        pidfs = self._machine.profile.local_storage.pidfs
        if file.obj_kind in KINDS and file.obj_kind not in ANON[pidfs]:
            return self.get(file.obj_id)
        name = file.obj_kind if file.obj_kind == STREAM else ANON_INODE
        return self.find_or_create("inode", name) if create else self.find("inode", name)

    # --- the end of an object --------------------------------------------

    def remove(self, obj_id: int) -> None:
        """End an object's life: unregister a device, end a task, remove a cgroup.

        Sockets, files and perf events that a task has open live on until the last close.

        :raises KernelError: ENOENT; EOPNOTSUPP for the loopback device; EBUSY for a cgroup with
            tasks or children.
        """
        found = self.get(obj_id)
        if is_dead(found):
            raise KernelError(E.NOENT, f"object {obj_id}")
        if found.kind == "netdev" and found.name == LOOPBACK:
            raise KernelError(E.OPNOTSUPP, LOOPBACK, "the loopback device cannot be removed")
        if found.kind == "pidfd":
            self._machine.exit_task(found.priv["pid"])
        elif found.kind == "cgroup":
            self._machine.memcg.remove(found.name)
        elif found.refcnt:
            found.priv["unlinked"] = True
        else:
            self._end(found)

    def task_exited(self, pid: int) -> None:
        """Act on the end of a task: what hangs on its struct goes; pidfds stay open."""
        self._gone("pidfd", str(pid))

    def owns_storage(self, pid: int) -> bool:
        """Tell whether a task of this command has something hanging on its struct."""
        return pid in self._short_lived

    def cgroup_removed(self, memcg: Memcg) -> None:
        """Act on the removal of a cgroup."""
        self._gone("cgroup", memcg.path)

    def _gone(self, kind: str, name: str) -> None:
        found = self.find(kind, name)
        if found is not None:
            self._end(found)

    def _end(self, found: SimObject) -> None:
        if self.gone is not None:
            self.gone(found)
        found.priv["dead"] = True
        if not found.refcnt:
            self.records.remove(found.id)

    # --- elements of maps ------------------------------------------------

    @staticmethod
    def enter(found: SimObject, map_id: int) -> None:
        """Note that an element of a map refers to an object."""
        maps = found.priv.setdefault("maps", {})
        maps[str(map_id)] = maps.get(str(map_id), 0) + 1

    @staticmethod
    def leave(found: SimObject, map_id: int) -> None:
        """Note that an element of a map refers to an object no more."""
        maps = found.priv["maps"]
        maps[str(map_id)] -= 1
        if not maps[str(map_id)]:
            del maps[str(map_id)]


def is_dead(found: SimObject) -> bool:
    """Tell whether an object is gone and only its descriptors remain."""
    return bool(found.priv.get("dead"))


def shown(found: SimObject) -> dict[str, Any]:
    """Return an object's attributes, as a person is told them."""
    # States that were made before an attribute came lack it.
    facts = {a.name: found.priv.get(a.name, a.default) for a in KINDS[found.kind].attributes}
    maps = sorted(int(word) for word in found.priv.get("maps", ()))
    return {**facts, "descriptors": found.refcnt, "maps": maps, "gone": is_dead(found)}
