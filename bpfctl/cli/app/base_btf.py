"""``-B FILE``: base BTF, as far as bpftool looks at it before it runs a command."""

from __future__ import annotations

from bpfctl.cli.app.out import Out
from bpfctl.errors import CommandError, E

_RAW_MAGIC = (b"\x9f\xeb", b"\xeb\x9f")
_ELF_MAGIC = b"\x7fELF"
# LIBBPF_ERRNO__FORMAT, negated like an errno
_BAD_FORMAT = 4001


class BadBaseBtf(CommandError):
    """The file of ``-B`` is no BTF; the message ends in a line break of its own."""

    def __init__(self, path: str, err: int) -> None:
        super().__init__(f"failed to parse base BTF at '{path}': {-err}\n")


def check_base_btf(path: str, out: Out) -> None:
    """Raise :class:`BadBaseBtf` unless ``path`` is a BTF blob or an ELF file."""
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except ValueError:
        raise BadBaseBtf(path, E.NOENT) from None
    except OSError as exc:
        raise BadBaseBtf(path, exc.errno or E.NOENT) from None
    if len(magic) < 2:
        raise BadBaseBtf(path, E.IO)
    if magic[:2] not in _RAW_MAGIC and magic != _ELF_MAGIC:
        out.err(f"libbpf: failed to get EHDR from {path}\n")
        raise BadBaseBtf(path, _BAD_FORMAT)
