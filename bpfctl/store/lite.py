"""The module sqlite3, without what it imports for dates.

The standard one registers adapters for datetime, which no column here has and which takes a
twentieth of a short command's time. The C module below it has all the rest, where there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
else:
    try:
        import _sqlite3 as sqlite3
    except ImportError:
        import sqlite3

__all__ = ["sqlite3"]
