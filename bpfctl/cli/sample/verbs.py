"""``bpfctl sample``: ports of the kernel's BPF samples, on any of the simulated kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.app.group import WordGroup, pass_app
from bpfctl.cli.app.hints import worded
from bpfctl.cli.app.ours import (
    App,
    CommandError,
    emit_json,
    json_option,
    limit,
    run_default,
    show_table,
)
from bpfctl.uapi import RLIM_INFINITY

if TYPE_CHECKING:
    from samples.runner import Cell, Machine, Outcome
    from samples.sample import Request, Sample

COMPARED_KERNELS = ("5.10", "5.11")
COMPARED_LIMITS = ("64K", "8M")
# What raises the limit of a machine that goes with its run.
_MEMORY_MAX = "--memory-max {least}"
_CPUS = click.IntRange(1, 8192)
_SETTINGS = {"help_option_names": ["-h", "--help"]}

MakeCommand = Callable[[str, "Sample"], click.Command]


def _part(name: str) -> ModuleType:
    """Import a module of the samples, when a command needs it."""
    return import_module(f"bpfctl_samples.{name}")


@click.group(
    cls=WordGroup,
    lazy={"object": "bpfctl.cli.sample.object:object_"},
    invoke_without_command=True,
)
@click.pass_context
def sample(ctx: click.Context) -> None:
    """Ports of the kernel's BPF samples: run one, or compare it over kernels and limits."""
    run_default(ctx, list_)


@sample.command(name="list")
@json_option
@pass_app
def list_(app: App) -> None:
    """List the samples."""
    registry = _part("registry")

    found = {name: registry.load(name) for name in registry.names()}
    facts = [
        {
            "name": name,
            "about": one.about,
            "usage": one.usage,
            "options": [option.name for option in one.options],
        }
        for name, one in found.items()
    ]
    if not emit_json(app, facts):
        show_table(app, ("name", "about"), [(name, one.about) for name, one in found.items()])


