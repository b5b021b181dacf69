"""Programs do what they did on measured kernels: ``pytest tests/run --corpus DIR``.

Without ``--corpus`` the project's own selection runs. ``--families GLOBS``, ``--kernels NAMES``
(separated by commas), ``--every N`` and ``--engine NAME`` choose a part of it.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from run.compare import Verdict
from run.corpus import families, kernels, lines
from run.lab import Lab
from run.report import Tally

OWN = Path(__file__).parent / "data"


def _folder(config: pytest.Config) -> Path:
    return Path(config.getoption("--corpus") or OWN)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "family" not in metafunc.fixturenames:
        return
    config = metafunc.config
    folder = _folder(config)
    globs = (config.getoption("--families") or "*").split(",")
    only = config.getoption("--kernels")
    wanted = only.split(",") if only else None
    params = []
    if folder.is_dir():
        for kernel in kernels(folder):
            if wanted is not None and kernel not in wanted:
                continue
            names = dict.fromkeys([*families(folder), *families(folder / kernel)])
            params += [
                pytest.param(kernel, name, id=f"{kernel}-{name}")
                for name in names
                if any(fnmatch(name, glob) for glob in globs)
            ]
    metafunc.parametrize(("kernel", "family"), params)


def run_line(line: Any, engine: str) -> dict[str, Any]:
    """Do one line; what escapes the simulated kernel is an answer that never agrees."""
    try:
        return Lab(line, engine).run()
    except Exception as exc:
        return {"raised": f"{type(exc).__name__}: {exc}"}


def test_family(kernel: str, family: str, request: pytest.FixtureRequest, tally: Tally) -> None:
    config = request.config
    every = int(config.getoption("--every"))
    engine = config.getoption("--engine") or ""
    tally.shown = int(config.getoption("--first"))
    wrong = 0
    for at, line in enumerate(lines(_folder(config), kernel, family)):
        if at % every:
            continue
        verdict = Verdict(line, run_line(line, engine))
        tally.add(verdict)
        wrong += not verdict.agrees
    if wrong:
        pytest.fail(f"{wrong} lines differ; the summary lists the first", pytrace=False)
