"""Packet captures: frames of pcap and pcapng files, and pcap files of frames (by dpkt)."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO

from bpfctl.errors import CaptureError

LINKTYPE_ETHERNET = 1
MAX_FRAME = 65549
_PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"


def read_frames(path: str, limit: int | None = None) -> Iterator[bytes]:
    """Yield the frames of a capture, at most ``limit``.

    :raises CaptureError: it cannot be read, is damaged, or not of Ethernet frames.
    """
    import dpkt

    try:
        with open(path, "rb") as stream:
            magic = stream.read(4)
            stream.seek(0)
            reader = (dpkt.pcapng if magic == _PCAPNG_MAGIC else dpkt.pcap).Reader(stream)
            if reader.datalink() != LINKTYPE_ETHERNET:
                raise CaptureError(f"'{path}' holds no Ethernet frames")
            for count, (_, content) in enumerate(reader):
                if count == limit:
                    return
                if 14 <= len(content) <= MAX_FRAME:
                    yield bytes(content)
    except OSError as exc:
        raise CaptureError(f"can't read '{path}': {exc.strerror}") from exc
    except (dpkt.Error, ValueError, EOFError) as exc:
        raise CaptureError(f"'{path}' is no packet capture, or damaged: {exc}") from exc


class Writer:
    """A pcap file that grows by frames; timestamps count frames, one a microsecond."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._count = 0

    def __enter__(self) -> Writer:
        import dpkt

        try:
            self._stream: BinaryIO = open(self._path, "wb")
        except OSError as exc:
            raise CaptureError(f"can't write '{self._path}': {exc.strerror}") from exc
        self._writer = dpkt.pcap.Writer(self._stream)
        return self

    def write(self, frame: bytes) -> None:
        """Append a frame."""
        self._writer.writepkt(frame, ts=self._count / 1_000_000)
        self._count += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
