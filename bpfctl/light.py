"""A dataclass decorator for what every command imports.

The standard one takes a good third of a command's start: it imports inspect, and writes methods
that hardly anybody calls. This one makes slots and ``__init__``; fields(), asdict() and replace()
of the standard module work all the same, and cost what they cost when they are used. Type
checkers see the standard decorator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

R = TypeVar("R")

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:

    class _Factory:
        """A default that is made anew for each instance."""

        def __init__(self, make):
            self.make = make

    def field(*, default_factory):
        """Give a field a default that is made for each instance."""
        return _Factory(default_factory)

    class _Standard:
        """An attribute that the standard module looks for, made when it first does."""

        def __init__(self, name):
            self.name = name

        def __get__(self, instance, owner):
            import dataclasses

            namespace = {"__annotations__": owner.FIELD_TYPES}
            for name, default in owner.FIELD_DEFAULTS.items():
                if isinstance(default, _Factory):
                    default = dataclasses.field(default_factory=default.make)
                namespace[name] = default
            made = dataclasses.dataclass(type(owner.__name__, (), namespace))
            for name in _STANDARD:
                setattr(owner, name, getattr(made, name))
            return getattr(made, self.name)

    _STANDARD = ("__dataclass_fields__", "__dataclass_params__")

    def _equal(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def _hash(self):
        return hash(tuple([getattr(self, name) for name in self.__slots__]))

    def _text(self):
        facts = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__qualname__}({facts})"

    def _init(names, defaults, after):
        """Write ``__init__``: arguments in the order of the fields, as they are declared."""
        scope = {"_defaults": defaults, "_made": _Factory}
        arguments, lines = [], []
        for name in names:
            arguments.append(f"{name}=_defaults[{name!r}]" if name in defaults else name)
            value = name
            if isinstance(defaults.get(name), _Factory):
                value = f"{name}.make() if isinstance({name}, _made) else {name}"
            lines.append(f" self.{name} = {value}")
        if after:
            lines.append(" self.__post_init__()")
        exec(f"def __init__(self, {', '.join(arguments)}):\n" + "\n".join(lines), scope)
        return scope["__init__"]

    # Instances of a class before its constructor is worth compiling.
    _FEW = 16

    def _init_later(made, names, defaults, after):
        """Return an ``__init__`` that gives way to a compiled one when many instances are made.

        To write and compile it takes as long as to make a hundred instances, and most commands
        make a few of each class.
        """
        factories = {name for name in defaults if isinstance(defaults[name], _Factory)}
        count = 0

        def __init__(self, *args, **kwargs):
            nonlocal count
            count += 1
            values = {**defaults, **dict(zip(names, args, strict=False)), **kwargs}
            # Too many, too few, unknown or twice: the compiled one complains as it should.
            odd = len(args) > len(names) or len(values) != len(names)
            if odd or count > _FEW or (kwargs and not kwargs.keys().isdisjoint(names[: len(args)])):
                made.__init__ = _init(names, defaults, after)
                made.__init__(self, *args, **kwargs)
                return
            for name in names:
                value = values[name]
                if name in factories and value is defaults[name]:
                    value = value.make()
                setattr(self, name, value)
            if after:
                self.__post_init__()

        return __init__

    def dataclass(*, slots=True, frozen=False):
        """Make a class of fields. ``frozen`` instances can be keys; nothing stops an assignment."""

        def decorate(cls):
            namespace = dict(cls.__dict__)
            types = {
                name: kind
                for name, kind in namespace.get("__annotations__", {}).items()
                if not kind.startswith("ClassVar")
            }
            defaults = {name: namespace.pop(name) for name in types if name in namespace}
            after = "__post_init__" in namespace
            for unwanted in ("__dict__", "__weakref__"):
                namespace.pop(unwanted, None)
            namespace.setdefault("__eq__", _equal)
            namespace.setdefault("__repr__", _text)
            namespace["__hash__"] = _hash if frozen else None
            namespace.update(
                __slots__=tuple(types),
                __match_args__=tuple(types),
                FIELD_TYPES=types,
                FIELD_DEFAULTS=defaults,
            )
            namespace.update((name, _Standard(name)) for name in _STANDARD)
            made = type(cls)(cls.__name__, cls.__bases__, namespace)
            made.__init__ = _init_later(made, tuple(types), defaults, after)
            return made

        return decorate


def field_names(cls: type[Any]) -> tuple[str, ...]:
    """Return the names of a class's fields, in order."""
    return tuple(cls.FIELD_TYPES)


def field_types(cls: type[Any]) -> dict[str, str]:
    """Return the annotations of a class's fields, as text."""
    types: dict[str, str] = cls.FIELD_TYPES
    return types


def field_default(cls: type[Any], name: str) -> Any:
    """Return the default of a field, made anew where it has a factory.

    :raises KeyError: it has none.
    """
    default = cls.FIELD_DEFAULTS[name]
    return default.make() if hasattr(default, "make") else default


def altered(record: R, **changes: Any) -> R:
    """Return a copy of ``record`` with some fields changed."""
    cls = type(record)
    given = {name: getattr(record, name) for name in field_names(cls)}
    return cls(**{**given, **changes})


__all__ = ["altered", "dataclass", "field", "field_default", "field_names", "field_types"]
