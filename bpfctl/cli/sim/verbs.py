"""``bpfctl sim``: the state file and the machine that it holds."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import click

from bpfctl.cli.app.group import WordGroup, pass_app
from bpfctl.cli.app.ours import (
    App,
    CommandError,
    done,
    emit_json,
    json_option,
    limit,
    open_kernel,
    run_default,
    show_facts,
    size_text,
)

if TYPE_CHECKING:
    from bpfctl.store.sqlite import SqlStorage
    from bpfctl.system import System
    from bpfctl.system.machines import Config

# Names that people give settings: field of Config.
ALIASES = {"cpus": "possible_cpus", "seed": "hash_seed", "jit": "jit_enable"}
SIZES = ("page_size", "memory", "memlock_default")
# Settings that objects were built by: they change only while there are none.
BUILT_IN = (
    "kernel",
    "patch",
    "possible_cpus",
    "cgroup_memory",
    "hash_seed",
    "numa_nodes",
)
FOR_GOOD = ("page_size",)
KERNEL_HELP = (
    "5.10, 5.11, 5.15, 6.1, 6.6, 6.12, 6.18, 7.3, or this for the running kernel's release "
    "(default: 6.18, a long-term kernel)."
)
MODES = ("on", "nokmem", "nobpf", "off")

_LAZY = {
    "export": "bpfctl.cli.sim.state:export",
    "import": "bpfctl.cli.sim.state:import_",
    "undo": "bpfctl.cli.sim.state:undo",
    "path": "bpfctl.cli.sim.state:path",
    "check": "bpfctl.cli.sim.state:check",
    "diff": "bpfctl.cli.sim.state:diff",
    "net": "bpfctl.cli.sim.net:net",
    "ls": "bpfctl.cli.sim.fs:ls",
    "rm": "bpfctl.cli.sim.fs:rm",
    "mkdir": "bpfctl.cli.sim.fs:mkdir",
    "object": "bpfctl.cli.sim.fs:object_",
}


@click.group(cls=WordGroup, lazy=_LAZY, invoke_without_command=True)
@json_option
@click.pass_context
def sim(ctx: click.Context) -> None:
    """The simulated machine: make it, look at it, save, compare and check it."""
    run_default(ctx, show)


def field_name(key: str) -> str:
    """Return the field of Config that a person calls ``key``."""
    name = key.replace("-", "_")
    return ALIASES.get(name, name)


def setting_value(name: str, text: str) -> Any:
    """Turn what was typed for a setting into its value; sizes may end in K, M or G."""
    from bpfctl.system.machines import parse_setting

    if name in SIZES:
        nbytes = limit(text, name)
        return 0 if nbytes is None else nbytes
    return parse_setting(name, text)


def state_file(app: App) -> str:
    """Return the path of the state file of this command."""
    from bpfctl.store.path import state_path

    return state_path(app.settings.state)


@sim.command()
@click.option("--kernel", metavar="RELEASE", help=KERNEL_HELP)
@click.option("--patch", metavar="N", help="5.10 plus the first N patches (0-34) of the series.")
@click.option("--cpus", metavar="N", help="Possible CPUs, 1 to 8192 (default: 4).")
@click.option("--page-size", metavar="SIZE", help="Page size (default: 4096).")
@click.option("--memory", metavar="SIZE", help="Machine memory (default: 8G).")
@click.option("--memlock-default", metavar="SIZE", help="RLIMIT_MEMLOCK (default: the kernel's).")
@click.option("--cgroup-memory", type=click.Choice(MODES), help="Memory controller (default: on).")
@click.option("--unprivileged-bpf-disabled", metavar="N", help="The sysctl, 0 to 2 (default: 2).")
@click.option("--numa-nodes", metavar="N", help="NUMA nodes (default: 1).")
@click.option("--seed", metavar="N", help="Seed of hash maps (default: 0).")
@click.option(
    "--from-toml",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Read settings from the table [sim] of FILE; options win.",
)
@click.option("--force", is_flag=True, help="Replace an existing state; 'sim undo' brings it back.")
@json_option
@pass_app
def new(app: App, /, from_toml: str | None, force: bool, **options: str | None) -> None:
    """Make a state file with a freshly booted machine."""
    from bpfctl.store.renew import new_state
    from bpfctl.system.machines import Config

    given = read_toml(from_toml) if from_toml is not None else {}
    given.update({key: text for key, text in options.items() if text is not None})
    settings = {field_name(key): setting_value(field_name(key), given[key]) for key in given}
    path = state_file(app)
    config = Config(**settings)
    new_state(path, config, force)
    done(app, state=path, **asdict(config))


def read_toml(path: str) -> dict[str, str]:
    """Return the settings in a TOML file: its table ``[sim]``, or else its top level."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            content = tomllib.loads(file.read().decode())
    except OSError as exc:
        raise CommandError(f"can't read {path}: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise CommandError(f"can't parse {path}: {exc}") from exc
    table = content.get("sim", content)
    if not isinstance(table, dict):
        raise CommandError(f"{path}: 'sim' must be a table")
    for key, value in table.items():
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise CommandError(f"{path}: '{key}' must be text or a whole number")
    return {key: str(value) for key, value in table.items()}


@sim.command()
@json_option
@pass_app
def show(app: App) -> None:
    """Print kernel, settings, number of objects, and memory with who pays for it."""
    with open_kernel(app, write=False) as kernel:
        facts = _facts(kernel, state_file(app))
    if not emit_json(app, facts):
        _show(app, facts)


def sql_storage(kernel: System) -> SqlStorage:
    """Return the storage of a kernel that was opened from a state file."""
    return cast("SqlStorage", kernel.storage)


def _facts(kernel: System, path: str) -> dict[str, Any]:
    from bpfctl.store import summary

    storage = sql_storage(kernel)
    memory = summary.memory(kernel, storage)
    settings = asdict(kernel.config)
    settings["memlock_default"] = kernel.default_memlock()
    return {
        "state": os.path.abspath(path),
        "kernel": kernel.profile.name,
        "patch": kernel.profile.patch,
        "release": kernel.profile.release,
        "measured": kernel.profile.measured,
        "settings": {key: settings[key] for key in settings if key not in ("kernel", "patch")},
        "objects": summary.counts(storage),
        "memory": {
            "in_use": memory.in_use,
            "charged": memory.charged,
            "charged_to_nobody": sum(memory.nobody.values()),
            "reasons": memory.nobody,
            "locked": {str(uid): nbytes for uid, nbytes in memory.locked.items()},
        },
    }


def _show(app: App, facts: dict[str, Any]) -> None:
    patch = f" + patches 1-{facts['patch']} of the series" if facts["patch"] else ""
    measured = "" if facts["measured"] else ", not measured"
    memory = facts["memory"]
    settings = dict(facts["settings"])
    for name in SIZES:
        settings[name] = size_text(settings[name])
    show_facts(
        app,
        {
            "state": facts["state"],
            "kernel": f"Linux {facts['kernel']}{patch} ({facts['release']}{measured})",
            "settings": settings,
            "objects": facts["objects"],
            "memory": {
                "in use": size_text(memory["in_use"]),
                "charged": size_text(memory["charged"]),
                "charged to nobody": size_text(memory["charged_to_nobody"]),
            },
        },
    )
    for reason, nbytes in memory["reasons"].items():
        app.out.put(f"    {size_text(nbytes)}: {reason}\n")
    for uid, nbytes in memory["locked"].items():
        app.out.put(f"  locked by user {uid}: {size_text(nbytes)}\n")


@sim.command(name="set")
@click.argument("key")
@click.argument("value")
@json_option
@pass_app
def set_(app: App, key: str, value: str) -> None:
    """Change a setting of the machine.

    What objects are built by (kernel, cpus, ...) can change only while there are none; the page
    size never.
    """
    name = field_name(key)
    parsed = setting_value(name, value)
    if name == "engine":
        from bpfctl.system.machines import engine_exists

        engine_exists(parsed)
    with open_kernel(app, write=True) as kernel:
        _check_change(kernel, name, parsed)
        before = kernel.default_memlock()
        kernel.reconfigure(**{name: parsed})
        _update_init(kernel, before)
        done(app)


def _update_init(kernel: System, before: int) -> None:
    """Give init, and so every command, the new default RLIMIT_MEMLOCK if it had the old one."""
    from bpfctl.system.machines import INIT_PID, rebooted

    init = kernel.task(INIT_PID)
    if init.memlock_soft == init.memlock_hard == before:
        init.memlock_soft = init.memlock_hard = rebooted(kernel).default_memlock()


def _check_change(kernel: System, name: str, value: Any) -> None:
    from bpfctl.store import summary
    from bpfctl.system import releases

    config = kernel.config
    if getattr(config, name) == value:
        return
    if name in FOR_GOOD:
        raise CommandError(f"{name} cannot change later", hint="bpfctl sim new --force starts anew")
    if name in BUILT_IN:
        found = summary.counts(sql_storage(kernel))
        kinds = [kind for kind in ("maps", "programs", "btfs") if found[kind]]
        if kinds or kernel.mm.in_use():
            there = f"{found[kinds[0]]} {kinds[0]}" if kinds else "open descriptors"
            raise CommandError(
                f"{name} cannot change while there are objects ({there})",
                hint="remove them, or start anew with 'bpfctl sim new --force'",
            )
    if name == "memory" and value < kernel.mm.in_use():
        raise CommandError(
            f"memory cannot be less than what is in use ({size_text(kernel.mm.in_use())})"
        )
    if name == "kernel":
        releases.load(value, config.patch if value == "5.10" else None)
    if name == "patch":
        releases.load(config.kernel, value)


@sim.command()
@click.option("--force", is_flag=True, help="Replace an existing state; 'sim undo' brings it back.")
@json_option
@pass_app
def reset(app: App, force: bool) -> None:
    """Boot anew with the same settings: all objects, tasks and cgroups are gone."""
    from bpfctl.cli.sim.state import ask_to_replace
    from bpfctl.store.backup import keeping
    from bpfctl.store.state import boot_with, open_storage, replacing
    from bpfctl.system.machines import Config
    from bpfctl.system.objects import Setting

    path = state_file(app)
    there = ask_to_replace(path, force)
    with open_storage(path) as storage:
        config: Config = Config.restore(storage.registry(Setting))
        with keeping(path) if there else nullcontext(), replacing(storage):
            boot_with(config)(storage)
    done(app, state=path, **asdict(config))
