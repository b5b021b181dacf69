"""Programs watched step by step."""

from __future__ import annotations

from bpfctl.kernel.bpf.vm.trace import Step, source_lines

__all__ = ["Step", "source_lines"]
