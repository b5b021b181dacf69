"""``bpfctl series``: the patches that moved BPF memory from RLIMIT_MEMLOCK to memory cgroups."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from bpfctl.cli.app.group import WordGroup, pass_app
from bpfctl.cli.app.ours import (
    App,
    CommandError,
    emit_json,
    json_option,
    run_default,
    show_table,
)
from bpfctl.system.releases import LAST_PATCH, Patch

_PREFIXES = {"accounts": "accounted", "uncharges": "no rlimit"}


@click.group(cls=WordGroup, invoke_without_command=True)
@json_option
@click.pass_context
def series(ctx: click.Context) -> None:
    """The 34 patches from RLIMIT_MEMLOCK to memory cgroups, and what each changes.

    'bpfctl sim new --kernel 5.10 --patch N' makes a kernel with the first N of them.
    """
    run_default(ctx, list_)


def _state(patch: Patch) -> str:
    """Say in a word or two what the patch does to the model."""
    parts = [
        f"{word}: {', '.join(getattr(patch, name))}"
        for name, word in _PREFIXES.items()
        if getattr(patch, name)
    ]
    parts += [f"{name} = {str(value).lower()}" for name, value in patch.sets]
    return "; ".join(parts)


def _facts(patch: Patch) -> dict[str, Any]:
    return {
        "number": patch.number,
        "subject": patch.subject,
        "effect": " ".join(patch.effect.split()),
        "show": patch.show.splitlines() or [f"bpfctl series show {patch.number}"],
        "accounts": list(patch.accounts),
        "uncharges": list(patch.uncharges),
        "sets": dict(patch.sets),
    }


def _list(app: App) -> None:
    from bpfctl.system import releases

    patches = releases.series()
    if not emit_json(app, [_facts(patch) for patch in patches]):
        rows = [(patch.number, patch.subject, _state(patch)) for patch in patches]
        show_table(app, ("patch", "subject", "changes"), rows)


@series.command(name="list")
@json_option
@pass_app
def list_(app: App) -> None:
    """List the patches."""
    _list(app)


@series.command()
@click.argument("number", type=int, required=False)
@json_option
@pass_app
def show(app: App, number: int | None) -> None:
    """Explain patch NUMBER and measure it: figures of a kernel without it and with it.

    The figures come from kernels booted in memory with two possible CPUs; the state is neither
    read nor changed. Without NUMBER list all patches.
    """
    if number is None:
        _list(app)
        return
    if not 1 <= number <= LAST_PATCH:
        raise CommandError(
            f"the series has no patch {number}", hint=f"patches are 1 to {LAST_PATCH}"
        )
    from bpfctl.cli.series.probe import changes
    from bpfctl.system import releases

    patch = releases.series()[number - 1]
    found, note = changes(number)
    facts = {
        **_facts(patch),
        "compared": note or f"patches 1 to {number - 1} and 1 to {number}",
        "changes": [asdict(change) for change in found],
    }
    if emit_json(app, facts):
        return
    _print(app, patch)
    if not found:
        app.out.put("no figure of any map or program changes\n")
        return
    if note:
        app.out.put(f"{note}:\n\n")
    rows = [(c.subject, c.figure, c.before, c.after) for c in found]
    show_table(app, ("of", "figure", "before", "after"), rows)


def _print(app: App, patch: Patch) -> None:
    app.out.put(f"patch {patch.number}/{LAST_PATCH}  {patch.subject}\n\n")
    app.out.put("".join(f"  {line}\n" for line in patch.effect.splitlines()))
    app.out.put("\n")
    from bpfctl.cli.series.probe import CPUS

    if not patch.show:
        import textwrap

        app.out.put(textwrap.fill(f"There is nothing to type. {patch.untyped}", 96) + "\n\n")
    else:
        before, after = patch.number - 1, patch.number
        new = f"bpfctl sim new --force --kernel 5.10 --cpus {CPUS}"
        app.out.put(f"Type this after '{new} --patch {before}',\n")
        app.out.put(f"and once more after '{new} --patch {after}':\n\n")
        app.out.put("".join(f"  $ {line}\n" for line in patch.show.splitlines()))
        app.out.put("\n")


@series.command()
@json_option
@pass_app
def who(app: App) -> None:
    """Show who pays for a map's memory, kernel by kernel.

    A task in one cgroup makes maps, one in another updates them. Both cgroups have one parent.
    """
    from bpfctl.cli.series.who import CPUS, KERNELS, ask
    from bpfctl.testbed import Bed

    answers = {
        title: ask(Bed.boot(release, patch, cpus=CPUS).kernel)
        for title, release, patch in KERNELS
    }
    if emit_json(app, [{"kernel": title, **answer} for title, answer in answers.items()]):
        return
    rows = [
        [situation, *(answer[situation] for answer in answers.values())]
        for situation in next(iter(answers.values()))
    ]
    show_table(app, ("paid by", *answers), rows)
