"""Links: a program at a place, held by descriptors and pins (struct bpf_link of syscall.c).

A link type is a class of :data:`LINK_CLASSES`; a link itself is a row, so that it outlives the
command that made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.kinds import ObjectKind
from bpfctl.kernel.ids import Ids
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.mm.gfp import GFP_USER
from bpfctl.kernel.records import LinkRecord, Task
from bpfctl.uapi_attach import LINK_TYPE_NUMBER, LINK_TYPES, LinkInfo

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel


class LinkType:
    """What is special about the links of one type. Instances hold nothing but the kernel."""

    name: ClassVar[str]
    own_bytes: ClassVar[int] = 0
    """What the type's structure has beyond struct bpf_link, bytes. Nobody is charged for links
    (GFP_USER), but for the open file."""
    updates: ClassVar[bool] = True
    detaches: ClassVar[bool] = True

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    def detach(self, link: LinkRecord) -> None:
        """Take the program from its place; called once, with ``attached`` still set."""

    def update(self, link: LinkRecord, new_prog: int, old_prog: int) -> None:
        """Put another program in place, which replaces ``link.prog_id`` afterwards.

        ``old_prog`` is what the caller thinks is there, 0: does not say.

        :raises KernelError: EPERM: another is; ENOLINK: nothing is, any more.
        """
        raise KernelError(E.INVAL, f"{self.name} links are not updated")

    def details(self, link: LinkRecord) -> dict[str, Any]:
        """Return what struct bpf_link_info adds for this type, by the kernel's names."""
        return {}

    def fdinfo(self, link: LinkRecord) -> dict[str, str]:
        """Return the lines that fdinfo adds for this type."""
        return {}


LINK_CLASSES: dict[str, str] = {
    "cgroup": "bpfctl.kernel.attach.cgroup_link:CgroupLink",
    "netns": "bpfctl.kernel.attach.netns:NetnsLink",
    "tcx": "bpfctl.kernel.attach.tcx:TcxLink",
    "xdp": "bpfctl.kernel.attach.xdp:XdpLink",
}
"""Where the class of each type is: imported when a link of it is touched."""


class Links:
    """Live links, referenced by descriptors and pins."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.records = kernel.storage.registry(LinkRecord)
        self.ids = Ids(kernel.storage, "link_id", self.records)  # type: ignore[arg-type]
        self._types: dict[int, LinkType] = {}

    def type_of(self, link: LinkRecord) -> LinkType:
        """Return what handles a link."""
        found = self._types.get(link.type)
        if found is None:
            from importlib import import_module

            module, _, name = LINK_CLASSES[LINK_TYPES[link.type]].partition(":")
            found = getattr(import_module(module), name)(self._kernel)
            self._types[link.type] = found
        return found

    def get(self, link_id: int) -> LinkRecord:
        """Return a live link.

        :raises KernelError: ENOENT.
        """
        found = self.records.get(link_id)
        if found is None:
            raise KernelError(E.NOENT, f"link {link_id}")
        return found

    def new(self, cls: type[LinkType], prog_id: int, **fields: Any) -> LinkRecord:
        """Allocate a link that is nowhere yet and has no row; :meth:`publish` or :meth:`free` it.

        :raises KernelError: ENOMEM.
        """
        kernel = self._kernel
        task = kernel.ctx.in_task
        link = LinkRecord(
            id=self.ids.peek(),
            type=LINK_TYPE_NUMBER[cls.name],
            prog_id=prog_id,
            objcg=kernel.memcg.objcg_of(task),
            refcnt=1,
            **fields,
        )
        self._mem(link).kmalloc("link", kernel.profile.sizeof("bpf_link") + cls.own_bytes, GFP_USER)
        return link

    def publish(self, link: LinkRecord) -> LinkRecord:
        """Give an attached link its id and row; it holds its program from now on."""
        link.id = self.ids.take()
        self.records.add(link)
        self._kernel.progs.inc(link.prog_id)
        return link

    def free(self, link: LinkRecord) -> None:
        """Uncharge a link."""
        self._mem(link).free_all()

    def inc(self, link_id: int) -> None:
        """Take a reference."""
        self.get(link_id).refcnt += 1

    def put(self, link_id: int) -> None:
        """Drop a reference; the last one detaches the link and frees it."""
        link = self.get(link_id)
        link.refcnt -= 1
        if link.refcnt:
            return
        if link.attached:
            self.type_of(link).detach(link)
        self.records.remove(link_id)
        self.free(link)
        self._kernel.progs.put(link.prog_id)

    def detach(self, link: LinkRecord) -> None:
        """BPF_LINK_DETACH.

        :raises KernelError: EOPNOTSUPP.
        """
        kind = self.type_of(link)
        if not kind.detaches:
            raise KernelError(E.OPNOTSUPP, f"{kind.name} links do not detach")
        if link.attached:
            kind.detach(link)
            link.attached = 0

    def update(self, link: LinkRecord, new_prog: int, old_prog: int) -> None:
        """BPF_LINK_UPDATE: references move from one program to the other.

        :raises KernelError: as the type says.
        """
        self.type_of(link).update(link, new_prog, old_prog)
        if new_prog != link.prog_id:
            self._kernel.progs.inc(new_prog)
            before, link.prog_id = link.prog_id, new_prog
            self._kernel.progs.put(before)

    def info(self, link_id: int) -> LinkInfo:
        """Return struct bpf_link_info."""
        link = self.get(link_id)
        return LinkInfo(link.type, link.id, link.prog_id, self.type_of(link).details(link))

    def fdinfo(self, link_id: int) -> dict[str, str]:
        """Return the lines of /proc/PID/fdinfo/FD."""
        link = self.get(link_id)
        prog = self._kernel.progs.get(link.prog_id)
        return {
            "link_type": LINK_TYPES[link.type],
            "link_id": str(link.id),
            "prog_tag": prog.tag.hex(),
            "prog_id": str(link.prog_id),
            **self.type_of(link).fdinfo(link),
        }

    def _mem(self, link: LinkRecord) -> Mem:
        return Mem(self._kernel.mm, "link", link.id, link.objcg)


def open_link(kernel: Kernel, task: Task, link: LinkRecord) -> int:
    """Publish an attached link and return its descriptor (bpf_link_settle).

    :raises KernelError: EMFILE, ENOMEM: it is detached and freed again.
    """
    from bpfctl.kernel.fs import FMODE_READ

    kernel.part(Links).publish(link)
    try:
        return kernel.files.open(task, "link", link.id, FMODE_READ)
    except BaseException:
        kernel.part(Links).put(link.id)
        raise


class LinkKind(ObjectKind):
    """Links."""

    name = "link"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._links = kernel.part(Links)

    @property
    def ids(self) -> Ids:
        return self._links.ids

    def inc(self, obj_id: int) -> None:
        self._links.inc(obj_id)

    def put(self, obj_id: int) -> None:
        self._links.put(obj_id)

    def info(self, obj_id: int) -> Any:
        return self._links.info(obj_id)

    def fdinfo(self, obj_id: int) -> dict[str, str]:
        return self._links.fdinfo(obj_id)
