"""The simulator's verifier against what real kernels answered.

``--corpus DIR`` takes any folder in the format of the recordings and runs all of it; without it a
share of the project's own copy is run. A line a kernel says how often verdict, errno, decisive
line, processed instructions and rewritten instructions agree; claims.toml says what must.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bpfctl.errors import KernelError
from bpfctl.isa.insn import CALL, INSN_BYTES
from verifier import corpus

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
SHARE = 24
"""Without --corpus every 24th program is run."""
LONG = 50_000
"""... but none that the kernel itself needed more instructions for."""
MEMORY = ("invalid", "outside", "unbounded", "misaligned", "!read_ok", "leak", "min value")
FIGURES = ("verdict", "errno", "line", "processed", "xlated")


class Tally:
    """Agreement with one kernel."""

    def __init__(self, kernel: str) -> None:
        self.kernel = kernel
        self.agree: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.false_accepts = 0
        self.first: list[str] = []

    def note(self, what: str, good: bool, text: str) -> None:
        self.tried[what] += 1
        self.agree[what] += good
        if not good and len(self.first) < 10:
            self.first.append(f"{what}: {text}")

    def line(self) -> str:
        figures = " ".join(f"{name} {self.agree[name]}/{self.tried[name]}" for name in FIGURES)
        return f"{self.kernel} {figures} false-accepts {self.false_accepts}"


def compare(
    tally: Tally, spec: dict[str, Any], record: dict[str, Any], ours: corpus.Answer
) -> None:
    real = corpus.measured(record)
    where = f"{spec['id']} {spec['family']} {spec['name']}"
    tally.note("verdict", ours.ok == real.ok, f"{where}: {real.line or real.errno} | {ours.line}")
    if ours.ok != real.ok:
        if ours.ok and any(word in real.line for word in MEMORY):
            tally.false_accepts += 1
        return
    if not real.ok:
        tally.note("errno", ours.errno == real.errno, f"{where}: {real.errno} | {ours.errno}")
        same = ours.line.strip() == real.line.strip()
        tally.note("line", same, f"{where}: {real.line} | {ours.line}")
    if real.processed is not None:
        same = ours.processed == real.processed
        tally.note("processed", same, f"{where}: {real.processed} | {ours.processed}")
    if real.ok and "xlated" in record:
        wanted = record["insns"] if record["xlated"] == "=" else record["xlated"]
        tally.note("xlated", plain(ours.xlated) == plain(wanted), where)


def plain(text: str) -> bytes:
    """Instructions without the distance to kernel functions."""
    raw = bytearray(bytes.fromhex(text))
    for at in range(0, len(raw), INSN_BYTES):
        if raw[at] == CALL and raw[at + 1] >> 4 == 0:
            raw[at + 4 : at + 8] = bytes(4)
    return bytes(raw)


def run(kernel: str, folder: Path, every: int) -> Tally:
    tally = Tally(kernel)
    loader = corpus.Loader(kernel, folder)
    for index, (spec, record) in enumerate(corpus.pairs(folder, kernel)):
        if every > 1 and (index % every or record.get("processed", 0) > LONG):
            continue
        try:
            ours = loader.load(spec)
        except corpus.NotTried:
            continue
        except KernelError as exc:
            ours = corpus.Answer(False, str(exc))
        record = {**record, "insns": corpus.insns_of(spec["insns"]).hex()}
        compare(tally, spec, record, ours)
    return tally


@pytest.mark.parametrize("kernel", corpus.KERNELS)
def test_corpus(kernel: str, request: pytest.FixtureRequest, capsys: Any) -> None:
    option = request.config.getoption("--corpus", default=None)
    folder = Path(option) if option else corpus.DATA
    tally = run(kernel, folder, 1 if option else SHARE)
    with capsys.disabled():
        print()
        for text in tally.first:
            print(f"  {text}"[:300])
        print(tally.line())
    claims = tomllib.loads((HERE / "claims.toml").read_text())[kernel]
    for name in FIGURES:
        if tally.tried[name]:
            share = 100 * tally.agree[name] / tally.tried[name]
            assert share >= claims[name] - (0 if option else 3), (name, share)
    assert tally.false_accepts <= claims["false_accepts"]
