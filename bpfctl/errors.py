"""Failures, by who reads them: errno for programs, sentences for people."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.light import dataclass

# Told to somebody who watches while a command goes on; None: nobody does.
notice: Callable[[str], None] | None = None

# Kernel-internal, but it reaches user space from bpf(2); the C library has no name for it.
ENOTSUPP = 524


def strerror(err: int) -> str:
    """Text of ``err`` as glibc words it, whatever the host's C library says."""
    return _TEXTS.get(err) or f"Unknown error {err}"


def errno_name(err: int) -> str:
    """Symbol of ``err``, such as ``"EINVAL"``."""
    if err == ENOTSUPP:
        return "ENOTSUPP"
    return _NAMES.get(err, str(err))


class E:
    """Linux errno numbers, the same on every host that runs the simulator."""

    PERM = 1
    NOENT = 2
    INTR = 4
    SRCH = 3
    IO = 5
    NXIO = 6
    BIG = 7
    BADF = 9
    AGAIN = 11
    NOMEM = 12
    ACCES = 13
    FAULT = 14
    BUSY = 16
    EXIST = 17
    NODEV = 19
    NOTDIR = 20
    ISDIR = 21
    INVAL = 22
    MFILE = 24
    NOSPC = 28
    RANGE = 34
    NAMETOOLONG = 36
    NOTEMPTY = 39
    LOOP = 40
    NODATA = 61
    NOLINK = 67
    PROTO = 71
    BADMSG = 74
    OVERFLOW = 75
    BADFD = 77
    NOTSOCK = 88
    MSGSIZE = 90
    PROTONOSUPPORT = 93
    OPNOTSUPP = 95
    AFNOSUPPORT = 97
    NOBUFS = 105
    ALREADY = 114
    INPROGRESS = 115
    STALE = 116
    NOTSUPP = ENOTSUPP


# number: (symbol, glibc text)
_TABLE = {
    1: ("EPERM", "Operation not permitted"),
    2: ("ENOENT", "No such file or directory"),
    3: ("ESRCH", "No such process"),
    4: ("EINTR", "Interrupted system call"),
    5: ("EIO", "Input/output error"),
    6: ("ENXIO", "No such device or address"),
    7: ("E2BIG", "Argument list too long"),
    9: ("EBADF", "Bad file descriptor"),
    11: ("EAGAIN", "Resource temporarily unavailable"),
    12: ("ENOMEM", "Cannot allocate memory"),
    13: ("EACCES", "Permission denied"),
    14: ("EFAULT", "Bad address"),
    16: ("EBUSY", "Device or resource busy"),
    17: ("EEXIST", "File exists"),
    19: ("ENODEV", "No such device"),
    20: ("ENOTDIR", "Not a directory"),
    21: ("EISDIR", "Is a directory"),
    22: ("EINVAL", "Invalid argument"),
    24: ("EMFILE", "Too many open files"),
    28: ("ENOSPC", "No space left on device"),
    34: ("ERANGE", "Numerical result out of range"),
    36: ("ENAMETOOLONG", "File name too long"),
    39: ("ENOTEMPTY", "Directory not empty"),
    40: ("ELOOP", "Too many levels of symbolic links"),
    61: ("ENODATA", "No data available"),
    67: ("ENOLINK", "Link has been severed"),
    71: ("EPROTO", "Protocol error"),
    74: ("EBADMSG", "Bad message"),
    75: ("EOVERFLOW", "Value too large for defined data type"),
    77: ("EBADFD", "File descriptor in bad state"),
    88: ("ENOTSOCK", "Socket operation on non-socket"),
    90: ("EMSGSIZE", "Message too long"),
    93: ("EPROTONOSUPPORT", "Protocol not supported"),
    95: ("EOPNOTSUPP", "Operation not supported"),
    97: ("EAFNOSUPPORT", "Address family not supported by protocol"),
    105: ("ENOBUFS", "No buffer space available"),
    114: ("EALREADY", "Operation already in progress"),
    115: ("EINPROGRESS", "Operation now in progress"),
    116: ("ESTALE", "Stale file handle"),
}
_NAMES = {num: name for num, (name, _) in _TABLE.items()}
_TEXTS = {num: text for num, (_, text) in _TABLE.items()}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Which limit a call hit: a fact, which the command line words. Amounts are bytes.

    ``limit``: ``memory.max`` of cgroup ``whom``, ``RLIMIT_MEMLOCK`` of user ``whom``, or
    ``memory``, all that the machine has.
    """

    limit: str
    whom: str
    allowed: int
    used: int
    asked: int

    @property
    def least(self) -> int:
        """The lowest limit that would have let the call pass."""
        return self.used + self.asked


Hint = str | Refusal
"""What helps a person on: a sentence, or a fact to make one of."""


class KernelError(OSError):
    """A system call of the simulated kernel failed with ``errno``.

    ``detail`` is for debugging and never printed. ``hint`` is for a person: the limit that was
    hit, or a sentence where no limit is meant. ``call`` is the command of bpf(2) and its
    attributes.
    """

    def __init__(self, err: int, detail: str = "", hint: Hint = "") -> None:
        super().__init__(err, strerror(err))
        self.detail = detail
        self.hint = hint
        self.call: tuple[object, object] | None = None

    @property
    def code(self) -> int:
        """The errno as a plain int (``OSError.errno`` may be None to a type checker)."""
        return int(self.errno or 0)


class TaskKilled(Exception):
    """The memory-cgroup OOM killer sent SIGKILL to the calling task."""

    def __init__(self, memcg: str, hint: Hint = "") -> None:
        super().__init__(f"killed by the OOM killer of {memcg}")
        self.memcg = memcg
        self.hint = hint


class Failure(Exception):
    """Something that is no errno went wrong: one sentence, the exit status, what would help."""

    def __init__(self, text: str, status: int = 255, hint: Hint = "") -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.hint = hint


class CommandError(Failure):
    """What was typed cannot be done. Only what reads command lines raises it."""


class StateError(Failure):
    """The state file cannot be used: not ours, damaged, or from a newer version."""


class ProfileError(Failure):
    """A kernel profile is unknown or malformed."""


class SettingError(Failure):
    """The machine has no such setting, or the setting no such value."""


class CaptureError(Failure):
    """A packet capture cannot be read or written."""


class EngineError(Failure):
    """There is no such execution engine, or it cannot be had here."""


class SpecError(Failure):
    """A definition of a map or program cannot be changed so."""


class PluginMissing(Failure):
    """A map in the state is of a type that no installed plugin offers."""


__all__ = [
    "ENOTSUPP",
    "CommandError",
    "E",
    "EngineError",
    "Failure",
    "Hint",
    "KernelError",
    "PluginMissing",
    "ProfileError",
    "Refusal",
    "SettingError",
    "SpecError",
    "StateError",
    "TaskKilled",
    "errno_name",
    "strerror",
]
