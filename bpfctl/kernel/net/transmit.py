"""Packets that leave a program: what a device does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.net.dev import Net

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.net.device import NetDevice


def transmit(kernel: Kernel, device: NetDevice, frame: bytes, ingress: bool) -> None:
    """Hand ``frame`` to ``device``: out of it, or (``ingress``) as if it had come in."""
    if ingress:
        kernel.part(Net).receive(device, frame)
    else:
        kernel.part(Net).send(device, frame)
