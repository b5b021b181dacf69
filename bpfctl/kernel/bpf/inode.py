"""bpffs: the virtual file system that objects are pinned in (kernel/bpf/inode.c).

It is mounted at /sys/fs/bpf of the simulated machine; more mounts can be made. Paths are
absolute. Reference counts are the kernel's business, not this module's.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from bpfctl.errors import E, KernelError
from bpfctl.kernel.records import Pin
from bpfctl.kernel.storage import Storage

DEFAULT_MOUNT = "/sys/fs/bpf"
NAME_MAX = 255


class BpfFs:
    """Directories and pins of all bpffs mounts."""

    def __init__(self, storage: Storage) -> None:
        self._pins = storage.registry(Pin)

    def boot(self) -> None:
        """Mount the default bpffs."""
        self.mount(DEFAULT_MOUNT)

    @staticmethod
    def normalize(path: str) -> str:
        """Return ``path`` without ``.``, ``..`` and double slashes."""
        return posixpath.normpath("/" + path.lstrip("/"))

    def mount(self, path: str) -> None:
        """Make ``path`` the root of a bpffs."""
        path = self.normalize(path)
        if self._pins.get(path) is None:
            self._pins.add(Pin(path, "", "mount"))

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
        return pin is not None and pin.kind in ("dir", "mount")

    def _new_entry(self, path: str) -> tuple[str, str]:
        path = self.normalize(path)
        parent, name = posixpath.split(path)
        if self._pins.get(path) is not None:
            raise KernelError(E.EXIST, path)
        if not self.is_dir(parent):
            raise KernelError(E.NOENT if self.get(parent) is None else E.NOTDIR, parent)
        if len(name.encode()) > NAME_MAX:
            raise KernelError(E.NAMETOOLONG, path)
        if "." in name:  # bpf_lookup() keeps such names for itself
            raise KernelError(E.PERM, path)
        return path, parent

    def mkdir(self, path: str) -> None:
        """Make a directory.

        :raises KernelError: EEXIST, ENOENT, ENOTDIR, ENAMETOOLONG; EPERM with a dot in the name.
        """
        path, parent = self._new_entry(path)
        self._pins.add(Pin(path, parent, "dir"))

    def pin(self, path: str, kind: str, obj_id: int) -> None:
        """Put an object at ``path``; errors as :meth:`mkdir`."""
        path, parent = self._new_entry(path)
        self._pins.add(Pin(path, parent, kind, obj_id))

    def lookup(self, path: str) -> Pin:
        """Return the pinned object at ``path``.

        :raises KernelError: ENOENT; EACCES for a directory.
        """
        pin = self.get(path)
        if pin is None:
            raise KernelError(E.NOENT, path)
        if pin.kind in ("dir", "mount"):
            raise KernelError(E.ACCES, path)
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
        """Yield (path, kind, object id) of every pinned object, by path."""
        for path in self._pins.keys_after(None):
            pin = self._pins.get(path)
            if pin is not None and pin.kind not in ("dir", "mount"):
                yield pin.path, pin.kind, pin.obj_id
