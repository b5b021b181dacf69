"""Version 6: up to Linux 5.16, per-CPU memory is charged without the owners of its objects.

States of 5.10 (with patches of the series), 5.11 and 5.15 have charged 8 bytes of owner for each 4
bytes of a per-CPU allocation, as kernels do from 5.17 on. The surplus is given back.
"""

from __future__ import annotations

import sqlite3

from bpfctl.store.migrations.steps import run

_UNIT, _OWNER = 4, 8

_SURPLUS = f"""
SELECT objcg, sum(nr * ((size + {_UNIT - 1}) / {_UNIT}) * {_OWNER}) FROM alloc
WHERE allocator = 'percpu' AND objcg != 0 GROUP BY objcg
"""
_CORRECT = f"""
UPDATE alloc SET charge = charge - ((size + {_UNIT - 1}) / {_UNIT}) * {_OWNER}
WHERE allocator = 'percpu' AND objcg != 0
"""


def up(conn: sqlite3.Connection) -> None:
    """Correct charges, object charges and the counters of cgroups, where the kernel is one."""
    settings = dict(conn.execute("SELECT name, value FROM setting").fetchall())
    if settings.get("kernel") not in ("5.10", "5.11", "5.15"):
        return
    page_size = int(settings["page_size"])
    surplus = conn.execute(_SURPLUS).fetchall()
    run(conn, _CORRECT)
    for objcg, nbytes in surplus:
        _give_back(conn, objcg, nbytes, page_size)


def _give_back(conn: sqlite3.Connection, objcg: int, nbytes: int, page_size: int) -> None:
    """Take ``nbytes`` off an objcg; whole pages that become free leave its cgroups."""
    found = conn.execute(
        "SELECT memcg, nbytes, parked FROM objcg WHERE id = ?", (objcg,)
    ).fetchone()
    if found is None:
        return
    memcg, held, parked = found
    pages, parked = divmod(parked + nbytes, page_size)
    conn.execute(
        "UPDATE objcg SET nbytes = ?, parked = ? WHERE id = ?", (held - nbytes, parked, objcg)
    )
    kernel_pages = -(-held // page_size) - -(-(held - nbytes) // page_size)
    seen = set()
    while memcg and memcg not in seen:
        seen.add(memcg)
        conn.execute(
            "UPDATE memcg SET usage_pages = usage_pages - ?, kernel_pages = kernel_pages - ?,"
            " percpu = percpu - ? WHERE id = ?",
            (pages, kernel_pages, nbytes, memcg),
        )
        row = conn.execute("SELECT parent FROM memcg WHERE id = ?", (memcg,)).fetchone()
        memcg = row[0] if row else 0
