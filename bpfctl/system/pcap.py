"""Files of packets, read and written."""

from __future__ import annotations

from bpfctl.kernel.net.pcap import Writer, read_frames

__all__ = ["Writer", "read_frames"]
