"""Show where the simulator and a measured kernel disagree, grouped by cause.

python -m tests.verifier.disagree --corpus DIR --kernel 6.18 [--family stack] [--every 10]
"""

from __future__ import annotations

import argparse
import collections
import re
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from verifier import corpus


def shape(line: str) -> str:
    """A line with its numbers taken out."""
    line = re.sub(r"0x[0-9a-f]+", "X", line)
    return re.sub(r"-?\d+", "N", line)


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path, default=corpus.DATA)
    parser.add_argument("--kernel", default="6.18")
    parser.add_argument("--family")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--id")
    parser.add_argument("--log", type=int, default=0)
    parser.add_argument("--show", type=int, default=40)
    parser.add_argument("--what", default="verdict,errno,line,processed,crash")
    parser.add_argument("--slow", type=float, default=3.0)
    args = parser.parse_args()
    loader = corpus.Loader(args.kernel, args.corpus, args.log)
    tally: collections.Counter[str] = collections.Counter()
    groups: dict[str, list[str]] = collections.defaultdict(list)
    wanted = args.what.split(",")
    fams: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    start = time.time()
    insns = 0
    for index, (spec, record) in enumerate(corpus.pairs(args.corpus, args.kernel)):
        if args.id and not spec["id"].startswith(args.id):
            continue
        if args.family and spec["family"] not in args.family.split(","):
            continue
        if index % args.every != args.offset:
            continue
        real = corpus.measured(record)
        begun = time.time()
        try:
            ours = loader.load(spec)
        except corpus.NotTried as exc:
            tally["not tried"] += 1
            groups[f"~not tried: {exc}"].append(spec["id"])
            continue
        except Exception as exc:
            tally["crash"] += 1
            fams[spec["family"]]["crash"] += 1
            where = traceback.extract_tb(exc.__traceback__)[-1]
            key = f"CRASH {type(exc).__name__}: {exc} at {Path(where.filename).name}:{where.lineno}"
            if "crash" in wanted:
                groups[key].append(spec["id"])
            if args.id:
                traceback.print_exc()
            continue
        took = time.time() - begun
        insns += ours.processed or 0
        if took > args.slow:
            print(f"slow: {spec['id']} {took:.1f}s", file=sys.stderr, flush=True)
            groups[f"SLOW {took:.1f}s {ours.processed} insns"].append(spec["id"])
        tally["tried"] += 1
        if args.id:
            print(spec["family"], spec["name"], spec.get("mode", "root"), spec["prog_type"])
            print("prog:", spec["prog"].replace("; ", "\n  "))
            print("maps:", spec.get("maps"))
            print("real:", {k: v for k, v in record.items() if k not in ("xlated", "log2")})
            print(record.get("log2", ""))
            print("ours:", ours)
        both = f"{real.errno} {shape(real.line)} | {ours.errno} {shape(ours.line)}"
        if ours.ok == real.ok:
            tally["verdict"] += 1
        else:
            what = "FALSE ACCEPT" if ours.ok else "FALSE REFUSE"
            tally[what] += 1
            fams[spec["family"]]["verdict"] += 1
            if "verdict" in wanted:
                groups[f"{what}: {both}"].append(spec["id"])
            continue
        if not real.ok:
            tally["refused"] += 1
            if real.errno == ours.errno:
                tally["errno"] += 1
            else:
                fams[spec["family"]]["errno"] += 1
                if "errno" in wanted:
                    groups[f"errno: {both}"].append(spec["id"])
            if real.line.strip() == ours.line.strip():
                tally["line"] += 1
            else:
                fams[spec["family"]]["line"] += 1
                if "line" in wanted:
                    groups[f"line: {shape(real.line)} | {shape(ours.line)}"].append(spec["id"])
        if real.processed is not None:
            tally["with processed"] += 1
            if real.processed == ours.processed:
                tally["processed"] += 1
                if real.states == ours.states:
                    tally["states"] += 1
                else:
                    fams[spec["family"]]["states"] += 1
                    if "states" in wanted:
                        groups[f"states {real.states} not {ours.states}"].append(spec["id"])
            else:
                fams[spec["family"]]["processed"] += 1
                if "processed" in wanted:
                    groups[f"processed ({'ok' if real.ok else shape(real.line)})"].append(
                        f"{spec['id']}:{spec['family']}:{real.processed}/{ours.processed}"
                    )
    for key, ids in sorted(groups.items(), key=lambda item: -len(item[1]))[: args.show]:
        print(f"{len(ids):4} {key}  {' '.join(ids[:3])}")
    for name, counts in sorted(fams.items()):
        print(f"  {name}: {dict(counts)}")
    spent = time.time() - start
    print(dict(tally), f"{spent:.1f}s {insns / spent:.0f} insns/s")


if __name__ == "__main__":
    main()
