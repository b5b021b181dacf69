"""Values of device and CPU maps: a number, and the XDP program to run behind the redirect.

User space writes a program's descriptor and reads its id; rows keep the id.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bpfctl.errors import KernelError
from bpfctl.kernel.bpf.facts import Ref, Row
from bpfctl.kernel.bpf.map import MapType
from bpfctl.uapi import PROG_TYPE_NUMBER

_XDP = PROG_TYPE_NUMBER["xdp"]


@dataclass(frozen=True, slots=True)
class XdpValue:
    """struct bpf_devmap_val or bpf_cpumap_val as written: ``prog_fd`` above 0 is a program."""

    word: int
    prog_fd: int

    @classmethod
    def parse(cls, value: bytes) -> XdpValue:
        """Read a value of 4 or 8 bytes."""
        return cls(*struct.unpack("<Ii", value.ljust(8, b"\0")))


def programs_of(rows: Iterable[Row]) -> Iterator[Ref]:
    """Yield the programs that rows hold."""
    for _, value, _, _ in rows:
        prog_id = int.from_bytes(value[4:8], "little")
        if prog_id:
            yield "prog", prog_id


@dataclass(frozen=True, slots=True)
class XdpValues:
    """The values of one map, whose programs have one expected attach type."""

    of: MapType
    attach_type: int

    def take(self, value: XdpValue, err: int) -> bytes:
        """Return what a row keeps of a value, with a reference to the program.

        :raises KernelError: ``err`` for a descriptor that is no such program.
        """
        prog_id = 0
        if value.prog_fd > 0:
            prog_id = self._program(value.prog_fd, err)
            self.of.kernel.progs.inc(prog_id)
        return struct.pack("<II", value.word, prog_id)

    def _program(self, fd: int, err: int) -> int:
        try:
            file = self.of.kernel.objects.file(fd)
        except KernelError as exc:
            raise KernelError(err, exc.detail) from exc
        if file.obj_kind != "prog":
            raise KernelError(err, f"fd {fd} is not a program")
        prog = self.of.kernel.progs.get(file.obj_id)
        if prog.type != _XDP or prog.priv.get("attach_type") != self.attach_type:
            raise KernelError(err, "another type of program")
        if not self.of.prog_compatible(prog):
            raise KernelError(err, "not compatible with the map")
        return file.obj_id

    def drop(self, stored: bytes) -> None:
        """Let go of the program of a row."""
        prog_id = int.from_bytes(stored[4:8], "little")
        if prog_id:
            self.of.kernel.progs.put(prog_id)
