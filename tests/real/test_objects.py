"""Objects of Debian's xdp-tools: this machine's kernel and the simulated one say the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfctl.check import Machine, Wish, check_object
from bpfctl.errors import ProfileError
from bpfctl.kernel import profile as profiles

OBJECTS = sorted(Path("/usr/lib").glob("*/bpf/*.o"))
VMLINUX = Path("/sys/kernel/btf/vmlinux")
PIN = Path("/sys/fs/bpf") / f"bpfctl-test-{os.getpid()}"


def kernel_of_this_machine() -> str:
    if shutil.which("bpftool") is None or os.geteuid() != 0:
        pytest.skip("no bpftool, or not root")
    if not PIN.parent.is_mount() or not VMLINUX.exists():
        pytest.skip("no bpffs on /sys/fs/bpf, or no types of the kernel")
    try:
        return profiles.resolve("this")
    except ProfileError:
        pytest.skip("no profile of the running kernel")


def really(path: Path) -> tuple[bool, list[int]]:
    """Load an object with the real bpftool; return whether it did, and what was processed."""
    command = ["bpftool", "-d", "prog", "loadall", str(path), str(PIN)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    shutil.rmtree(PIN, ignore_errors=True)
    found = re.findall(r"^processed (\d+) insns", done.stdout + done.stderr, re.MULTILINE)
    return done.returncode == 0, [int(number) for number in found]


@pytest.mark.skipif(not OBJECTS, reason="no objects in /usr/lib/*/bpf (Debian: xdp-tools)")
def test_the_same_verdicts() -> None:
    kernel = kernel_of_this_machine()
    ours, theirs = {}, {}
    work: dict[str, tuple[list[int], list[int]]] = {}
    for path in OBJECTS:
        report = check_object(str(path), Machine(kernel), Wish(kernel_btf=str(VMLINUX)))
        processed = sorted(each.processed for each in report.programs if each.processed)
        loaded, counted = really(path)
        ours[path.name], theirs[path.name] = report.ok, loaded
        if loaded and counted:
            work[path.name] = processed, sorted(counted)
    assert ours == theirs
    assert [name for name, (mine, real) in work.items() if mine != real] == []
