"""``bpfctl task``: long-lived tasks of the simulated system, and what they hold open."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.app.caps import format_caps, parse_caps
from bpfctl.cli.app.group import WordGroup, pass_app
from bpfctl.cli.app.ours import (
    App,
    CommandError,
    E,
    doing,
    done,
    emit_json,
    json_option,
    limit,
    open_kernel,
    run_default,
    show_facts,
    show_table,
    size_text,
)
from bpfctl.errors import Failure
from bpfctl.uapi import ALL_CAPS

if TYPE_CHECKING:
    from bpfctl.system import System
    from bpfctl.system.objects import File, Task

INIT_PID = 1
DEFAULT_LIMIT = -1
_NO_TASK = "bpfctl task show lists the tasks"
_NO_CGROUP = "bpfctl memcg tree shows the cgroups there are"
_RLIMIT_HINTS = {
    E.INVAL: "the soft limit must not be above the hard one",
    E.PERM: "only a task with CAP_SYS_RESOURCE may raise its hard limit",
    E.NOENT: _NO_TASK,
}
_OPEN_HINTS = {
    E.NOENT: "bpfctl map show, and bpfctl sim ls /sys/fs/bpf, show what there is",
    E.PERM: "a task without CAP_SYS_ADMIN opens objects by their pinned path only",
    E.ACCES: "what is there is a directory, or not readable",
}


MEMORY = {
    word: f"bpfctl.cli.task.memory:{word}" for word in ("mmap", "munmap", "read", "write")
}


@click.group(cls=WordGroup, lazy=MEMORY, invoke_without_command=True)
@json_option
@click.pass_context
def task(ctx: click.Context) -> None:
    """Long-lived tasks: credentials, RLIMIT_MEMLOCK, cgroup and open descriptors.

    A command of bpfctl is a short-lived task, a child of init or of '--as PID'. OBJECT is a
    pinned path, 'id N', 'prog id N', 'btf id N' or 'object N'; quote it as one word.
    """
    run_default(ctx, show)


def parse_memlock(text: str) -> tuple[int | None, int | None]:
    """Return (soft, hard) in bytes of ``SOFT[:HARD]``, None for no limit."""
    soft, colon, hard = text.partition(":")
    first = limit(soft, "memlock")
    return first, limit(hard, "memlock") if colon else first


@task.command()
@click.option("--comm", default="task", show_default=True, help="Name of the task.")
@click.option("--uid", type=click.IntRange(0, 0xFFFFFFFE), default=0, help="User id.")
@click.option("--caps", help="all, none, or names with commas. Default: all for uid 0.")
@click.option("--cgroup", default="/", show_default=True, metavar="PATH", help="Its cgroup.")
@click.option("--memlock", metavar="SOFT[:HARD]", help="RLIMIT_MEMLOCK: bytes, 64K, unlimited.")
@click.option("--open", "objects", metavar="OBJECT", multiple=True, help="Open it at once.")
@json_option
@pass_app
def spawn(
    app: App,
    comm: str,
    uid: int,
    caps: str | None,
    cgroup: str,
    memlock: str | None,
    objects: tuple[str, ...],
) -> None:
    """Start a task that lives until 'task exit'; print its pid."""
    mask = parse_caps(caps) if caps is not None else (ALL_CAPS if uid == 0 else 0)
    soft, hard = parse_memlock(memlock) if memlock else (DEFAULT_LIMIT, DEFAULT_LIMIT)
    if hard is not None and hard >= 0 and (soft is None or soft > hard):
        raise CommandError(
            "can't set RLIMIT_MEMLOCK: Invalid argument", hint=_RLIMIT_HINTS[E.INVAL]
        )
    for word in objects:
        parse_object(word)
    with open_kernel(app, write=True) as kernel:
        with doing(f"can't start a task in cgroup '{cgroup}'", {E.NOENT: _NO_CGROUP}):
            made = kernel.spawn(comm, uid, mask, cgroup, soft, hard)
        try:
            fds = [_open_object(kernel, made.pid, word, "the task") for word in objects]
        except Failure:
            kernel.exit_task(made.pid)
            raise
        done(app, str(made.pid), pid=made.pid, fds=fds)


def _open_object(kernel: System, pid: int, text: str, who: str) -> int:
    """Open an object as task ``pid``, called ``who`` in messages; return the descriptor."""
    from bpfctl.libbpf.bpf import Bpf

    bpf = Bpf(kernel, pid)
    kind, which = parse_object(text)
    with doing(f"{who} can't open '{text}'", _OPEN_HINTS):
        if kind == "pinned":
            return bpf.obj_get(which)
        by_id: dict[str, Callable[[int], int]] = {
            "map": bpf.map_get_fd_by_id,
            "prog": bpf.prog_get_fd_by_id,
            "btf": bpf.btf_get_fd_by_id,
            "object": partial(kernel.objects.open, pid),
        }
        return by_id[kind](int(which))


def parse_object(text: str) -> tuple[str, str]:
    """Return what kind of OBJECT ``text`` names, and its id or, if ``pinned``, its path."""
    words = text.split()
    kind = words[0] if words and words[0] in ("map", "prog", "btf") else "map"
    rest = words[1:] if words and words[0] == kind else words
    if len(rest) == 2 and rest[0] == "id" and rest[1].isdecimal():
        return kind, rest[1]
    if len(words) == 2 and words[0] == "object" and words[1].isdecimal():
        return "object", words[1]
    if len(rest) == 2 and rest[0] == "pinned":
        return "pinned", rest[1]
    if text.startswith("/"):
        return "pinned", text
    raise CommandError(
        f"can't parse '{text}' as an object",
        hint="say a pinned path such as /sys/fs/bpf/m, 'id 5', 'prog id 5' or 'object 2'",
    )


def _existing(kernel: System, pid: int) -> Task:
    with doing(f"can't look up task {pid}", {E.NOENT: _NO_TASK}):
        return kernel.task(pid)


def _facts(kernel: System, found: Task) -> dict[str, Any]:
    return {
        "pid": found.pid,
        "comm": found.comm,
        "uid": found.uid,
        "caps": format_caps(found.caps),
        "cgroup": kernel.memcg.get(found.cgroup).path,
        "memlock_soft": found.memlock_soft,
        "memlock_hard": found.memlock_hard,
        "locked_vm": kernel.memlock.locked_pages(found.uid) * kernel.config.page_size,
        "mlocked": found.mlocked_pages * kernel.config.page_size,
        "pinned": found.pinned_pages * kernel.config.page_size,
        "fds": [_file_facts(file) for file in kernel.files.of_task(found.pid)],
    }


def _file_facts(file: File) -> dict[str, Any]:
    return {"fd": file.fd, "kind": file.obj_kind, "id": file.obj_id}


@task.command()
@click.argument("pid", type=int, required=False)
@json_option
@pass_app
def show(app: App, pid: int | None) -> None:
    """List the tasks, or print one with its descriptors."""
    with open_kernel(app, write=False) as kernel:
        if pid is not None:
            _show_one(app, _facts(kernel, _existing(kernel, pid)))
            return
        found = [_facts(kernel, each) for each in kernel.tasks.find(transient=0)]
        if not emit_json(app, found):
            headers = ("pid", "comm", "uid", "caps", "cgroup", "memlock", "fds")
            show_table(app, headers, [_row(facts) for facts in found])


def _memlock_text(facts: dict[str, Any]) -> str:
    soft, hard = facts["memlock_soft"], facts["memlock_hard"]
    texts = ["unlimited" if value is None else size_text(value) for value in (soft, hard)]
    return texts[0] if soft == hard else ":".join(texts)


def _row(facts: dict[str, Any]) -> tuple[Any, ...]:
    names = ("pid", "comm", "uid", "caps", "cgroup")
    return (*(facts[name] for name in names), _memlock_text(facts), len(facts["fds"]))


def _show_one(app: App, facts: dict[str, Any]) -> None:
    if emit_json(app, facts):
        return
    files = facts.pop("fds")
    memlock = _memlock_text(facts)
    del facts["memlock_soft"], facts["memlock_hard"]
    show_facts(app, {**facts, "memlock": memlock})
    for file in files:
        app.out.put(f"fd {file['fd']}: {file['kind']} {file['id']}\n")


@task.command(name="set")
@click.argument("pid", type=int)
@click.option("--memlock", metavar="SOFT[:HARD]", help="RLIMIT_MEMLOCK, as setrlimit(2) would.")
@click.option("--cgroup", metavar="PATH", help="Move it there.")
@click.option("--comm", help="New name.")
@json_option
@pass_app
def set_(app: App, pid: int, memlock: str | None, cgroup: str | None, comm: str | None) -> None:
    """Change a task. Raising the hard limit takes CAP_SYS_RESOURCE."""
    if memlock is None and cgroup is None and comm is None:
        raise CommandError("nothing to set", hint="say --memlock, --cgroup or --comm")
    with open_kernel(app, write=True) as kernel:
        found = _existing(kernel, pid)
        if memlock is not None:
            # A soft limit alone leaves the hard one, as 'ulimit -S' does.
            soft, hard = parse_memlock(memlock)
            hard = hard if ":" in memlock else found.memlock_hard
            with doing(f"can't set RLIMIT_MEMLOCK of task {pid}", _RLIMIT_HINTS):
                kernel.setrlimit_memlock(pid, soft, hard)
        if cgroup is not None:
            with doing(f"can't move task {pid} to '{cgroup}'", {E.NOENT: _NO_CGROUP}):
                kernel.memcg.move(found, cgroup)
        found.comm = comm if comm is not None else found.comm
        done(app)


@task.command()
@click.argument("pid", type=int)
@click.argument("size")
@click.option("--mlock", is_flag=True, help="With mlock(2), which each process counts on its own.")
@json_option
@pass_app
def lock(app: App, pid: int, size: str, mlock: bool) -> None:
    """Lock memory as perf rings, AF_XDP or io_uring do: on the account that BPF shares."""
    nbytes = limit(size, "size")
    if nbytes is None:
        raise CommandError("can't lock without limit", hint="say a size, such as 64K")
    with open_kernel(app, write=True) as kernel:
        found = _existing(kernel, pid)
        hints = {
            E.PERM: "RLIMIT_MEMLOCK is 0: raise it with 'bpfctl task set PID --memlock SIZE'",
            E.NOMEM: f"RLIMIT_MEMLOCK is {found.memlock_soft} bytes, "
            f"{found.mlocked_pages * kernel.config.page_size} are locked",
        }
        with doing(f"task {pid} can't lock {size}", hints):
            if mlock:
                kernel.memlock.mlock(found, nbytes)
            else:
                kernel.memlock.pin(found, nbytes)
        done(app)


@task.command()
@click.argument("pid", type=int)
@json_option
@pass_app
def unlock(app: App, pid: int) -> None:
    """Give back all that a task has locked."""
    with open_kernel(app, write=True) as kernel:
        found = _existing(kernel, pid)
        kernel.memlock.unpin(found)
        found.mlocked_pages = 0
        done(app)


@task.command(name="open")
@click.argument("pid", type=int)
@click.argument("object_", metavar="OBJECT", nargs=-1, required=True)
@json_option
@pass_app
def open_(app: App, pid: int, object_: tuple[str, ...]) -> None:
    """Let a task open a map, program or other object; print the descriptor."""
    with open_kernel(app, write=True) as kernel:
        _existing(kernel, pid)
        fd = _open_object(kernel, pid, " ".join(object_), f"task {pid}")
        done(app, str(fd), fd=fd)


@task.command()
@click.argument("pid", type=int)
@click.argument("fd", type=int)
@json_option
@pass_app
def close(app: App, pid: int, fd: int) -> None:
    """Let a task close a descriptor; what nothing else holds is freed."""
    with open_kernel(app, write=True) as kernel:
        _existing(kernel, pid)
        hints = {E.BADF: f"bpfctl task show {pid} lists its descriptors"}
        with doing(f"task {pid} can't close fd {fd}", hints):
            kernel.close(pid, fd)
        done(app)


@task.command(name="exit")
@click.argument("pids", metavar="PID...", type=int, nargs=-1, required=True)
@json_option
@pass_app
def exit_(app: App, pids: tuple[int, ...]) -> None:
    """End tasks: their descriptors close."""
    if INIT_PID in pids:
        raise CommandError(
            "can't end task 1: it is init", hint="bpfctl sim reset --force starts anew"
        )
    with open_kernel(app, write=True) as kernel:
        for pid in pids:
            _existing(kernel, pid)
            kernel.exit_task(pid)
        done(app)
