"""Make a state file as rich as the code that runs this can: every map type, and what holds maps.

    python make.py FILE KERNEL OBJECT

The stored files beside this one were made by it with the code of the version that they are
named for; ``README.md`` says which. It is kept to say what is in them, and for the next version.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from bpfctl import plugins
from bpfctl.cli.app.main import main as run
from bpfctl.conformance.lab import Lab, attempt
from bpfctl.kernel.config import Config
from bpfctl.libbpf.bpf import Bpf
from bpfctl.store import open_kernel
from bpfctl.store.renew import new_state
from bpfctl.uapi import BPF_F_MMAPABLE, MapCreateAttr, ProgLoadAttr

# r0 = 0; exit
RETURN_0 = bytes.fromhex("b700000000000000" "9500000000000000")


def main(path: str, kernel_name: str, obj: str) -> None:
    """Fill a new state file; the programs of the object file ``obj`` are loaded and pinned."""
    new_state(path, Config(kernel=kernel_name, possible_cpus=2))
    with open_kernel(path, write=True) as kernel:
        cgroups(kernel)
        everything(kernel, kernel.spawn("keeper", cgroup="/app/web", memlock=None).pid)
        many(kernel, kernel.spawn("worker", uid=1000, cgroup="/app/db", memlock=8 << 20).pid)
        mapped(kernel, kernel.spawn("mapper", cgroup="/batch", memlock=None).pid)
    run(["--state", path, "prog", "loadall", obj, "/sys/fs/bpf/loaded"])


def cgroups(kernel: Any) -> None:
    """Three levels, one limit, one that is gone with charges left."""
    for path in ("/app", "/app/web", "/app/db", "/batch", "/gone"):
        kernel.memcg.create(path)
    kernel.set_memory_knob("/app", "max", 64 << 20)
    kernel.set_memory_knob("/app/db", "high", 4 << 20)
    task = kernel.spawn("brief", cgroup="/gone", memlock=None)
    bpf = Bpf(kernel, task.pid)
    fd = bpf.map_create(MapCreateAttr(2, 4, 512, 100, map_name=b"orphan"))
    bpf.obj_pin(fd, "/sys/fs/bpf/orphan")
    kernel.exit_task(task.pid)
    kernel.memcg.remove("/gone")


def everything(kernel: Any, pid: int) -> None:
    """A pinned map of each type with elements, the first of them removed again."""
    bpf = Bpf(kernel, pid)
    kernel.bpffs.mkdir("/sys/fs/bpf/types")
    for name in plugins.BUILTIN:
        if name not in kernel.profile.map_types:
            continue
        cls: Any = plugins.map_type(name)
        lab = Lab(cls, "", None, None, kernel, bpf)  # type: ignore[arg-type]
        fd = lab.create()
        bpf.obj_pin(fd, f"/sys/fs/bpf/types/{name}")
        pairs = lab.elements(6) if cls.example.max_entries != 1 else lab.elements(1)
        for key, value in pairs:
            attempt(bpf.map_update_elem, fd, key, value)
        if pairs:
            attempt(bpf.map_delete_elem, fd, pairs[0][0])
        bpf.close(fd)
    fd = bpf.map_create(MapCreateAttr(2, 4, 8, 3, map_name=b"frozen"))
    bpf.map_freeze(fd)
    bpf.prog_load(ProgLoadAttr(prog_type=6, insns=RETURN_0, prog_name=b"held"))


def many(kernel: Any, pid: int) -> None:
    """A hash with some hundred elements, made by a user."""
    bpf = Bpf(kernel, pid)
    task = kernel.task(pid)
    task.caps = 1 << 39
    fd = bpf.map_create(MapCreateAttr(1, 8, 16, 500, map_name=b"many"))
    for number in range(300):
        bpf.map_update_elem(fd, number.to_bytes(8, "little"), number.to_bytes(16, "big"))
    bpf.obj_pin(fd, "/sys/fs/bpf/many")


def mapped(kernel: Any, pid: int) -> None:
    """An array that a task has mapped, and one whose BTF says where its lock is."""
    from bpfctl.btf.build import BtfBuilder
    from bpfctl.btf.types import INT_SIGNED, Member

    bpf = Bpf(kernel, pid)
    fd = bpf.map_create(MapCreateAttr(2, 4, 64, 100, BPF_F_MMAPABLE, map_name=b"mapped"))
    kernel.mmap(pid, fd, 0, 4096, writable=True)
    btf = BtfBuilder()
    number = btf.add_int("int", 4, INT_SIGNED)
    lock = btf.add_struct("bpf_spin_lock", 4, [Member("val", number, 0)])
    value = btf.add_struct("val", 8, [Member("cnt", number, 0), Member("lock", lock, 32)])
    btf_fd = bpf.btf_load(btf.encode())
    locked = bpf.map_create(
        MapCreateAttr(
            1, 4, 8, 16, map_name=b"locked", btf_fd=btf_fd,
            btf_key_type_id=number, btf_value_type_id=value,
        )
    )
    bpf.map_update_elem(locked, bytes(4), bytes(range(8)))
    bpf.obj_pin(locked, "/sys/fs/bpf/locked")


def shown(path: str) -> list[tuple[list[str], int, str]]:
    """Return what commands that only read print about the state: argv, status, output."""
    commands = [
        ["map", "show"],
        ["prog", "show"],
        ["btf", "show"],
        ["task", "show"],
        ["sim", "ls", "/sys/fs/bpf/types"],
        ["memcg", "tree"],
        *(["memcg", "stat", where] for where in ("/app", "/app/web", "/app/db", "/batch")),
    ]
    with open_kernel(path, write=False) as kernel:
        pins = [pin for pin, kind, _ in kernel.bpffs.pins() if kind == "map"]
    commands += [["map", "dump", "pinned", pin] for pin in sorted(pins)]
    return [(argv, *_output(path, argv)) for argv in commands]


def _output(path: str, argv: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "bpfctl", "--state", path, *argv],
        capture_output=True, text=True, check=False,
    )
    return done.returncode, done.stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
    with open(f"{sys.argv[1]}.shown.json", "w", encoding="utf-8") as record:
        json.dump(shown(sys.argv[1]), record, indent=1)