class SampleGroup(click.Group):
    """Has a command for each sample; any prefix that only one sample has names it."""

    def __init__(self, name: str, make: MakeCommand, help: str) -> None:
        super().__init__(
            name,
            help=help,
            no_args_is_help=False,
            context_settings=_SETTINGS,
            subcommand_metavar="SAMPLE [OPTIONS] [ARGS]...",
        )
        self.make = make

    def list_commands(self, ctx: click.Context) -> list[str]:
        registry = _part("registry")

        return list(registry.names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        registry = _part("registry")

        matches = [name for name in registry.names() if name.startswith(cmd_name)]
        name = matches[0] if len(matches) == 1 else cmd_name
        return self.make(name, registry.load(name))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:  # completion asks for less than a command
            known = ", ".join(self.list_commands(ctx))
            raise CommandError(f"{ctx.command_path} needs a sample", hint=f"there are: {known}")
        return super().parse_args(ctx, args)


# --- options of all samples, and those that a sample declares --------------


def _parameters(one: Sample) -> list[click.Parameter]:
    """Return the arguments of a sample, --seed, and what the sample declares."""
    words = click.Argument(["words"], nargs=-1, metavar=_metavar(one))
    seed = click.Option(
        ["--seed"],
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Choose among the random sequences (default: 0).",
    )
    return [words, *(_declared(option) for option in one.options), seed]


def _metavar(one: Sample) -> str:
    return "[--] " + one.usage if one.usage else "[ARGS]..."


def _declared(option: Any) -> click.Option:
    help_ = option.help + (f" Default: {option.default}." if option.default else "")
    kind = click.Choice(option.choices) if option.choices else None
    metavar = None if option.choices else option.metavar
    return click.Option([f"--{option.name}", option.name], type=kind, metavar=metavar, help=help_)


def _request(one: Sample, given: dict[str, Any], like: Request | None = None) -> Request:
    """Return what to run: the words and options given, the rest as in ``like``, or by default.

    Words replace all of ``like``: they may say the same as its options do.
    """
    words = given["words"]
    options = {option.name: option.default for option in one.options}
    if like is not None and not words:
        words = like.words
        options.update(like.options or {})
    options.update({o.name: given[o.name] for o in one.options if given[o.name] is not None})
    made: Request = _part("sample").Request(words, options, given.get("bump", False), given["seed"])
    return made


def parse_kernel(text: str) -> tuple[str, int | None]:
    """Return release and patch of ``5.10`` or ``5.10+18``, the series up to a patch."""
    from bpfctl.system import releases

    name, plus, patch = text.partition("+")
    if plus and not (patch.isascii() and patch.isdigit() and len(patch) < 4):
        raise CommandError(f"unknown kernel '{text}'", hint="say 5.10 or, for a patch, 5.10+18")
    number = int(patch) if plus else None
    releases.load(name, number)
    return name, number


def _machine(
    app: App, kernel: str | None, cpus: int | None, memlock: str | None, memory_max: str | None
) -> Machine:
    runner = _part("runner")
    settings = app.settings
    release, patch = parse_kernel(kernel) if kernel is not None else (None, None)
    typed = {"kernel": release, "patch": patch, "cpus": cpus}
    bytes_ = settings.memlock if memlock is None else limit(memlock, "memlock")
    if bytes_ is None and memlock is None:
        bytes_ = runner.DEFAULT_MEMLOCK
    made: Machine = runner.Machine(
        **{key: value for key, value in typed.items() if value is not None},
        memlock=bytes_,
        memory_max=None if memory_max is None else limit(memory_max, "memory.max"),
        uid=settings.uid,
        caps=settings.caps,
    )
    return made


# --- run -------------------------------------------------------------------


class _Printed:
    """Streams of a sample that are the command's own."""

    def __init__(self, app: App) -> None:
        self._app = app

    def out(self, text: str) -> None:
        self._app.out.put(text)
        self._app.out.checkpoint()

    def err(self, text: str) -> None:
        self._app.out.err(text)
        self._app.out.checkpoint()


def _run_command(name: str, one: Sample) -> click.Command:
    @pass_app
    def callback(app: App, /, **given: Any) -> int:
        return _run(app, name, one, given)

    options = [
        click.Option(
            ["--memlock-bump/--no-memlock-bump", "bump"],
            default=False,
            help="Raise RLIMIT_MEMLOCK to infinity first, as samples did up to 5.10 (default: no).",
        ),
        click.Option(
            ["--kernel"],
            metavar="RELEASE",
            help="Run on a kernel made for it: 5.10, 5.11, 6.1, 6.12, 6.18, or 5.10+N with N "
            "patches of the series. Default: the one in the state file.",
        ),
        click.Option(["--cpus"], type=_CPUS, metavar="N", help="Its possible CPUs (default: 4)."),
        click.Option(
            ["--memlock"], metavar="SIZE", help="RLIMIT_MEMLOCK: bytes, 64K, 8M or unlimited."
        ),
        click.Option(
            ["--memory-max"], metavar="SIZE", help="Limit the cgroup it runs in (with --kernel)."
        ),
    ]
    command = click.Command(
        name,
        callback=callback,
        params=[*_parameters(one), *options],
        help=f"Run {name}: {one.about}.",
        context_settings=_SETTINGS,
    )
    return json_option(command)


def _run(app: App, name: str, one: Sample, given: dict[str, Any]) -> int:
    runner = _part("runner")

    request = _request(one, given)
    kernel, cpus, memlock = given["kernel"], given["cpus"], given["memlock"]
    if given["memory_max"] is not None and kernel is None and cpus is None:
        raise CommandError(
            "--memory-max needs --kernel",
            hint="in the state file use 'bpfctl memcg set PATH memory.max=SIZE' and --cgroup PATH",
        )
    collected = _part("process").Collected()
    streams = _Printed(app) if app.out.json is None else collected
    if kernel is not None or cpus is not None:
        machine = _machine(app, kernel, cpus, memlock, given["memory_max"])
        outcome = runner.run_in_memory(machine, name, request, streams)
        hint = worded(outcome.hint, _MEMORY_MAX)
    else:
        if memlock is not None:
            nbytes = limit(memlock, "memlock")
            app.settings.memlock = RLIM_INFINITY if nbytes is None else nbytes
        with app.task(write=True) as bpf:
            outcome = runner.run(bpf.kernel, bpf.pid, name, request, streams)
        hint = worded(outcome.hint)
    printed = {"stdout": collected.stdout, "stderr": collected.stderr}
    if not emit_json(app, {"sample": name, **_facts(outcome), **printed}):
        app.out.hint(hint)
    return int(outcome.status)


def _facts(outcome: Outcome) -> dict[str, Any]:
    return {
        "outcome": outcome.word,
        "status": outcome.status,
        "errno": outcome.errno_name or None,
        "pages_locked": outcome.locked_pages,
        "bytes_charged": outcome.charged_bytes,
    }


# --- compare -----------------------------------------------------------------


def _compare_command(name: str, one: Sample) -> click.Command:
    @pass_app
    def callback(app: App, /, **given: Any) -> None:
        _compare(app, name, one, given)

    options = [
        click.Option(
            ["--kernel", "kernels"],
            multiple=True,
            metavar="RELEASE",
            help="A kernel to run on; say it again for more (default: 5.10 and 5.11).",
        ),
        click.Option(
            ["--memlock", "limits"],
            multiple=True,
            metavar="SIZE",
            help="An RLIMIT_MEMLOCK to start with; say it again for more (default: 64K and 8M).",
        ),
        click.Option(["--cpus"], type=_CPUS, metavar="N", help="Possible CPUs (default: 4)."),
        click.Option(["--memory-max"], metavar="SIZE", help="Limit the cgroup it runs in."),
    ]
    command = click.Command(
        name,
        callback=callback,
        params=[*_parameters(one), *options],
        help=f"Run {name} on several kernels, with several limits, with and without raising "
        "RLIMIT_MEMLOCK, and show how it ends and what it takes.",
        context_settings=_SETTINGS,
    )
    return json_option(command)


def _compare(app: App, name: str, one: Sample, given: dict[str, Any]) -> None:
    runner = _part("runner")

    request = _request(one, given, one.compare)
    rows = [
        (kernel, memlock)
        for kernel in given["kernels"] or COMPARED_KERNELS
        for memlock in given["limits"] or COMPARED_LIMITS
    ]
    machines = [_machine(app, k, given["cpus"], m, given["memory_max"]) for k, m in rows]
    cells = runner.matrix(machines)
    progress = _Progress(app, len(cells))
    try:
        done = runner.compare(name, request, cells, progress.step)
    finally:
        progress.end()
    runs = [_cell_facts(cell) for cell in done]
    if emit_json(app, {"sample": name, "runs": runs}):
        return
    headers = (
        "kernel", "bump", "memlock", "outcome", "errno", "pages locked", "bytes charged",
    )  # fmt: skip
    show_table(app, headers, [_row(cell) for cell in done], text=(0,))
    for note in _notes(done):
        app.out.put(f"\n{note}\n")


class _Progress:
    """A line on the terminal that says which run is going on; nothing elsewhere."""

    def __init__(self, app: App, total: int) -> None:
        self._shown = sys.stderr.isatty() and app.out.json is None
        self._total = total
        self._at = 0

    def step(self, cell: Cell) -> None:
        self._at += 1
        if self._shown:
            sys.stderr.write(f"\r\033[K[{self._at}/{self._total}] {_title(cell)}")
            sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def _kernel_text(machine: Machine) -> str:
    return machine.kernel if machine.patch is None else f"{machine.kernel}+{machine.patch}"


def _memlock_text(machine: Machine) -> str:
    nbytes = machine.memlock
    if nbytes is None:
        return "unlimited"
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if nbytes and nbytes % unit == 0:
            return f"{nbytes // unit}{letter}"
    return str(nbytes)


def _title(cell: Cell) -> str:
    bump = "bump" if cell.bump else "no bump"
    return f"{_kernel_text(cell.machine)}, {bump}, {_memlock_text(cell.machine)}"


def _row(cell: Cell) -> tuple[Any, ...]:
    outcome = cell.outcome
    return (
        _kernel_text(cell.machine),
        "yes" if cell.bump else "no",
        _memlock_text(cell.machine),
        outcome.word,
        outcome.errno_name or "-",
        outcome.locked_pages,
        outcome.charged_bytes,
    )


def _cell_facts(cell: Cell) -> dict[str, Any]:
    return {
        "kernel": _kernel_text(cell.machine),
        "cpus": cell.machine.cpus,
        "bump": cell.bump,
        "memlock": cell.machine.memlock,
        **_facts(cell.outcome),
        "hint": worded(cell.outcome.hint, _MEMORY_MAX) or None,
        "explained": cell.outcome.explained or None,
        "stdout": cell.outcome.stdout,
        "stderr": cell.outcome.stderr,
    }


def _reasons(outcome: Outcome) -> tuple[str, str]:
    return outcome.explained, worded(outcome.hint, _MEMORY_MAX)


def _notes(cells: list[Cell]) -> list[str]:
    """Say why runs failed, and which of the others printed the same."""
    reasons: dict[tuple[str, ...], list[str]] = {}
    for cell in cells:
        why = tuple(text for text in _reasons(cell.outcome) if text)
        if why:
            reasons.setdefault(why, []).append(_title(cell))
    notes = ["\n  ".join([f"{'; '.join(titles)}:", *why]) for why, titles in reasons.items()]
    outputs: dict[str, list[str]] = {}
    for cell in cells:
        if cell.outcome.status == 0:
            kernels = outputs.setdefault(cell.outcome.stdout, [])
            if _kernel_text(cell.machine) not in kernels:
                kernels.append(_kernel_text(cell.machine))
    if len(outputs) == 1:
        notes.append("The runs that ended well printed the same.")
    elif outputs:
        groups = " | ".join(", ".join(kernels) for kernels in outputs.values())
        notes.append(f"What they printed differs by kernel: {groups}")
    return notes


sample.add_command(
    SampleGroup("run", _run_command, "Run a sample, on the state's kernel or on another.")
)
sample.add_command(
    SampleGroup("compare", _compare_command, "Run a sample on several kernels and limits.")
)
