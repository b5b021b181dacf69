"""The one error of object files, kept apart so that catching it does not load pyelftools."""

from __future__ import annotations

from bpfctl.errors import Failure

LIBBPF_ERRNO_FORMAT = 4001
NOT_ELF = "not an ELF file"


class ObjectError(Failure):
    """A file is not a usable BPF object.

    ``section`` is empty when the file as a whole is at fault. ``errno`` is what libbpf returns
    for it: 0 if it never got so far, 4001 for a file that is no object.
    """

    def __init__(
        self, path: str, reason: str, section: str = "", errno: int = LIBBPF_ERRNO_FORMAT
    ) -> None:
        where = f"{path}: section '{section}'" if section else path
        super().__init__(f"{where}: {reason}")
        self.path = path
        self.section = section
        self.reason = reason
        self.errno = errno

    @property
    def libbpf_line(self) -> str:
        """What libbpf writes on stderr about it, without its ``libbpf: `` prefix."""
        if self.errno < LIBBPF_ERRNO_FORMAT:
            return f"elf: failed to open {self.path}: {self.reason}"
        if self.reason == NOT_ELF:
            return f"elf: '{self.path}' is not a proper ELF object"
        return f"elf: {self.text}"
