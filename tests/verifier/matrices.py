"""The measured matrices: tables of helpers and context accesses, and what declarations say.

A cell of our own is the letter that the recorder would have written.
"""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path
from typing import Any, NamedTuple

from bpfctl.errors import KernelError, errno_name
from bpfctl.isa.asm import assemble
from bpfctl.isa.helper_names import HELPERS
from bpfctl.kernel.bpf.helpers import by_id
from bpfctl.kernel.bpf.progtypes import by_name
from bpfctl.kernel.bpf.progtypes.decl import ProgType
from bpfctl.kernel.bpf.progtypes.release import offered, prog_rules
from bpfctl.uapi import BPF_F_SLEEPABLE, PROG_TYPE_NUMBER, Cmd, ProgLoadAttr
from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER

DATA = Path(__file__).parent / "data"
KERNELS = ("5.10", "6.1", "6.12", "6.18", "7.3")
NR_HELPERS = {"5.10": 156, "6.1": 210, "6.12": 212, "6.18": 212, "7.3": 212}

FUNC_ARG = HELPERS.index("get_func_arg")
"""A cell that no matrix can be trusted in: the recorder took "...cannot use helper
bpf_get_func_arg#183" for a refused argument, so the helper reads as offered to everybody."""

_CAPS = {
    "root": frozenset(("bpf", "perfmon", "net_admin", "sys_admin")),
    "bpf": frozenset(("bpf",)),
    "bpf+net_admin": frozenset(("bpf", "net_admin")),
    "bpf+perfmon": frozenset(("bpf", "perfmon")),
    "none": frozenset[str](),
}


class Row(NamedTuple):
    """The head of a row: ``target`` is the kernel function attached to, if any."""

    prog_type: ProgType
    attach_type: int
    mode: str
    target: str
    rest: tuple[str, ...]


def load(kernel: str, folder: Path | None = None) -> dict[str, Any]:
    """Read a kernel's matrices, those of the tests or those in ``folder``."""
    if folder is not None:
        text = (folder / f"matrix-{kernel}.json").read_bytes()
    else:
        text = lzma.decompress((DATA / f"matrix-{kernel}.json.xz").read_bytes())
    table: dict[str, Any] = json.loads(text)
    return table


def expand(text: str) -> str:
    """Undo "X*N"."""
    parts = re.findall(r"(.)\*(\d+)|(.)", text)
    return "".join(letter * int(count) if letter else one for letter, count, one in parts)


def head(key: str) -> Row:
    """Take a row's name apart."""
    type_text, *words = key.split()
    name, _, attach_name = type_text.partition("/")
    prog_type = by_name(name)
    assert prog_type is not None
    attach_type = 0
    if attach_name and not attach_name.isdigit():
        attach_type = ATTACH_TYPE_NUMBER[attach_name]
    target = "" if words[0] in _CAPS else words.pop(0)
    return Row(prog_type, attach_type, words[0], target, tuple(words[1:]))


def helper_cells(kernel: str, key: str) -> str:
    """Return our row of helpers ('Y', '.', '?', 'G', 'S')."""
    row = head(key)
    caps = _CAPS[row.mode]
    sleepable = "sleepable" in row.rest or row.prog_type.sleepable == "always"
    found = offered(kernel, NR_HELPERS[kernel], row.prog_type, row.attach_type, caps, sleepable)
    gpl = "GPL" in row.rest
    cells = []
    for number in range(214):
        if number >= NR_HELPERS[kernel]:
            cells.append("?")
        elif number not in found:
            cells.append(".")
        else:
            helper = by_id(number)
            assert helper is not None
            proto = helper.proto(found[number])
            if proto.gpl_only and not gpl:
                cells.append("G")
            elif proto.might_sleep and not sleepable:
                cells.append("S")
            else:
                cells.append("Y")
    return "".join(cells)


def context_cells(kernel: str, key: str, length: int) -> str:
    """Return our row of context accesses: 'Y' or 'a' (invalid bpf_context access)."""
    row = head(key)
    access = row.rest[0]
    size, write = int(access[-1]), access.startswith("write")
    layout = row.prog_type.ctx
    assert layout is not None
    traits = prog_rules(kernel).traits
    capable = "bpf" in _CAPS[row.mode]
    cells = []
    for index in range(length):
        off = index * min(size, 4)
        found = layout.access(off, size, write, row.attach_type, capable, traits)
        cells.append("a" if found is None else found.becomes)
    return "".join({"a": "a", "unconvertible": "u"}.get(cell, "Y") for cell in cells)


def attach_cell(kernel: Any, prog_type: int, attach_type: int) -> str:
    """Load ``r0 = 1; exit`` with an attach type and return errno and last line, "Y" if it loads."""
    task = kernel.spawn("loader", transient=True)
    flags = BPF_F_SLEEPABLE if prog_type == PROG_TYPE_NUMBER["syscall"] else 0
    attr = ProgLoadAttr(
        prog_type=prog_type,
        insns=assemble("r0 = 1") + assemble("exit"),
        expected_attach_type=attach_type,
        prog_flags=flags,
        log_level=1,
    )
    try:
        kernel.bpf(task.pid, Cmd.PROG_LOAD, attr)
    except KernelError as exc:
        line = attr.last_line or next(iter(attr.log.split("\n")[::-1][1:]), "")
        return f"{errno_name(exc.code)}: {line}".removesuffix(": ")
    finally:
        kernel.exit_task(task.pid)
    return "Y"
