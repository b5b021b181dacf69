"""bpffs: the virtual file system that objects are pinned in (kernel/bpf/inode.c).

It is mounted at /sys/fs/bpf of the simulated machine; more mounts can be made. Paths are
absolute. Reference counts are the kernel's business, not this module's.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator

from bpfctl.errors import E, KernelError
from bpfctl.kernel.records import Counter, Pin
from bpfctl.kernel.storage import Storage

DEFAULT_MOUNT = "/sys/fs/bpf"
NAME_MAX = 255
INODES = "ino"  # the counter of entries made
DIRECTORIES = ("dir", "mount")


class BpfFs:
    """Directories and pins of all bpffs mounts."""

    def __init__(self, storage: Storage) -> None:
        self._pins = storage.registry(Pin)
        self._counters = storage.registry(Counter)

    def boot(self) -> None:
        """Mount the default bpffs."""
        self._counters.add(Counter(INODES))
        self.mount(DEFAULT_MOUNT)

    def _add(self, path: str, parent: str, kind: str, obj_id: int = 0) -> None:
        counter = self._counters.get(INODES)
        assert counter is not None
        counter.value += 1
        self._pins.add(Pin(path, parent, kind, obj_id, counter.value))

    @staticmethod
    def normalize(path: str) -> str:
        """Return ``path`` without ``.``, ``..`` and double slashes."""
        return posixpath.normpath("/" + path.lstrip("/"))

    def mount(self, path: str) -> None:
        """Make ``path`` the root of a bpffs."""
        path = self.normalize(path)
        if self._pins.get(path) is None:
            self._add(path, "", "mount")

    def get(self, path: str) -> Pin | None:
        """Return what is at ``path``, or None."""
        return self._pins.get(self.normalize(path))

    def is_bpffs(self, path: str) -> bool:
        """Tell whether ``path`` is, or would be, inside a bpffs mount."""
        path = self.normalize(path)
        while True:
            pin = self._pins.get(path)
            if pin is not None:
                return True
            parent = posixpath.dirname(path)
            if parent == path:
                return False
            path = parent

    def exists(self, path: str) -> bool:
        """Tell whether there is anything at ``path``."""
        return self.get(path) is not None

    def is_dir(self, path: str) -> bool:
        """Tell whether ``path`` is a directory or a mount."""
        pin = self.get(path)
        return pin is not None and pin.kind in DIRECTORIES

    def _parent(self, path: str) -> str:
        """Return the directory that ``path``, which does not exist, would be made in.

        :raises KernelError: as a walk down the path would, at the first name that is not there:
            ENOENT, ENOTDIR, ENAMETOOLONG; EPERM with a dot in the name.
        """
        parent, name = posixpath.split(path)
        missing = 1
        while (pin := self._pins.get(parent)) is None:
            if parent == "/":
                raise KernelError(E.NOENT, path)
            parent, name = posixpath.split(parent)
            missing += 1
        if pin.kind not in DIRECTORIES:
            raise KernelError(E.NOTDIR, parent)
        if "." in name:  # bpf_lookup() keeps such names for itself
            raise KernelError(E.PERM, path)
        if len(os.fsencode(name)) > NAME_MAX:
            raise KernelError(E.NAMETOOLONG, path)
        if missing > 1:
            raise KernelError(E.NOENT, parent)
        return parent

    def _new_entry(self, path: str) -> tuple[str, str]:
        path = self.normalize(path)
        if self._pins.get(path) is not None:
            raise KernelError(E.EXIST, path)
        return path, self._parent(path)

    def mkdir(self, path: str) -> None:
        """Make a directory.

        :raises KernelError: EEXIST, ENOENT, ENOTDIR, ENAMETOOLONG; EPERM with a dot in the name.
        """
        path, parent = self._new_entry(path)
        self._add(path, parent, "dir")

    def pin(self, path: str, kind: str, obj_id: int) -> None:
        """Put an object at ``path``; errors as :meth:`mkdir`, and ENOENT after a slash."""
        slash = path.endswith("/")
        path, parent = self._new_entry(path)
        if slash:
            raise KernelError(E.NOENT, path)
        self._add(path, parent, kind, obj_id)

    def lookup(self, path: str) -> Pin:
        """Return the pinned object at ``path``.

        :raises KernelError: EACCES for a directory; ENOTDIR for a slash after an object; ENOENT,
            ENOTDIR, ENAMETOOLONG, EPERM for what is not there, see :meth:`mkdir`.
        """
        pin = self.get(path)
        if pin is None:
            raise KernelError(E.NOENT, self._parent(self.normalize(path)))
        if pin.kind in DIRECTORIES:
            raise KernelError(E.ACCES, path)
        if path.endswith("/"):
            raise KernelError(E.NOTDIR, path)
        return pin

    def unlink(self, path: str) -> Pin:
        """Remove a pin or an empty directory and return what was there.

        :raises KernelError: ENOENT; ENOTEMPTY; EBUSY for a mount.
        """
        pin = self.get(path)
        if pin is None:
            raise KernelError(E.NOENT, path)
        if pin.kind == "mount":
            raise KernelError(E.BUSY, path)
        if any(True for _ in self._pins.find(parent=pin.path)):
            raise KernelError(E.NOTEMPTY, path)
        self._pins.remove(pin.path)
        return pin

    def list(self, path: str) -> list[Pin]:
        """Return the entries of a directory, by name."""
        return list(self._pins.find(parent=self.normalize(path)))

    def pins(self) -> Iterator[tuple[str, str, int]]:
        """Yield (path, kind, object id) of every pinned object, in the order of a walk.

        That is mount by mount, each directory newest entry first (dcache_readdir), the contents
        of a directory where it stands.
        """
        for mount in sorted(self._pins.find(parent=""), key=lambda pin: pin.ino):
            yield from self._walk(mount.path)

    def _walk(self, path: str) -> Iterator[tuple[str, str, int]]:
        for pin in sorted(self._pins.find(parent=path), key=lambda pin: -pin.ino):
            if pin.kind in DIRECTORIES:
                yield from self._walk(pin.path)
            else:
                yield pin.path, pin.kind, pin.obj_id
