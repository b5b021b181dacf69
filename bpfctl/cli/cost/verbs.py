"""``bpfctl cost``: what maps and programs cost, on which kernel, and whether they fit."""

from __future__ import annotations

import gc
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, CommandError, json_option, limit, size_text
from bpfctl.cost import choices
from bpfctl.cost.choices import MEMLOCK, MEMORY_MAX, NOW, Limit, Machine
from bpfctl.cost.plan import Plan, Source, libbpf_version, object_source, rules_text
from bpfctl.libbpf.mapspec import MapSpec

if TYPE_CHECKING:
    from bpfctl.cost.baseline import Growth
    from bpfctl.cost.boot import Actor
    from bpfctl.cost.measure import MachineCost

BROKEN_STATUS = 1
UNTESTED_STATUS = 2
REFUSED_STATUS = 3
_PROGRESS_AFTER_SECONDS = 1.0
_MAX_MACHINES = 5000
_OBJECTS_PER_COLLECTION = 500_000


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option(
    "--map", "maps", multiple=True, metavar="type=T,key=N,value=N,entries=N[,...]",
    help="A map in words; also flags, name, extra, numa_node, copies, inner=NAME, inner.type=...",
)  # fmt: skip
@click.option(
    "--set", "settings", multiple=True, metavar="NAME.ATTR=VALUE",
    help="Override what a map declares, as its loader would: flows.max_entries=100000.",
)  # fmt: skip
@click.option(
    "--kernel", "kernels", multiple=True, metavar="RELEASE",
    help="5.10, 5.11, 6.1, 6.12, 6.18, 5.10+N (N patches of the series), all "
    "(default: 5.10 and 6.18).",
)  # fmt: skip
@click.option(
    "--cpus", metavar="LIST", help="Possible CPUs: 4, 1,2,8, 1-8, 1..128 (doubling) (default: 4)."
)
@click.option(
    "--fill", "fills", multiple=True, metavar="LEVEL",
    help="Elements in each map: empty, a number, 50%, full; now in a state "
    "(default: empty and full; of a state now and full).",
)  # fmt: skip
@click.option(
    "--memlock", "memlocks", multiple=True, metavar="SIZE", help="Test this RLIMIT_MEMLOCK."
)
@click.option(
    "--memory-max", "memory_maxes", multiple=True, metavar="SIZE", help="Test this memory.max."
)
@click.option("--page-size", metavar="SIZE", help="Page size (default: 4096).")
@click.option(
    "--libbpf", metavar="VERSION",
    help="Read objects as this release of libbpf does, 0.8 to 1.5 (default: 1.5). A bpftool may "
    "be built from a tree between two, whatever it says.",
)  # fmt: skip
@click.option("--bytes", "exact", is_flag=True, help="Show bytes rather than 1.5M.")
@click.option("--html", metavar="FILE", help="Write a report with charts, which needs no network.")
@click.option(
    "--baseline", metavar="FILE",
    help="Fail if anything costs more than in FILE, an earlier answer of --json.",
)  # fmt: skip
@click.option(
    "--schema", is_flag=True, help="Print the JSON Schema of the answer of --json, and stop."
)
@json_option
@pass_app
def cost(app: App, /, **given: Any) -> int:
    """Price maps and programs before they are loaded.

    FILE is a BPF object file or a plan (*.toml). Without any, and without --map, the maps and
    programs of the state are priced. Nothing is changed: kernels are booted in memory, the
    objects created there and the maps filled.

    Exit status: 0 all limits hold, 1 a limit breaks or something costs more than the baseline,
    2 a limit could not be tested to the end because a kernel refuses something anyway, 3 no
    kernel accepts some map or program, 255 bad input.
    """
    if given["schema"]:
        from bpfctl.cost.report import schema_text

        app.out.put(schema_text())
        return 0
    earlier = _baseline(given["baseline"])
    question = _Question(app, given)
    costs = question.answer()
    if given["html"]:
        _write_html(given["html"], question, costs, app.words.items)
    from bpfctl.cost.report import all_hold, refused_everywhere

    grown = growth(earlier, costs) if earlier is not None else None
    _show(app, costs, given, grown, question.said_of_objects())
    held = all_hold(costs)
    if held is False or grown:
        return BROKEN_STATUS
    if refused_everywhere(costs):
        return REFUSED_STATUS
    return 0 if held else UNTESTED_STATUS


