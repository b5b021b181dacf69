"""bpf(2) of the machine that runs the tests, and what its bpftool shows."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from bpfctl.errors import errno_name
from bpfctl.kernel.profile import PROFILES

_NR_BPF = 321
_ATTR_BYTES = 144
MAP_CREATE, MAP_UPDATE_ELEM, BTF_LOAD = 0, 2, 18
_POSSIBLE = Path("/sys/devices/system/cpu/possible")


class RealError(Exception):
    """A call failed with this errno."""

    def __init__(self, number: int) -> None:
        super().__init__(errno_name(number))
        self.errno = errno_name(number)


def bpf(cmd: int, attr: bytes) -> int:
    """Run one bpf(2) command; ``attr`` is the head of the union."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attr.ljust(_ATTR_BYTES, b"\0"), _ATTR_BYTES)
    done = libc.syscall(_NR_BPF, cmd, buffer, _ATTR_BYTES)
    if done < 0:
        raise RealError(ctypes.get_errno())
    return int(done)


def btf_load(blob: bytes) -> int:
    held = ctypes.create_string_buffer(blob, len(blob))
    return bpf(BTF_LOAD, struct.pack("<QQII", ctypes.addressof(held), 0, len(blob), 0))


def map_create(
    kind: int, key: int, value: int, entries: int, flags: int, inner_fd: int = 0,
    btf_fd: int = 0, key_type: int = 0, value_type: int = 0, extra: int = 0,
) -> int:  # fmt: skip
    head = struct.pack("<7I", kind, key, value, entries, flags, inner_fd, 0)
    tail = struct.pack("<16sI3IIQ", b"bpfctl_test", 0, btf_fd, key_type, value_type, 0, extra)
    return bpf(MAP_CREATE, head + tail)


def map_update(fd: int, key: bytes, value: bytes) -> None:
    held = [ctypes.create_string_buffer(data, max(len(data), 1)) for data in (key, value)]
    bpf(MAP_UPDATE_ELEM, struct.pack("<I4xQQQ", fd, *map(ctypes.addressof, held), 0))


def memlock(fd: int) -> int:
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    raise AssertionError("no memlock line")


def possible_cpus() -> int:
    return int(_POSSIBLE.read_text().strip().rpartition("-")[2]) + 1


def profile() -> str:
    """Return the profile of the running kernel, or skip the test and say why."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("needs Linux on x86-64")
    release = ".".join(platform.release().split(".")[:2])
    if release not in PROFILES:
        pytest.skip(f"no profile of the running kernel, {platform.release()}")
    if os.geteuid() != 0:
        pytest.skip("needs root")
    try:
        os.close(map_create(2, 4, 4, 1, 0))
    except RealError as exc:
        pytest.skip(f"the running kernel refuses BPF maps: {exc}")
    return release


def xdp_tools(folder: Path) -> Path:
    """Return where the objects of Debian's libxdp1 are; unpack the package if that is allowed."""
    named = os.environ.get("XDP_TOOLS_OBJECTS")
    found = Path(named) if named else next(iter(Path("/usr/lib").glob("*/bpf")), None)
    if found and any(found.glob("*.o")):
        return found
    if os.environ.get("BPFCTL_TEST_INSTALL") != "1":
        pytest.skip("needs the objects of libxdp1: install it, or set BPFCTL_TEST_INSTALL=1")
    script = 'cd "$0" && apt-get download libxdp1 && dpkg-deb -x libxdp1_*.deb .'
    run = subprocess.run(["sh", "-c", script, str(folder)], capture_output=True, text=True)
    unpacked = next(iter(folder.glob("usr/lib/*/bpf")), None)
    if run.returncode or unpacked is None:
        pytest.skip(f"cannot get libxdp1: {run.stderr.strip()[-200:]}")
    return unpacked
