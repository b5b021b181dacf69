"""``bpfctl why``: the last failure of this state, explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, emit_json, json_option, open_kernel, show_facts
from bpfctl.errors import E, Hint, Refusal, errno_name
from bpfctl.uapi import MapCreateAttr

if TYPE_CHECKING:
    from bpfctl.why.trial import Outcome, Trial


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@json_option
@pass_app
def why(app: App) -> None:
    """Explain the last failure of this state.

    Which check refused, whose limit it was, since which release or patch that is so, what other
    kernels say to the same call, and what would mend it.
    """
    from bpfctl.cli.why.record import last
    from bpfctl.store.path import state_path

    failure = last(state_path(app.settings.state))
    facts = _facts(app, failure)
    if not emit_json(app, facts):
        show_facts(app, {name: value for name, value in facts.items() if value})


def _facts(app: App, failure: dict[str, Any]) -> dict[str, Any]:
    from bpfctl.cli.app.hints import worded
    from bpfctl.cli.why.words import for_check
    from bpfctl.why.words import for_creation

    errno = failure["errno"]
    refusal = Refusal(**failure["refusal"]) if failure["refusal"] else None
    hint: Hint = refusal or failure["hint"]
    facts: dict[str, Any] = {
        "command": " ".join(failure["words"]),
        "error": failure["error"],
        "errno": None if errno is None else errno_name(errno),
        "call": failure["call"],
        "check": failure["detail"],
        "limit": worded(hint) if refusal else None,
        "mend": None if refusal else hint or for_check(errno or 0, failure["detail"]),
    }
    if failure.get("attr") is None:
        return facts
    trial = _trial(app, failure, refusal)
    facts["mend"] = facts["mend"] if refusal else for_creation(trial, errno) or facts["mend"]
    return {**facts, **_kernels(trial)}


def _trial(app: App, failure: dict[str, Any], refusal: Refusal | None) -> Trial:
    from bpfctl.why.trial import Trial

    with open_kernel(app, write=False) as kernel:
        config = kernel.config
    inner = failure.get("inner")
    task = failure["task"]
    trial = Trial(
        MapCreateAttr(**{**failure["attr"], "inner_map_fd": 0}),
        config,
        task["uid"],
        task["caps"],
        MapCreateAttr(**inner) if inner else None,
        task["memlock_soft"],
    )
    if refusal is not None and refusal.limit == "memory.max":
        trial.room = max(refusal.allowed - refusal.used, 0)
    if refusal is not None and refusal.limit == "RLIMIT_MEMLOCK":
        trial.memlock = max(refusal.allowed - refusal.used, 0)
    return trial


def _kernels(trial: Trial) -> dict[str, Any]:
    """Return what the releases say, and where the answer changes."""
    from bpfctl.system.releases import series
    from bpfctl.why.trial import elsewhere, turning_patch

    outcomes = elsewhere(trial)
    facts: dict[str, Any] = {
        "kernels": {name: _outcome(outcome) for name, outcome in outcomes.items()},
        "since": _since(trial.config.kernel, outcomes),
        "patch": None,
    }
    if outcomes["5.10"].errno != outcomes["5.11"].errno:
        number = turning_patch(trial)
        if number is not None:
            facts["patch"] = f"{number}/34 {series()[number - 1].subject}"
    return facts


def _outcome(outcome: Outcome) -> str:
    if not outcome.errno:
        return "made"
    limit = outcome.hint.limit if isinstance(outcome.hint, Refusal) else ""
    if not limit and outcome.errno == E.NOMEM:
        limit = "memory"
    reason = limit or outcome.detail
    return f"{outcome.word} ({reason})" if reason else outcome.word


def _since(kernel: str, outcomes: dict[str, Outcome]) -> str:
    """Return from which release on the answer is this kernel's."""
    names = list(outcomes)
    at = names.index(kernel)
    while at and outcomes[names[at - 1]].errno == outcomes[kernel].errno:
        at -= 1
    return "always" if at == 0 else f"{names[at]} ({names[at - 1]}: {outcomes[names[at - 1]].word})"