def _baseline(path: str | None) -> dict[str, Any] | None:
    if path is None:
        return None
    from bpfctl.cost.baseline import read

    return read(path)


def growth(earlier: dict[str, Any], costs: list[MachineCost]) -> list[Growth]:
    """Return what costs more than in an earlier answer."""
    from bpfctl.cost.baseline import compare
    from bpfctl.cost.report import as_data

    return compare(earlier, as_data(costs))


class _Question:
    """The command line, put together: what to price, where, and against which limits."""

    def __init__(self, app: App, given: dict[str, Any]) -> None:
        self.app = app
        self.given = given
        self.said: dict[str, list[str]] = {}
        self.state_machine: Machine | None = None
        self.plan = self._plan()
        self.page_size = self._page_size()
        self.kernels = self._kernels()
        self.cpus = self._cpus()
        self.fills = self._fills()
        self.limits = self._limits()
        self.actor = self._actor()
        self.plan.set(list(given["settings"]))
        self.plan.check()

    # --- what ------------------------------------------------------------------

    def _plan(self) -> Plan:
        plan = Plan()
        libbpf = libbpf_version(self.given["libbpf"])
        for path in self.given["files"]:
            plan.sources += self._file(path, libbpf)
        if self.given["maps"]:
            plan.sources.append(_map_source(self.given["maps"]))
        if not self.given["files"] and not self.given["maps"]:
            plan.sources += self._state()
        return plan

    def said_of_objects(self) -> list[str]:
        """Return what object files have that is not priced, and by whose rules they were read."""
        notes = [note for source in self.plan.sources for note in source.notes]
        internal = any(
            isinstance(item.spec, MapSpec) and item.spec.internal
            for source in self.plan.sources
            for item in source.maps
        )
        if self.given["libbpf"] or (internal and self.given["files"]):
            notes.append(rules_text(libbpf_version(self.given["libbpf"])))
        return notes

    def _file(self, path: str, libbpf: tuple[int, int] | None) -> list[Source]:
        if path.endswith(".toml"):
            from bpfctl.cost.planfile import read_plan

            found = read_plan(path, libbpf)
            for key, words in found.choices.items():
                self.said.setdefault(key, []).extend(words)
            return found.sources
        return [object_source(path, libbpf)]

    def _state(self) -> list[Source]:
        from bpfctl import store
        from bpfctl.cost.state import machine_of, state_sources

        with store.open_kernel(self.app.settings.state, write=False) as kernel:
            self.state_machine = machine_of(kernel)
            return state_sources(kernel, "state")

    # --- where -------------------------------------------------------------------

    def _words(self, option: str, key: str) -> list[str]:
        """Return what an option says, else a plan, split at commas."""
        words = list(self.given[option]) or self.said.get(key, [])
        return [part.strip() for word in words for part in word.split(",") if part.strip()]

    def _page_size(self) -> int:
        text = self.given["page_size"]
        if text is None:
            return self.state_machine.page_size if self.state_machine else 4096
        return limit(text, "page size") or 0

    def _kernels(self) -> list[tuple[str, int | None]]:
        words = self._words("kernels", "kernels")
        if words:
            return choices.parse_kernels(words)
        if self.state_machine:
            return [(self.state_machine.kernel, self.state_machine.patch)]
        return choices.default_kernels()

    def _cpus(self) -> list[int]:
        said = self.said.get("cpus", [])
        text = self.given["cpus"] if self.given["cpus"] is not None else ",".join(said)
        if text or self.given["cpus"] is not None:
            return choices.parse_cpus(text)
        return [self.state_machine.cpus if self.state_machine else choices.DEFAULT_CPUS]

    def _fills(self) -> list[int | str]:
        words = self._words("fills", "fill")
        if not words:
            return [NOW, choices.FULL] if self.state_machine else [choices.EMPTY, choices.FULL]
        return choices.sort_fills(choices.parse_fill(word) for word in words)

    def _limits(self) -> list[Limit]:
        own = self.app.options.own.get("memlock")
        found = []
        for text in [*self._words("memlocks", "memlock"), *([own] if own else [])]:
            found.append((MEMLOCK, limit(text, "memlock")))
        for text in self._words("memory_maxes", "memory_max"):
            found.append((MEMORY_MAX, limit(text, "memory.max")))
        return list(dict.fromkeys(Limit(kind, n) for kind, n in found if n is not None))

    def _actor(self) -> Actor:
        from bpfctl.cost.boot import Actor
        from bpfctl.uapi import ALL_CAPS

        uid, caps = self.app.settings.uid or 0, self.app.settings.caps
        return Actor(uid, (0 if uid else ALL_CAPS) if caps is None else caps)

    def machines(self) -> list[Machine]:
        """Return the machines to boot."""
        found = choices.machines(self.kernels, self.cpus, self.page_size)
        if len(found) > _MAX_MACHINES:
            raise CommandError(f"{len(found)} kernels and CPU counts are too many")
        return found

    # --- the answer -----------------------------------------------------------------

    def answer(self) -> list[MachineCost]:
        """Price everything on every machine."""
        from bpfctl.cost.limits import check
        from bpfctl.cost.measure import price

        costs = []
        machines = self.machines()
        quiet = self.app.out.json is not None
        with _rare_collection(), Progress(len(machines), quiet) as progress:
            for machine in machines:
                found = price(self.plan, machine, self.fills, self.actor)
                found.verdicts = [
                    check(self.plan, found, self.actor, each) for each in self.limits
                ]
                costs.append(found)
                progress.step()
        return costs


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Let the garbage collector run only now and then: kernels come and go as a whole.

    It takes a third of the time otherwise.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


