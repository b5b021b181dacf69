"""The whole contract with plugin authors: pluggy hooks of project "bpfctl".

A distribution offers a module through the entry-point group ``bpfctl.map_types``; the name of
the entry point is the name of a map type (several types of one module: several entry points).
Observers are modules too, loaded only when a setting names them. The operations of a map are
methods of its class, :class:`bpfctl.kernel.bpf.map.MapType`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pluggy

    from bpfctl.kernel.bpf.map import MapType

    hookspec = pluggy.HookspecMarker("bpfctl")
    hookimpl = pluggy.HookimplMarker("bpfctl")
else:

    def _marker(attribute):
        """Make a decorator that marks a function as pluggy's own do, and as pluggy finds it.

        Built-in map types are marked, too, and a command that uses them needs no pluggy.
        """

        def decorate(function=None, **options):
            def mark(function):
                setattr(function, attribute, options)
                return function

            return mark if function is None else mark(function)

        return decorate

    hookimpl = _marker("bpfctl_impl")
    hookspec = _marker("bpfctl_spec")


@hookspec
def map_types() -> list[type[MapType]]:  # type: ignore[empty-body]
    """Return the map type classes that this module offers.

    Called once, when one of them is first needed. An exception, or a class that breaks the
    contract, is reported with the plugin's name; other types go on working.
    """


@hookspec
def bpf_engines() -> list[type[Any]]:  # type: ignore[empty-body]
    """Return the execution engines that this module offers.

    Called when one of them is chosen by name. Engines are looked up through the entry-point group
    ``bpfctl.engines``; see :class:`bpfctl.kernel.bpf.vm.engine.Engine`. Which engine runs a program
    must not show in anything but the time it takes.
    """


@hookspec
def charge(memcg: str, nr_bytes: int, gfp: int, owner: tuple[str, int]) -> None:
    """Told after ``nr_bytes`` were charged to ``memcg`` (a path) and its ancestors.

    :param gfp: GFP flags of the allocation.
    :param owner: the object paid for, e.g. ``("map", 7)``.

    The charge stands whatever an observer does; an exception from one is reported with the
    plugin's name and does not reach the system call.
    """


@hookspec
def uncharge(memcg: str, nr_bytes: int, owner: tuple[str, int]) -> None:
    """Told after ``nr_bytes`` were given back; see :func:`charge`."""


@hookspec
def map_created(map_id: int, type_name: str, name: str) -> None:
    """Told after BPF_MAP_CREATE succeeded."""


@hookspec
def map_freed(map_id: int) -> None:
    """Told after the last reference to a map went and its memory was given back."""


@hookspec
def oom(memcg: str, victim: int) -> None:
    """Told after the OOM killer of ``memcg`` took the task ``victim`` (a pid)."""
