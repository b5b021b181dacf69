"""Report agreement with the measured runs, one line a family."""

from __future__ import annotations

import pytest

from run.report import Tally

TALLY = pytest.StashKey[Tally]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TALLY] = Tally()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Counts of this run."""
    return request.config.stash[TALLY]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    found = config.stash[TALLY]
    families = list(found.families())
    if not families:
        return
    terminalreporter.section("agreement with measured runs")
    for text in found.disagreements():
        terminalreporter.write_line(text)
    for text in families:
        terminalreporter.write_line(text)
