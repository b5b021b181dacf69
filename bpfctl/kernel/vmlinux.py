"""The kernel's own types: what /sys/kernel/btf/vmlinux holds, as far as the simulator has it.

``profiles/vmlinux.btf.xz`` has the structs that programs read most, the kernel's trace points, LSM
hooks and iterators, as a 6.18.44 kernel has them. Every profile shows these layouts; members that
an older release spells otherwise are renamed (``btf_renamed``). What the offsets are on another
release or configuration must come from a file that the user has (``--kernel-btf``).
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.kernel.profile import Profile

_FILE = os.path.join(os.path.dirname(__file__), "profiles", "vmlinux.btf.xz")


def vmlinux_btf(profile: Profile) -> bytes:
    """Return the blob of ``profile``'s types."""
    return _blob(tuple(sorted(profile.btf_renamed)))


@lru_cache(maxsize=8)
def _blob(renamed: tuple[str, ...]) -> bytes:
    import lzma

    with open(_FILE, "rb") as file:
        blob = lzma.decompress(file.read())
    if not renamed:
        return blob
    from bpfctl.btf.build import BtfBuilder
    from bpfctl.btf.parse import parse_btf
    from bpfctl.btf.types import Composite

    names = dict(words.split("=") for words in renamed)
    builder = BtfBuilder(parse_btf(blob))
    for found in builder.types:
        if isinstance(found, Composite):
            for member in found.members:
                member.name = names.get(f"{found.name}.{member.name}", member.name)
    return builder.encode()
