"""Running the rules over types, and finding the types of a package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from bpfctl import plugins
from bpfctl.conformance.lab import Violation
from bpfctl.conformance.rules import RULES
from bpfctl.errors import CommandError, Failure
from bpfctl.kernel.bpf.map import MapType


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule found; ``complaint`` is empty where the type keeps it."""

    type_name: str
    rule: str
    complaint: str = ""

    @property
    def passed(self) -> bool:
        """Tell whether the rule is kept."""
        return not self.complaint


def check_type(cls: type[MapType]) -> Iterator[Outcome]:
    """Try all rules on one type; the first complaint of each is kept."""
    for name, rule in RULES.items():
        try:
            rule(cls)
        except Violation as exc:
            yield Outcome(cls.name, name, str(exc))
        except Failure as exc:
            yield Outcome(cls.name, name, exc.text)
        except Exception as exc:
            yield Outcome(cls.name, name, f"{type(exc).__name__}: {exc}")
        else:
            yield Outcome(cls.name, name)


def types_of(what: str) -> list[type[MapType]]:
    """Return the map types of a distribution, of a module, or the one of that name.

    :raises CommandError: there are none.
    """
    found = plugins.map_type(what)
    if found is not None:
        return [found]
    entries = [
        entry
        for entry in plugins.entry_points(plugins.MAP_TYPES_GROUP)
        if entry.dist is not None and entry.dist.name.replace("_", "-") == what.replace("_", "-")
    ]
    for entry in entries:
        hider = plugins.hidden_by(entry)
        if hider:
            raise CommandError(
                f"map type '{entry.name}' of {what} is hidden by {hider}",
                hint="a map type's name has to be its own: rename it, and its entry point",
            )
    names = [entry.name for entry in entries]
    if not names:
        names = _names_in_module(what)
    classes = [plugins.map_type(name) for name in names]
    return [cls for cls in classes if cls is not None]


def _names_in_module(module: str) -> list[str]:
    built_in = [name for name, where in plugins.BUILTIN.items() if where == module]
    if built_in:
        return built_in
    entries = plugins.entry_points(plugins.MAP_TYPES_GROUP)
    named = [entry.name for entry in entries if entry.value.partition(":")[0] == module]
    if named:
        return named
    raise CommandError(
        f"no map type, package or plugin module '{module}'",
        hint="bpfctl plugin list shows what is installed" + _installed_hint(module),
    )


def _installed_hint(module: str) -> str:
    try:
        metadata.distribution(module)
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    return f"; {module} is installed but has no entry point in {plugins.MAP_TYPES_GROUP}"


__all__ = ["Outcome", "check_type", "types_of"]
