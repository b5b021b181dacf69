"""Set up the simulated machine that a recorded scenario ran on: ``hook.py up|down JSON``.

``up`` makes the state ``$BPFCTL_STATE``: Linux 6.18 with two possible CPUs, and the network
devices, cgroups and bpffs directory that the scenario wants. ``down`` has nothing to do; the state
is a file in the scenario's directory.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from bpfctl.errors import KernelError
from bpfctl.kernel.config import Config
from bpfctl.store import create_state, open_kernel
from bpfctl.store.state import boot_with

MACHINE = Config(kernel="6.18", possible_cpus=2)
CGROUP_MOUNT = "/sys/fs/cgroup"


def up(path: str, wanted: dict[str, Any]) -> None:
    """Make the state at ``path``."""
    create_state(path, boot_with(MACHINE))
    needs = wanted.get("needs", [])
    with open_kernel(path, write=True) as kernel:
        make_directories(kernel.bpffs, wanted.get("bpffs", ""))
        if "net" in needs:
            for name in wanted.get("netdevs", ()):
                if not any(True for _ in kernel.objects.records.find(kind="netdev", name=name)):
                    kernel.objects.create("netdev", name)
        if "cgroup" in needs:
            base = wanted["cgroup"].removeprefix(CGROUP_MOUNT)
            for group in [base, *(f"{base}/{sub}" for sub in wanted.get("subcgroups", ()))]:
                kernel.memcg.create(group)


def make_directories(bpffs: Any, path: str) -> None:
    """Make ``path`` in the bpffs, with its parents."""
    if path and not bpffs.is_dir(path):
        make_directories(bpffs, os.path.dirname(path))
        try:
            bpffs.mkdir(path)
        except KernelError as exc:
            sys.exit(f"mkdir {path}: {exc.strerror}")


if __name__ == "__main__":
    if sys.argv[1] == "up":
        up(os.environ["BPFCTL_STATE"], json.loads(sys.argv[2]))