class Progress:
    """A line on the terminal about work that takes longer than a moment."""

    def __init__(self, steps: int, quiet: bool) -> None:
        self.steps = steps
        self.done = 0
        self.shown = False
        self.quiet = quiet or not sys.stderr.isatty()
        self.since = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()

    def step(self) -> None:
        """Note one machine more."""
        self.done += 1
        if not self.quiet and time.monotonic() - self.since > _PROGRESS_AFTER_SECONDS:
            self.shown = True
            sys.stderr.write(f"\r{self.done} of {self.steps} kernels")
            sys.stderr.flush()


def _map_source(texts: tuple[str, ...]) -> Source:
    from bpfctl.cost.mapline import parse_map, resolve_inner, with_types

    made = [parse_map(text, number) for number, text in enumerate(texts, 1)]
    source = Source("--map", resolve_inner(made, "--map"))
    source.btf = with_types(source.maps)
    return source


def _show(
    app: App,
    costs: list[MachineCost],
    given: dict[str, Any],
    grown: list[Growth] | None,
    notes: list[str],
) -> None:
    if app.out.json is not None:
        import json

        from bpfctl.cost.report import as_data

        pretty = app.out.json.pretty
        answer = as_data(costs)
        if notes:
            answer["notes"] = notes
        if grown is not None:
            answer["growth"] = [each.as_data() for each in grown]
        text = json.dumps(
            answer,
            indent=4 if pretty else None,
            separators=None if pretty else (",", ":"),
        )
        app.out.put(f"{text}\n")
        return
    from bpfctl.cli.app import terminal
    from bpfctl.cost.table import tables

    amount = str if given["exact"] else size_text
    columns = terminal.width()
    for number, table in enumerate(tables(costs, amount)):
        blocks = terminal.blocks(table.headers, table.rows, columns) if columns else None
        lines = ["", *table.lines(blocks)] if number else table.lines(blocks)
        app.out.put("".join(f"{line}\n" for line in lines))
    if notes:
        app.out.put("\n" + "".join(f"{note}\n" for note in notes))
    for each in grown or ():
        app.out.put(f"grew: {each.text(amount)}\n")


def _write_html(
    path: str, question: _Question, costs: list[MachineCost], words: list[str]
) -> None:
    from bpfctl.cost.html import render

    text = render(question.plan, costs, question.actor, shlex.join(["bpfctl", *words]))
    try:
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as exc:
        raise CommandError(f"can't write {path}: {exc.strerror}") from exc
