"""Completion of our own commands: Click knows their shape, this module their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem, _resolve_context, _resolve_incomplete

from bpfctl import plugins
from bpfctl.cli.app.group import WordGroup, root
from bpfctl.cli.complete.answer import PROGRAM, items
from bpfctl.cli.complete.state import Offer, State
from bpfctl.cli.complete.words import FILES, NOTHING, Offers, map_types, words
from bpfctl.errors import Failure
from bpfctl.system.releases import LAST_PATCH, PROFILES, THIS

_PATCHED = "5.10"
_KNOBS = ("max", "high", "low", "min")


class Query(NamedTuple):
    """What is asked: the word so far, the other parameters as typed, the state to look at."""

    word: str
    params: dict[str, Any]
    state: State

    def typed(self, name: str) -> list[str]:
        """Return the words that a parameter has so far."""
        found = self.params.get(name)
        if found is None:
            return []
        return [str(word) for word in (found if isinstance(found, (tuple, list)) else [found])]


# --- values ------------------------------------------------------------------


def with_commas(word: str, offers: Offers) -> Iterator[Offer]:
    """Offer values for the last part of a list with commas, without those it has already."""
    before, comma, _ = word.rpartition(",")
    taken = before.split(",") if comma else []
    for value, about in offers:
        if value not in taken:
            yield f"{before}{comma}{value}", about


def capabilities(word: str) -> Offers:
    """Offer capabilities as they are being typed: with or without CAP_, in either case."""
    from bpfctl.uapi import CAPS

    last = word.rpartition(",")[2]
    names = [*CAPS]
    if last and not "CAP_".startswith(last.upper()[:4]):
        names = [name.removeprefix("CAP_") for name in names]
    if last.islower():
        names = [name.lower() for name in names]
    return with_commas(word, words(*([] if "," in word else ["all", "none"]), *names))


def observers(word: str) -> Offers:
    """Offer observer plugins, with commas."""
    found = [(name, "built in") for name in plugins.BUILTIN_OBSERVERS]
    for entry in plugins.entry_points(plugins.OBSERVERS_GROUP):
        found.append((entry.name, _distribution(entry)))
    return with_commas(word, found)


def engines() -> Offers:
    """Offer execution engines."""
    yield "auto", "chosen by bpfctl"
    for name in plugins.BUILTIN_ENGINES:
        yield name, "built in"
    for entry in plugins.entry_points(plugins.ENGINES_GROUP):
        yield entry.name, _distribution(entry)


def _distribution(entry: Any) -> str:
    return str(entry.dist.name) if entry.dist is not None else ""


def _packages(query: Query) -> Offers:
    """Offer what 'plugin check' takes: map types, and distributions that have some."""
    yield from map_types()
    found = {_distribution(entry) for entry in plugins.entry_points(plugins.MAP_TYPES_GROUP)}
    yield from words(*sorted(found - {""}))


def _patches(first: int) -> Callable[[Query], Offers]:
    def offers(query: Query) -> Offers:
        from bpfctl.system.releases import series

        for patch in series():
            if patch.number >= first:
                yield str(patch.number), patch.subject

    return offers


def _series_points(query: Query) -> Offers:
    return [("0", "before the series"), *_patches(1)(query)]


def _releases(query: Query) -> Offers:
    return [*[(name, f"Linux {name}") for name in PROFILES], (THIS, "the running kernel")]


def _kernels(query: Query) -> Offers:
    """Offer releases, and 5.10+N once a plus is typed."""
    if query.word.startswith(f"{_PATCHED}+"):
        return [(f"{_PATCHED}+{number}", about) for number, about in _patches(1)(query)]
    return [*_releases(query), (f"{_PATCHED}+", f"with patches 1 to {LAST_PATCH} of the series")]


def _settings(query: Query) -> Offers:
    from dataclasses import fields

    from bpfctl.cli.sim.verbs import ALIASES
    from bpfctl.system.machines import Config

    return words(*(field.name for field in fields(Config)), *ALIASES)


def _setting_values(query: Query) -> Offers:
    """Offer values of the setting that 'sim set' names before."""
    from bpfctl.cli.sim.verbs import MODES, field_name
    from bpfctl.system.machines import PAGE_SIZES

    name = field_name(next(iter(query.typed("key")), ""))
    values: dict[str, Callable[[], Offers]] = {
        "kernel": lambda: _releases(query),
        "patch": lambda: _series_points(query),
        "cgroup_memory": lambda: words(*MODES),
        "page_size": lambda: words(*map(str, PAGE_SIZES)),
        "unprivileged_bpf_disabled": lambda: words("0", "1", "2"),
        "jit_enable": lambda: words("0", "1", "2"),
    }
    return values.get(name, lambda: NOTHING)()


def _page_sizes(query: Query) -> Offers:
    from bpfctl.system.machines import PAGE_SIZES

    return words(*map(str, PAGE_SIZES))


def _cgroups(query: Query) -> Offers:
    return query.state.cgroups()


def _new_cgroup(query: Query) -> Offers:
    """Offer existing cgroups as parents of a new one."""
    return [(path.rstrip("/") + "/", about) for path, about in query.state.cgroups()]


def _assignments(query: Query) -> Offers:
    """Offer ``memory.max=`` and its like, then what no limit is called."""
    if "=" in query.word:
        name = query.word.partition("=")[0]
        return words(f"{name}=max")
    return words(*(f"memory.{knob}=" for knob in _KNOBS))


def _cgroup_files(query: Query) -> Offers:
    names = ["current", "peak", *_KNOBS, "events", "events.local", "stat"]
    return words(*(f"memory.{name}" for name in names), "cgroup.procs")


def _tasks(query: Query) -> Offers:
    return query.state.tasks()


def _descriptors(query: Query) -> Offers:
    pid = next(iter(query.typed("pid")), "")
    return query.state.descriptors(int(pid)) if pid.isdecimal() else NOTHING


def _mappings(query: Query) -> Offers:
    pid = next(iter(query.typed("pid")), "")
    return query.state.mappings(int(pid)) if pid.isdecimal() else NOTHING


def _openable(query: Query) -> Offers:
    """Walk OBJECT of 'task open': a path, or the words that name an object."""
    state = query.state
    typed = query.typed("object_")
    kind = typed.pop(0) if typed and typed[0] in ("map", "prog", "btf") else ""
    ids = {"prog": state.prog_ids, "btf": state.btf_ids}.get(kind, state.map_ids)
    if not typed:
        firsts = ("id", "pinned") if kind else ("id", "pinned", "map", "prog", "btf", "object")
        return [*words(*firsts), *([] if kind else state.pins())]
    following: dict[str, Callable[[], Offers]] = {
        "id": ids,
        "object": state.objects,
        "pinned": state.pins,
    }
    return following.get(typed[0], lambda: NOTHING)() if len(typed) == 1 else NOTHING


def _pins(query: Query) -> Offers:
    return query.state.pins()


def _pins_and_directories(query: Query) -> Offers:
    return [*query.state.directories(), *query.state.pins()]


def _object_names(query: Query) -> Offers:
    kind = next(iter(query.typed("kind")), "")
    found = {"pidfd": query.state.tasks, "cgroup": query.state.cgroups}.get(kind)
    return found() if found is not None else NOTHING


def _kinds(query: Query) -> Offers:
    from bpfctl.system.objects import KINDS

    return [(name, kind.help) for name, kind in KINDS.items()]


def _attributes(query: Query) -> Offers:
    """Offer attributes of the kind before, and their values after the equals sign."""
    from bpfctl.system.objects import KINDS

    kind = KINDS.get(next(iter(query.typed("kind")), ""))
    for attribute in kind.attributes if kind is not None else ():
        if not query.word.startswith(f"{attribute.name}="):
            yield f"{attribute.name}=", attribute.help
            continue
        flag = isinstance(attribute.default, bool)
        for choice in ("yes", "no") if flag else filter(None, attribute.choices):
            yield f"{attribute.name}={choice}", attribute.help


def _map_line(query: Query) -> Offers:
    """Offer words of ``--map type=hash,key=4,...`` and the values that have names."""
    from bpfctl.cost.mapline import FLAGS, WORDS

    before, comma, part = query.word.rpartition(",")
    before += comma
    name, equals, _ = part.partition("=")
    if not equals:
        taken = {word.partition("=")[0] for word in before.split(",")}
        return [(f"{before}{word}=", "") for word in WORDS if word not in taken]
    if name.removeprefix("inner.") == "type":
        return [(f"{before}{name}={value}", about) for value, about in map_types()]
    if name.removeprefix("inner.") == "flags":
        head = part.rpartition("|")
        stem = before + (head[0] + head[1] or f"{name}=")
        return [(stem + flag, "") for flag in FLAGS]
    return NOTHING


def _cpu_counts(query: Query) -> Offers:
    return [("1..128", "doubling"), ("1-8", "each"), ("1,2,4,8", "these")]


def _plain(*values: str) -> Callable[[Query], Offers]:
    return lambda query: words(*values)


def _files(query: Query) -> Offers:
    return FILES


def _free(query: Query) -> Offers:
    """Offer nothing: this is free text or a number."""
    return NOTHING


def _map_type_names(query: Query) -> Offers:
    return map_types()


# --- which parameter has which values ------------------------------------------

_SIZE = _plain("unlimited")
_LIMIT = _plain("max")

# "COMMAND PARAMETER"; "*" stands for the rest of any command. The first that fits counts.
VALUES: dict[str, Callable[[Query], Offers]] = {
    "sim new kernel": _releases,
    "sim new patch": _series_points,
    "sim new page_size": _page_sizes,
    "sim new unprivileged_bpf_disabled": _plain("0", "1", "2"),
    "sim new memlock_default": _SIZE,
    "sim set key": _settings,
    "sim set value": _setting_values,
    "sim export file": _files,
    "sim import file": _files,
    "sim diff a": _files,
    "sim diff b": _files,
    "sim ls path": _pins_and_directories,
    "sim rm paths": _pins_and_directories,
    "sim mkdir paths": lambda query: query.state.directories(),
    "sim object create kind": _kinds,
    "sim object create attributes": _attributes,
    "sim object create name": _object_names,
    "sim object rm ids": lambda query: query.state.objects(),
    "sim net set name": lambda query: query.state.netdevs(),
    "sim net rm name": lambda query: query.state.netdevs(),
    "sim net rx device": lambda query: query.state.netdevs(),
    "sim net tx device": lambda query: query.state.netdevs(),
    "sim net veth names": _free,
    "sim net veth mtu": _free,
    "sim net veth queues": _free,
    "sim net dev name": _free,
    "sim net dev mtu": _free,
    "sim net dev queues": _free,
    "sim net set mtu": _free,
    "sim net rx count": _free,
    "sim net tx count": _free,
    "sim net rx size": _free,
    "sim net tx size": _free,
    "sim net rx flows": _free,
    "sim net tx flows": _free,
    "sim net rx dport": _free,
    "sim net tx dport": _free,
    "sim net rx vlan": _free,
    "sim net tx vlan": _free,
    "sim net rx seed": _free,
    "sim net tx seed": _free,
    "sim net rx queue": _free,
    "sim net tx queue": _free,
    "sim net rx cpu": _free,
    "sim net tx cpu": _free,
    "memcg create path": _new_cgroup,
    "memcg set assignments": _assignments,
    "memcg show file": _cgroup_files,
    "memcg * path": _cgroups,
    "memcg * paths": _cgroups,
    "memcg * max": _LIMIT,
    "memcg * high": _LIMIT,
    "memcg * low": _LIMIT,
    "memcg * min": _LIMIT,
    "task open object_": _openable,
    "task spawn objects": _pins,
    "task * fd": _descriptors,
    "task * mapping": _mappings,
    "task * offset": _free,
    "task * length": _free,
    "task * at": _free,
    "task * content": _free,
    "plugin show name": _map_type_names,
    "plugin check package": _packages,
    "plugin new name": _free,
    "series show number": _patches(1),
    "cost files": _files,
    "cost maps": _map_line,
    "cost cpus": _cpu_counts,
    "cost fills": _plain("empty", "full", "now"),
    "cost page_size": _page_sizes,
    "cost html": _files,
    "cost baseline": _files,
    "cost settings": _free,
    "cost libbpf": _free,
    "check files": _files,
    "check cpus": _cpu_counts,
    "check programs": _free,
    "check log_level": _plain("0", "1", "2"),
    "check kernel_btf": _files,
    "check kconfig": _free,
    "check html": _files,
    "check jobs": _free,
    "sample * words": _free,
    "sample object name": _plain("tail"),
    "* kernel": _kernels,
    "* kernels": lambda query: with_commas(query.word, [*_kernels(query), ("all", "")]),
    "* cgroup": _cgroups,
    "* caps": lambda query: capabilities(query.word),
    "* memlock": _SIZE,
    "* memlocks": _SIZE,
    "* limits": _SIZE,
    "* memory_max": _SIZE,
    "* memory_maxes": _SIZE,
    "* pid": _tasks,
    "* pids": _tasks,
    "* comm": _free,
    "* uid": _free,
    "* cpus": _free,
    "* seed": _free,
    "* memory": _free,
    "* numa_nodes": _free,
    "* size": _free,
}


def find_values(command: str, parameter: str) -> Callable[[Query], Offers] | None:
    """Return what offers values for a parameter of ``command`` (``sim new``), None if nothing."""
    parts = command.split()
    keys = [command, *(" ".join([*parts[:at], "*"]) for at in reversed(range(len(parts))))]
    return next(
        (VALUES[key] for key in (f"{key} {parameter}" for key in keys) if key in VALUES), None
    )


# --- Click ---------------------------------------------------------------------


def complete_own(state: State, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
    """Complete a command of ours; ``args`` begin with its object."""
    # Click's own steps from words to the parameter that is being typed.
    context = _resolve_context(root, {}, PROGRAM, args)
    target, rest = _resolve_incomplete(context, list(args), incomplete)
    # Click leaves out the name of --name=value; the shells want all of the word.
    prefix = incomplete[: len(incomplete) - len(rest)] if rest != incomplete else ""
    if isinstance(target, click.Parameter):
        return _values(context, target, state, rest, prefix)
    if isinstance(target, click.Group) and not rest.startswith("-"):
        return items(_subcommands(context, target), rest)
    return target.shell_complete(context, rest)


def _values(
    context: click.Context, parameter: click.Parameter, state: State, word: str, prefix: str
) -> list[CompletionItem[str]]:
    command = context.command_path.partition(" ")[2]
    found = find_values(command, parameter.name or "")
    if found is not None:
        return items(found(Query(word, context.params, state)), word, prefix)
    offered = parameter.shell_complete(context, word)
    return [CompletionItem(prefix + each.value, each.type, each.help) for each in offered]


def _subcommands(context: click.Context, group: click.Group) -> Iterator[Offer]:
    """Offer the commands of a group; those of other groups than ours are costly to describe."""
    for name in group.list_commands(context):
        about = ""
        if isinstance(group, WordGroup):
            try:
                command = group.get_command(context, name)
            except (ImportError, Failure):
                continue
            about = command.get_short_help_str() if command is not None else ""
        yield name, about
    if isinstance(group, WordGroup):
        yield "help", "Print this text."
