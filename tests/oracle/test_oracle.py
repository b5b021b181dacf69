"""The simulated kernel answers and charges as the measured ones.

``pytest tests/oracle --oracle-dir DIR`` compares with the files of DIR instead; then nothing is
set aside: an unknown map type or operation is a disagreement.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle.cases import DATA, Case, files, read
from oracle.compare import Verdict, verdicts
from oracle.doubts import Doubt, read_doubts
from oracle.report import Tally
from oracle.run import Runner

FIRST = 10


def directory_of(config: pytest.Config) -> Path:
    given = config.getoption("--oracle-dir")
    return Path(given) if given else DATA


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "path" not in metafunc.fixturenames:
        return
    directory = directory_of(metafunc.config)
    found = files(directory) if directory.is_dir() else []
    if not found:
        raise pytest.UsageError(f"no *.jsonl or *.jsonl.xz files in {directory}")
    ids = [path.name.partition(".jsonl")[0] for path in found]
    metafunc.parametrize("path", found, ids=ids)


def without_doubtful(
    found: list[Verdict], case: Case, doubts: list[Doubt], tally: Tally
) -> list[Verdict]:
    """Leave out, and count, what doubts.toml says about ``case``."""
    for doubt in doubts:
        if doubt.covers(case):
            tally.excused[doubt.reason] += 1
            found = [verdict for verdict in found if not verdict.field.startswith(doubt.fields)]
    return found


@pytest.fixture(scope="session")
def runner(request: pytest.FixtureRequest) -> Runner:
    return Runner(directory_of(request.config))


def test_agrees(path: Path, runner: Runner, total: Tally) -> None:
    doubts = read_doubts() if path.parent == DATA else []
    tally = Tally()
    for case in read(path):
        tally.count(case, without_doubtful(verdicts(case, runner.run(case)), case, doubts, tally))
    total.add(tally)
    print(*tally.table(), sep="\n")
    if tally.whole.agree < tally.whole.total:
        first = "\n".join(tally.disagreements(FIRST))
        pytest.fail(f"{tally.whole} cases agree; the first that do not:\n{first}", pytrace=False)


@pytest.mark.parametrize("doubt", read_doubts(), ids=lambda doubt: doubt.files[0])
def test_doubt_is_needed(doubt: Doubt, runner: Runner) -> None:
    """A doubt that has come to agree must go."""
    cases = [
        case
        for name in doubt.files
        for case in read(DATA / f"{name}.jsonl.xz")
        if doubt.covers(case)
    ]
    assert cases
    for case in cases:
        wrong = [v.field for v in verdicts(case, runner.run(case)) if not v.agrees]
        assert any(field.startswith(doubt.fields) for field in wrong), case.where
