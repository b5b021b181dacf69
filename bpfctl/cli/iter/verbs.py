"""bpftool's ``iter`` object: iterators."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Check, Table, missing

TABLE = Table(
    "iter",
    HELP,
    missing("iter", "pin", "FILE PATH [map MAP]", "pin an iterator", Check(2, usage=True)),
)
