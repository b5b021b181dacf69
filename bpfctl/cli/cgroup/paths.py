"""Directories of the virtual cgroupfs."""

from __future__ import annotations

from bpfctl.cli.app.session import App
from bpfctl.errors import CommandError, KernelError

MOUNT = "/sys/fs/cgroup"


def cgroup_path(path: str) -> str:
    """Return the path below the mount of a directory, as ``memcg`` commands name it."""
    if path == MOUNT or path.startswith(f"{MOUNT}/"):
        return path[len(MOUNT) :] or "/"
    return path


def open_cgroup(app: App, path: str) -> int:
    """Return a descriptor of a cgroup directory.

    :raises CommandError: there is none.
    """
    kernel = app.kernel
    try:
        memcg = kernel.memcg.lookup(cgroup_path(path))
        found = kernel.objects.find_or_create("cgroup", memcg.path)
        fd = int(kernel.objects.open(app.bpf.pid, found.id))
    except KernelError as exc:
        raise CommandError(
            f"can't open cgroup {path}", hint="'bpfctl memcg tree' shows the cgroups there are"
        ) from exc
    app.opened(fd)
    return fd
