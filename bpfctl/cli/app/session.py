"""One command as the simulated system sees it: a task that opens the state, works and exits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from bpfctl.cli.app.options import Options
from bpfctl.cli.app.out import Out
from bpfctl.cli.app.settings import Settings
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, KernelError, TaskKilled

if TYPE_CHECKING:
    from bpfctl.libbpf.bpf import Bpf
    from bpfctl.system import System
    from bpfctl.uapi import MapInfo

# Maps that a batch keeps open: every open file costs memory, so not many.
KEPT_PINS = 4


@contextmanager
def as_task(settings: Settings, write: bool, comm: str = "bpfctl") -> Iterator[Bpf]:
    """Open the state, run the body as a short-lived task, close its descriptors.

    The body's effects are saved when it ends normally or with an error of the simulated
    system; any other exception leaves the state as it was.
    """
    # Help and argument errors need none of this.
    from bpfctl.libbpf.bpf import Bpf
    from bpfctl.store import open_kernel

    with open_kernel(settings.state, write=write) as kernel:
        if settings.observe:
            kernel.watch(settings.observe)
        if settings.engine:
            kernel.engine = settings.engine
        kernel.clock.set_wall(time.time_ns())
        pid = _start(kernel, settings, comm)
        try:
            yield Bpf(kernel, pid)
        finally:
            kernel.exit_task(pid)


def _start(kernel: System, settings: Settings, comm: str) -> int:
    """Start the task that the settings describe.

    :raises CommandError: it would be a child of nobody, or live nowhere.
    """
    try:
        return kernel.start_command(
            like=settings.as_pid,
            uid=settings.uid,
            caps=settings.caps,
            cgroup=settings.cgroup,
            memlock=-1 if settings.memlock is None else settings.memlock,
            comm=comm,
        )
    except KernelError as exc:
        if settings.as_pid is not None and kernel.tasks.get(settings.as_pid) is None:
            raise CommandError(
                f"no task {settings.as_pid}", hint="'bpfctl task show' lists the tasks there are"
            ) from exc
        raise CommandError(
            f"can't run in cgroup {settings.cgroup or '/'}: {exc.strerror}",
            hint="'bpfctl memcg tree' shows the cgroups there are",
        ) from exc


def _no_help(app: App, words: Words) -> None:
    """Stand in until a command is chosen."""


class App:
    """What every command gets: options, output, and the kernel once it is asked for.

    ``write`` says how the state is opened; it is set before the first use of ``bpf``.
    ``pin_cache`` holds the maps that a batch opened by path (None outside of a batch). ``help``
    prints the help of the current object, whose words are ``words``. ``stdin`` is what batches
    have not read of it yet.
    """

    def __init__(self, options: Options, out: Out) -> None:
        self.options = options
        self.out = out
        self.write = False
        self.pin_cache: dict[str, tuple[int, MapInfo]] | None = None
        self.batch_depth = 0
        self.stdin: Iterator[tuple[str, bool]] | None = None
        self.help: Callable[[App, Words], None] = _no_help
        self.words = Words([])
        self.stray_fds: list[int] = []
        self._settings: Settings | None = None
        self._session: AbstractContextManager[Bpf] | None = None
        self._bpf: Bpf | None = None

    @property
    def settings(self) -> Settings:
        """The settings, read on first use."""
        if self._settings is None:
            self._settings = Settings(self.options.own)
        return self._settings

    def forget_settings(self) -> None:
        """Read the settings again: an option came late."""
        self._settings = None

    @property
    def bpf(self) -> Bpf:
        """bpf(2) as the task of this command; opens the state on first use."""
        if self._bpf is None:
            session = as_task(self.settings, self.write)
            self._bpf = session.__enter__()
            self._session = session
            self.out.hold = self.write and not self.out.streaming
        return self._bpf

    @property
    def kernel(self) -> Any:
        """The kernel behind :attr:`bpf`."""
        return self.bpf.kernel

    def opened(self, fd: int) -> None:
        """Note a descriptor that a command of a batch leaves open."""
        if self.pin_cache is not None:
            self.stray_fds.append(fd)

    def keep_pin(self, path: str, fd: int, info: MapInfo) -> None:
        """Keep the map that a batch has just opened at ``path`` for its next lines."""
        if self.pin_cache is None:
            return
        self.stray_fds.remove(fd)
        if len(self.pin_cache) >= KEPT_PINS:
            oldest = next(iter(self.pin_cache))
            self.bpf.close(self.pin_cache.pop(oldest)[0])
        self.pin_cache[path] = fd, info

    def close_strays(self) -> None:
        """Close what one command of a batch opened, as its process would by exiting."""
        while self.stray_fds:
            self.bpf.close(self.stray_fds.pop())

    @property
    def is_open(self) -> bool:
        """Tell whether the command has a task."""
        return self._bpf is not None

    def current_task(self) -> Any:
        """Return the task of this command."""
        return self.kernel.task(self.bpf.pid)

    def note_failure(self, failure: Exception) -> None:
        """Remember for ``bpfctl why`` what the simulated kernel refused."""
        if isinstance(failure.__cause__, (KernelError, TaskKilled)):
            from bpfctl.cli.why.record import note
            from bpfctl.store.path import state_path

            note(self, state_path(self.settings.state), failure, self.words.items)

    def task(self, write: bool) -> AbstractContextManager[Bpf]:
        """Return a session of its own, for a command that opens the state as it likes."""
        self.out.hold = write
        return as_task(self.settings, write)

    def __enter__(self) -> App:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        session, self._session, self._bpf = self._session, None, None
        if session is not None:
            session.__exit__(kind, exc, traceback)
