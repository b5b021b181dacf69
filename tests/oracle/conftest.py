"""Report agreement with the measured kernels at the end of a run."""

from __future__ import annotations

import pytest

from oracle.report import Tally

TOTAL = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TOTAL] = Tally()


@pytest.fixture
def total(request: pytest.FixtureRequest) -> Tally:
    """Counts of all files of this run."""
    return request.config.stash[TOTAL]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    tally = config.stash[TOTAL]
    if not tally.cases:
        return
    out = terminalreporter
    out.section("agreement with measured kernels (agree/total)")
    if config.getoption("--oracle-dir") or out.verbosity > 0:
        for line in tally.table():
            out.write_line(line)
    for line in tally.kernels():
        out.write_line(line)
    failing = list(tally.failing())
    if failing:
        out.write_line("fields that do not always agree:")
    for line in failing:
        out.write_line(f"  {line}")
    for reason, number in sorted(tally.excused.items()):
        out.write_line(f"set aside, {number} cases: {reason}")
