"""Open files: descriptors of tasks, and what an open file costs."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.mm.alloc import Allocators, Mem
from bpfctl.kernel.mm.gfp import GFP_KERNEL
from bpfctl.kernel.records import File, Task
from bpfctl.kernel.storage import Storage
from bpfctl.light import altered

FMODE_READ = 1
FMODE_WRITE = 2
FIRST_FD = 3
RLIMIT_NOFILE = 1 << 20
DENTRY = "dentry"
FILE = "file"
STREAM = "stream"


class FileTable:
    """Descriptors of all tasks.

    Every open file is a ``struct file`` and a dentry, charged to the task that opened it
    (alloc_empty_file, __d_alloc).
    """

    def __init__(self, storage: Storage, mm: Allocators, dentry_size: int, file_size: int) -> None:
        self.files = storage.registry(File)
        self.mm = mm
        self.dentry_size = dentry_size
        self.file_size = file_size
        self._lowest: dict[int, int] = {}

    def open(self, task: Task, kind: str, obj_id: int, fmode: int) -> int:
        """Return the lowest free descriptor of ``task``, now open on an object.

        :raises KernelError: EMFILE; ENOMEM. The OOM killer may act.
        """
        fd = self._lowest.get(task.pid, FIRST_FD)
        while self.files.get((task.pid, fd)) is not None:
            fd += 1
        if fd >= RLIMIT_NOFILE:
            raise KernelError(E.MFILE)
        objcg = self.mm.memcg.objcg_of(task)
        self._charge(task.pid, fd, objcg)
        self.files.add(File(task.pid, fd, kind, obj_id, fmode, objcg))
        self._lowest[task.pid] = fd + 1
        return fd

    def share(self, file: File, pid: int) -> None:
        """Give task ``pid``, just forked, the descriptor of an open file; nothing is charged."""
        self.files.add(altered(file, pid=pid, objcg=0))

    def _mem(self, pid: int, fd: int, objcg: int) -> Mem:
        return Mem(self.mm, "file", pid * RLIMIT_NOFILE + fd, objcg)

    def _charge(self, pid: int, fd: int, objcg: int) -> None:
        if self.mm.memcg.pays(objcg) is None:
            self.mm.inject()
            self.mm.inject()
            return
        mem = self._mem(pid, fd, objcg)
        mem.kmem_cache_alloc(DENTRY, self.dentry_size, GFP_KERNEL, reclaimable=True)
        try:
            mem.kmem_cache_alloc(FILE, self.file_size, GFP_KERNEL, reclaimable=False)
        except BaseException:
            mem.free_all()
            raise

    def get(self, pid: int, fd: int) -> File:
        """Return an open file; below :data:`FIRST_FD` are the standard streams of every task.

        :raises KernelError: EBADF.
        """
        file = self.files.get((pid, fd))
        if file is None and 0 <= fd < FIRST_FD:
            return File(pid, fd, STREAM)
        if file is None:
            raise KernelError(E.BADF, f"fd {fd}")
        return file

    def close(self, file: File) -> None:
        """Forget the descriptor and uncharge the file; references are the caller's business."""
        self.files.remove((file.pid, file.fd))
        self._lowest[file.pid] = min(self._lowest.get(file.pid, FIRST_FD), file.fd)
        if file.objcg:
            self._mem(file.pid, file.fd, file.objcg).free_all()

    def of_task(self, pid: int) -> list[File]:
        """Return the open files of a task, by descriptor."""
        return list(self.files.find(pid=pid))
