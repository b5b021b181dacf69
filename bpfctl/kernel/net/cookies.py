"""Numbers of sockets and namespaces (net/core/sock_diag.c): given out once, never again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.records import Counter

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

COUNTER = "sock_cookie"
INIT_NETNS_COOKIE = 1


def new_cookie(kernel: Kernel) -> int:
    """Return the next number."""
    counters = kernel.storage.registry(Counter)
    found = counters.get(COUNTER)
    if found is None:
        found = Counter(COUNTER, 0)
        counters.add(found)
    found.value += 1
    return found.value
