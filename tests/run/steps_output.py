"""Steps that read what programs put out: ring and perf buffers, the trace pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.kernel.trace import perf as events
from bpfctl.kernel.trace.pipe import read_pipe
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.ringbuf import Ring
from bpfctl.uapi import Cmd, ElemAttr

if TYPE_CHECKING:
    from run.lab import Lab

PERF_COUNT_SW = {2: "page-faults", 3: "context-switches", 4: "cpu-migrations", 10: "bpf_output"}
PREFIX = b": bpf_trace_printk: "


def ring(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Read a ring buffer through its mapping."""
    reader = Ring(Bpf(lab.kernel, lab.pid), lab.map_fd(step["map"]))
    records: list[dict[str, Any]] = []
    for record in reader.records():
        shown: dict[str, Any] = {"data": record.data.hex()}
        if record.discarded:
            shown["discard"] = 1
        records.append(shown)
    cons, prod = reader.positions()
    reader.close()
    return {"records": records, "cons": cons, "prod": prod}


def ringstate(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Tell where producer and consumer are."""
    reader = Ring(Bpf(lab.kernel, lab.pid), lab.map_fd(step["map"]))
    cons, prod = reader.positions()
    reader.close()
    return {"cons": cons, "prod": prod}


def _store(lab: Lab, step: dict[str, Any], key: int, **attributes: Any) -> int:
    """Make a perf event and store it in a slot."""
    event = lab.kernel.objects.create("perf_event", **attributes)
    event.priv["since"] = lab.kernel.clock.ns
    fd = lab.kernel.objects.open(lab.pid, event.id)
    attr = ElemAttr(lab.map_fd(step["map"]), key.to_bytes(4, "little"), fd.to_bytes(4, "little"))
    lab.bpf(Cmd.MAP_UPDATE_ELEM, attr)
    return int(event.id)


def perf_open(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Open an event with a ring on some CPUs."""
    opened = lab.things.setdefault(f"perf {step['map']}", {})
    for number in step.get("cpus", (0, 1)):
        opened[number] = _store(lab, step, number, cpu=number)
    return {}


def perf(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Read the rings of those events."""
    records = {}
    for number, event in lab.things.get(f"perf {step['map']}", {}).items():
        raw, _ = events.take(lab.kernel, event)
        records[str(number)] = [{"raw": one.hex(), "raw_size": len(one)} for one in raw]
    return {"records": records}


def perf_counter(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Store a counter in a slot."""
    kind = PERF_COUNT_SW[step["config"]]
    _store(lab, step, step["key"], cpu=step.get("cpu", 0), event=kind)
    return {}


def trace(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Read the trace pipe: text without the prefix; a line that has none begins with ``\\\\``."""
    shown = []
    for printed in read_pipe(lab.kernel):
        for at, line in enumerate(printed.removesuffix(b"\n").split(b"\n")):
            text = line.partition(PREFIX)[2] if at == 0 else b"\\" + line
            shown.append(text.decode("latin-1"))
    return {"lines": shown}


STEPS = {
    "ring": ring,
    "ringstate": ringstate,
    "perf_open": perf_open,
    "perf": perf,
    "perf_counter": perf_counter,
    "trace": trace,
}
