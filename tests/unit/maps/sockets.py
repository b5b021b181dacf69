"""Sockets of all kinds, open in a test's task."""

from __future__ import annotations

import struct

from bpfctl.kernel.objects import parse_attributes
from unit.maps.machine import Machine


def socket(machine: Machine, words: str = "") -> int:
    """Return a descriptor of a new socket with the attributes that ``words`` name."""
    made = machine.kernel.objects.create("socket", **parse_attributes("socket", words.split()))
    return machine.kernel.objects.open(machine.pid, made.id)


def cookie(machine: Machine, fd: int) -> bytes:
    """Return the cookie of the socket at ``fd``."""
    return machine.kernel.files.get(machine.pid, fd).obj_id.to_bytes(8, "little")


def discard(machine: Machine, fd: int) -> None:
    """Close the last descriptor of a socket that nothing else holds."""
    obj_id = machine.kernel.files.get(machine.pid, fd).obj_id
    machine.kernel.objects.remove(obj_id)
    machine.close(fd)


def u32(number: int) -> bytes:
    return struct.pack("<I", number)


def u64(number: int) -> bytes:
    return struct.pack("<Q", number)
