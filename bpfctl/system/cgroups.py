"""Cgroup files: the limits that one may write, and the root, which has none."""

from __future__ import annotations

from bpfctl.kernel.mm.memcg import KNOBS, ROOT_ID

__all__ = ["KNOBS", "ROOT_ID"]
