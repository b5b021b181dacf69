"""Clocks (kernel/bpf/helpers.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import declare

declare(5, "ktime_get_ns")
declare(118, "jiffies64")
declare(125, "ktime_get_boot_ns")
declare(160, "ktime_get_coarse_ns")
declare(208, "ktime_get_tai_ns")
