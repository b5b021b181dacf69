"""Charts as inline SVG: bars for maps, lines for growth. Colours come from the page's CSS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

WIDTH = 760
NARROW = 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 24, 14, 46
_LINE_HEIGHT = 300
_BAR, _GAP = 18, 8
_NAME_WIDTH = 190
_TICKS = 5
_APART = 4  # lines that coincide
_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))
_ids = count(1)


@dataclass(slots=True)
class Series:
    """One line: its name and a value in bytes for each x."""

    name: str
    values: list[int]


@dataclass(slots=True)
class Bar:
    """One bar of parts laid end to end, in bytes."""

    name: str
    parts: list[int]


def size(nbytes: float) -> str:
    """Return bytes for a label: ``512``, ``4K``, ``1.5M``."""
    for unit, letter in _UNITS:
        if nbytes >= unit:
            text = f"{nbytes / unit:.1f}"
            return f"{text.removesuffix('.0')}{letter}"
    return str(round(nbytes))


def _scale(top: int) -> list[int]:
    """Return ticks from 0 to at least ``top``, at 1, 2 or 5 times a power of two units."""
    unit = next((unit for unit, _ in _UNITS if top >= unit), 1)
    step = unit
    factors = (1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 256, 500)
    rough = max(top / _TICKS, 1)
    step = next((f * unit for f in factors if f * unit >= rough), 1024 * unit)
    if unit > 1 and rough < unit:
        step = next(f * unit // 1024 for f in (64, 128, 256, 512, 1024) if f * unit / 1024 >= rough)
    return [step * tick for tick in range(-(-max(top, 1) // step) + 1)]


def _open(width: int, height: int, title: str, description: str) -> str:
    number = next(_ids)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="t{number} d{number}">'
        f'<title id="t{number}">{escape(title)}</title>'
        f'<desc id="d{number}">{escape(description)}</desc>'
    )


def line_chart(
    title: str, x_name: str, xs: Sequence[str], series: Sequence[Series]
) -> str:
    """Return a line chart, one for wide pages and one for narrow ones; ``xs`` are spread evenly.

    Of lines that coincide each later one is drawn a little lower, so that all can be seen.
    """
    drawn = [_line_chart(width, title, x_name, xs, series) for width in (WIDTH, NARROW)]
    return _both(*drawn) + legend([each.name for each in series])


def _both(wide: str, narrow: str) -> str:
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def _line_chart(
    width: int, title: str, x_name: str, xs: Sequence[str], series: Sequence[Series]
) -> str:
    height = _LINE_HEIGHT
    top = max((value for each in series for value in each.values), default=0)
    ticks = _scale(top)
    plot_w, plot_h = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def x_at(index: int) -> float:
        return _LEFT + (plot_w * index / (len(xs) - 1) if len(xs) > 1 else plot_w / 2)

    def y_at(value: float) -> float:
        return _TOP + plot_h * (1 - value / ticks[-1])

    said = "; ".join(f"{each.name}: {size(each.values[0])} to {size(each.values[-1])}"
                     for each in series if each.values)
    out = [_open(width, height, title, f"{x_name} {xs[0]} to {xs[-1]}. {said}")]
    for tick in ticks:
        y = y_at(tick)
        out.append(f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" '
                   f'y2="{y:.1f}"/><text class="tick" text-anchor="end" x="{_LEFT - 8}" '
                   f'y="{y + 4:.1f}">{size(tick)}</text>')
    every = max(1, -(-len(xs) // (plot_w // 55)))
    for index, label in enumerate(xs):
        if index % every == 0 or index == len(xs) - 1:
            out.append(f'<text class="tick" text-anchor="middle" x="{x_at(index):.1f}" '
                       f'y="{height - _BOTTOM + 18}">{escape(label)}</text>')
    out.append(f'<text class="axis" text-anchor="middle" x="{_LEFT + plot_w / 2:.0f}" '
               f'y="{height - 6}">{escape(x_name)}</text>')
    before: list[list[int]] = []
    for number, each in enumerate(series):
        lower = _APART * before.count(each.values)
        before.append(each.values)
        points = [(x_at(i), y_at(v) + lower) for i, v in enumerate(each.values)]
        out.append(_line(number, each, points, xs))
    return "".join(out) + "</svg>"


def _line(
    number: int, series: Series, points: list[tuple[float, float]], xs: Sequence[str]
) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(series.name)}, {escape(label)}: '
        f"{size(value)} ({value} bytes)</title></circle>"
        for (x, y), label, value in zip(points, xs, series.values, strict=True)
    )
    return f'<g class="s s{number % 6}"><polyline points="{path}"/>{dots}</g>'


def legend(names: Sequence[str]) -> str:
    """Return the key of a chart."""
    keys = "".join(
        f'<li><span class="key k{number % 6}"></span>{escape(name)}</li>'
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{keys}</ul>'


def bar_chart(title: str, part_names: Sequence[str], bars: Sequence[Bar]) -> str:
    """Return horizontal bars, each of parts laid end to end, for wide and for narrow pages."""
    drawn = [_bar_chart(width, title, part_names, bars) for width in (WIDTH, NARROW)]
    return _both(*drawn) + legend(part_names)


def _bar_chart(width: int, title: str, part_names: Sequence[str], bars: Sequence[Bar]) -> str:
    name_width = min(_NAME_WIDTH, width * 2 // 5)
    height = _TOP + len(bars) * (_BAR + _GAP) + _BOTTOM
    top = max((sum(bar.parts) for bar in bars), default=0)
    ticks = _scale(top)
    plot_w = width - name_width - 60
    largest = max(bars, key=lambda bar: sum(bar.parts), default=Bar("nothing", [0]))
    said = f"{len(bars)} bars; the longest is {largest.name} with {size(sum(largest.parts))}"
    out = [_open(width, height, title, said)]
    bottom = _TOP + len(bars) * (_BAR + _GAP)
    for tick in ticks:
        x = name_width + plot_w * tick / ticks[-1]
        out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
                   f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{bottom + 16}">'
                   f"{size(tick)}</text>")
    for row, bar in enumerate(bars):
        y = _TOP + row * (_BAR + _GAP)
        x = float(name_width)
        out.append(f'<text class="name" text-anchor="end" x="{name_width - 8}" '
                   f'y="{y + 14}">{escape(_short(bar.name, name_width // 7))}</text>')
        for number, part in enumerate(bar.parts):
            length = plot_w * part / ticks[-1]
            if part:
                out.append(f'<rect class="b b{number % 6}" x="{x:.1f}" y="{y}" rx="2" '
                           f'width="{max(length, 1):.1f}" height="{_BAR}"><title>'
                           f"{escape(bar.name)}, {escape(part_names[number])}: {size(part)} "
                           f"({part} bytes)</title></rect>")
            x += length
        out.append(f'<text class="tick" x="{x + 6:.1f}" y="{y + 14}">{size(sum(bar.parts))}</text>')
    return "".join(out) + "</svg>"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
