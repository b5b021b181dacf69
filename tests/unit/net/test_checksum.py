"""Internet checksums against sums worked out by hand."""

from __future__ import annotations

import pytest

from bpfctl.kernel.net import checksum

HEADER = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")


def test_a_right_header_sums_to_nothing() -> None:
    assert checksum.csum_fold(checksum.csum_partial(HEADER)) == 0


def test_a_changed_word_is_followed() -> None:
    changed = HEADER[:2] + bytes.fromhex("0100") + HEADER[4:]
    old = int.from_bytes(HEADER[10:12], "little")
    new = checksum.csum_replace2(old, 0x7300, 0x0001)
    fixed = changed[:10] + new.to_bytes(2, "little") + changed[12:]
    assert checksum.csum_fold(checksum.csum_partial(fixed)) == 0


@pytest.mark.parametrize("length", range(0, 20))
def test_partial_sums_add_up(length: int) -> None:
    data = bytes(range(1, length * 2 + 1))
    whole = checksum.from32to16(checksum.csum_partial(data, 7))
    halves = checksum.csum_partial(
        data[length * 2 // 4 * 4 :], checksum.csum_partial(data[: length * 2 // 4 * 4], 7)
    )
    assert checksum.from32to16(halves) == whole
