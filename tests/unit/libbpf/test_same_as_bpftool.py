"""The maps of an object are those that the real bpftool shows after loading it.

Needs root, a kernel with BPF and bpftool; everything happens in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfctl.libbpf.object import open_object
from bpfctl.libbpf.object_maps import LoadRules
from unit.libbpf.objects import OBJECTS

# Objects that a kernel of today loads without further help.
LOADABLE = ("basic", "cg", "globals", "maps", "meta", "multi", "nest", "sub", "tail", "types")
# Where Debian's libxdp1 puts the objects of xdp-tools, or another place that has them.
INSTALLED = next(Path("/usr/lib").glob("*/bpf/xdp-dispatcher.o"), Path("/none/none")).parent
XDP_TOOLS = Path(os.environ.get("XDP_TOOLS_OBJECTS", INSTALLED))

# Maps that pin themselves by name cannot be pinned a second time; they stay in /sys/fs/bpf,
# next to the pins that the kernel itself makes there.
SHOW_ALL = """
cd /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf && cd /sys/fs/bpf || exit 77
bpftool prog loadall "$0" /sys/fs/bpf/p pinmaps /sys/fs/bpf/m || {
    cd / && umount /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf && cd /sys/fs/bpf || exit 77
    bpftool prog loadall "$0" /sys/fs/bpf/p || exit 77
}
echo "["
for pin in m/* *; do
    test -f "$pin" || continue
    shown=$(bpftool -j map show pinned "$pin") && echo "$shown,"
done
for pin in p/*; do
    used=$(bpftool -j prog show pinned "$pin" | sed -n 's/.*"map_ids":.\\([0-9,]*\\).*/\\1/p')
    for id in $(echo "$used" | tr , ' '); do
        shown=$(bpftool -j map show id "$id") && echo "$shown,"
    done
done
echo "null]"
"""


def shown_by_bpftool(path: Path) -> list[dict[str, object]]:
    """Load ``path`` for real; its maps by id, which is creation order."""
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", SHOW_ALL, str(path)], capture_output=True, text=True
    )
    if run.returncode:
        pytest.skip(f"bpftool cannot load {path.name} here: {run.stderr.strip()[-200:]}")
    by_id = {int(shown["id"]): shown for shown in json.loads(run.stdout)[:-1]}
    return [by_id[number] for number in sorted(by_id)]


def libbpf_version() -> tuple[int, ...]:
    """Return the release of libbpf that this machine's bpftool behaves like.

    A distribution builds it from a kernel tree, whose libbpf is on its way to the version that it
    names: that of Linux 6.1 says 1.1 and has none of what 1.1 changed.
    """
    run = subprocess.run(["bpftool", "version"], capture_output=True, text=True)
    found = re.search(r"libbpf v(\d+)\.(\d+)", run.stdout)
    said = tuple(int(number) for number in found.groups()) if found else (0, 8)
    return (1, 0) if said == (1, 1) else said


def same(path: Path) -> None:
    shown = shown_by_bpftool(path)
    cpus = os.cpu_count() or 1
    rules = LoadRules(mmap_all=libbpf_version() < (1, 1))
    maps = [spec.resolve(cpus, 4096) for spec in open_object(str(path), rules).maps]
    keys = ("name", "type", "bytes_key", "bytes_value", "max_entries", "flags")
    assert [
        (
            spec.kernel_name.decode(),
            spec.type_name,
            spec.key_size,
            spec.value_size,
            spec.max_entries,
            # The kernel adds the flag to device maps.
            spec.map_flags | (0x80 if spec.type_name.startswith("devmap") else 0),
        )
        for spec in maps
    ] == [tuple(each[key] for key in keys) for each in shown]


def needs_root() -> None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root")
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")


@pytest.mark.needs("bpftool")
@pytest.mark.parametrize("name", LOADABLE)
def test_objects_of_the_tests(name: str) -> None:
    needs_root()
    same(OBJECTS / f"{name}.bpf.o")


@pytest.mark.needs("bpftool")
@pytest.mark.skipif(not XDP_TOOLS.is_dir(), reason="needs the objects of xdp-tools (libxdp1)")
@pytest.mark.parametrize("path", sorted(XDP_TOOLS.glob("*.o")), ids=lambda path: path.name)
def test_objects_of_xdp_tools(path: Path) -> None:
    needs_root()
    same(path)


@pytest.mark.skipif(not XDP_TOOLS.is_dir(), reason="needs the objects of xdp-tools (libxdp1)")
def test_all_objects_of_xdp_tools_can_be_read() -> None:
    read = [open_object(str(path)) for path in sorted(XDP_TOOLS.glob("*.o"))]
    assert len(read) > 5
    assert all(obj.programs for obj in read)
