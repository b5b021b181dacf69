"""``bpfctl plugin check``: the conformance suite over the map types of a package."""

from __future__ import annotations

from dataclasses import asdict

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, emit_json, json_option, show_table


@click.command()
@click.argument("package", required=False)
@click.option("--all", "everything", is_flag=True, help="Check every built-in type.")
@json_option
@pass_app
def check(app: App, package: str | None, everything: bool) -> int:
    """Try the rules of the MapType contract on the map types of PACKAGE.

    PACKAGE is an installed distribution, a module, or the name of a map type. Exit status: 0
    if all rules are kept, 1 if one is broken.
    """
    from bpfctl.conformance.rules import RULES
    from bpfctl.conformance.run import check_type, types_of
    from bpfctl.plugins import BUILTIN

    if everything == bool(package):
        raise click.UsageError("name one package, or --all")
    names = sorted(BUILTIN) if everything else [package or ""]
    classes = [cls for name in names for cls in types_of(name)]
    outcomes = [outcome for cls in classes for outcome in check_type(cls)]
    failed = [outcome for outcome in outcomes if not outcome.passed]
    if emit_json(app, [{**asdict(outcome), "passed": outcome.passed} for outcome in outcomes]):
        return int(bool(failed))
    rows = [
        (outcome.type_name, outcome.rule, "ok" if outcome.passed else "BROKEN")
        for outcome in outcomes
    ]
    show_table(app, ("type", "rule", "result"), rows)
    for outcome in failed:
        about = (RULES[outcome.rule].__doc__ or "").strip().split("\n")[0]
        app.out.put(f"\n{outcome.type_name}, {outcome.rule}: {outcome.complaint}\n")
        app.out.put(f"  the rule: {about}\n")
    app.out.put(f"\n{len(outcomes) - len(failed)} rules kept, {len(failed)} broken\n")
    return int(bool(failed))
