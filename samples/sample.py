"""What a sample declares, and how it ends.

A sample is a folder with a module ``main.py`` that has a :class:`Sample` called ``SAMPLE``; the
folder's name is the sample's. Its user half uses bpfctl.libbpf and the processes of
``process.py``, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .exits import ABORTED, KILLED, USAGE, Exit
from .process import Process


@dataclass(frozen=True)
class Option:
    """An option of one sample, ``--NAME VALUE``; ``choices`` empty means any text."""

    name: str
    help: str
    default: str = ""
    choices: tuple[str, ...] = ()
    metavar: str = "TEXT"


@dataclass(frozen=True)
class Request:
    """What a sample was asked to do: the words after its name, and all options.

    ``options`` has a value for each option that the sample declares. ``bump`` asks it to raise
    RLIMIT_MEMLOCK first, as all samples once did; equal ``seed`` means equal output.
    """

    words: tuple[str, ...] = ()
    options: Mapping[str, str] | None = None
    bump: bool = False
    seed: int = 0

    def option(self, name: str) -> str:
        """Return the value of an option, "" if it was not given and has no default."""
        return (self.options or {}).get(name, "")


@dataclass(frozen=True)
class Sample:
    """One ported sample.

    ``run`` gets the first process and the request and returns the exit status; it may also raise
    :class:`Exit`. ``compare`` is what a comparison over kernels runs if nothing else is said.
    """

    about: str
    usage: str
    run: Callable[[Process, Request], int]
    options: tuple[Option, ...] = ()
    compare: Request = Request()


__all__ = ["ABORTED", "KILLED", "USAGE", "Exit", "Option", "Request", "Sample"]
