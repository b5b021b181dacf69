"""How a process of a sample ends."""

from __future__ import annotations

from bpfctl.errors import Hint

ABORTED = 134  # what a shell sees of a process that SIGABRT ended
KILLED = 137
USAGE = 255


class Exit(Exception):
    """A process ends with ``status``, because of ``cause`` if there is one.

    ``hint`` says what would help; by default that is what the cause has to say.
    """

    def __init__(self, status: int, cause: BaseException | None = None, hint: Hint = "") -> None:
        super().__init__(status)
        self.status = status
        self.cause = cause
        self.hint = hint or getattr(cause, "hint", "")
