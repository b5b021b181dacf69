"""The HTML report."""

from __future__ import annotations

import pytest

from bpfctl.cost.html import cpu_ranges


@pytest.mark.parametrize(
    ("counts", "text"),
    [([4], "4"), ([1, 2, 3], "1-3"), ([8, 1, 2, 4], "1-2, 4, 8"), ([2, 2], "2")],
)
def test_cpu_counts_with_one_outcome_are_one_row(counts: list[int], text: str) -> None:
    assert cpu_ranges(counts) == text
