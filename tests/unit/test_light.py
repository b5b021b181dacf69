"""The light dataclass decorator does what the standard one does."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import pytest

from bpfctl import light
from bpfctl.kernel import records


@light.dataclass(slots=True)
class Point:
    ORIGIN: ClassVar[int] = 0
    x: int
    y: int = 2
    marks: dict[str, Any] = light.field(default_factory=dict)


@light.dataclass(frozen=True, slots=True)
class Size:
    wide: int
    high: int = 1

    def __post_init__(self) -> None:
        if self.wide < 0:
            raise ValueError("wide")


def test_fields_and_defaults() -> None:
    point = Point(1)
    assert (point.x, point.y, point.marks, Point.ORIGIN) == (1, 2, {}, 0)
    assert Point(1, marks={"a": 1}).marks == {"a": 1}
    assert Point(1).marks is not point.marks
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        point.z = 3  # type: ignore[attr-defined]


def test_comparison_and_text() -> None:
    assert Point(1) == Point(1, 2, {})
    assert Point(1) != Point(2)
    assert Point(1).__eq__(Size(1)) is NotImplemented
    assert repr(Point(1)) == "Point(x=1, y=2, marks={})"
    assert {Size(1, 2): "a"}[Size(1, 2)] == "a"
    with pytest.raises(TypeError):
        hash(Point(1))


def test_post_init_runs() -> None:
    with pytest.raises(ValueError, match="wide"):
        Size(-1)


def test_the_standard_functions_work() -> None:
    assert [f.name for f in dataclasses.fields(Point)] == ["x", "y", "marks"]
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2, "marks": {}}
    assert dataclasses.replace(Point(1), y=5) == Point(1, 5)
    assert light.altered(Point(1), y=5) == Point(1, 5)
    assert dataclasses.is_dataclass(Point)


def test_defaults_can_be_asked_for() -> None:
    assert light.field_names(Point) == ("x", "y", "marks")
    assert light.field_types(Size) == {"wide": "int", "high": "int"}
    assert light.field_default(Point, "marks") == {}
    with pytest.raises(KeyError):
        light.field_default(Point, "x")


@pytest.mark.parametrize("cls", records.RECORDS, ids=lambda cls: cls.__name__)
def test_records_are_as_the_standard_decorator_makes_them(cls: Any) -> None:
    names = light.field_names(cls)
    made = cls(*range(len(names)))
    assert tuple(getattr(made, name) for name in names) == tuple(range(len(names)))
    assert [f.name for f in dataclasses.fields(cls)] == list(names)


@pytest.mark.parametrize("made", [1, 40], ids=["first", "compiled"])
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1, 2, {}, 4), {}), ((1,), {"x": 1}), ((1,), {"w": 1}), ((), {"y": 1})],
)
def test_wrong_arguments_are_refused_from_the_first_instance_on(made, args, kwargs) -> None:
    @light.dataclass(slots=True)
    class Fresh:
        x: int
        y: int = 2
        marks: dict[str, Any] = light.field(default_factory=dict)

    for number in range(made):
        assert (Fresh(number).x, Fresh(x=number, y=3).y, Fresh(1).marks) == (number, 3, {})
    with pytest.raises(TypeError):
        Fresh(*args, **kwargs)
