"""Bloom filters (kernel/bpf/bloom_filter.c): "surely absent" or "maybe present".

Values are pushed and peeked, there are no keys. Rows are chunks of the bit set.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import Sizes
from bpfctl.kernel.bpf.map import BPF_F_ACCESS_MASK, MapType, roundup_pow_of_two
from bpfctl.kernel.jhash import jhash
from bpfctl.kernel.mm.slab import KMALLOC_MAX_SIZE
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.uapi import BPF_ANY, BPF_F_NUMA_NODE, BPF_F_ZERO_SEED, U32_MAX, MapCreateAttr
from bpfctl_maps.sparse import SparseBytes

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_ZERO_SEED | BPF_F_ACCESS_MASK
NR_HASH_MASK = 0xF
DEFAULT_NR_HASH = 5
MIN_BITS = 64
MAX_ROUNDED_BITS = 1 << 31
CHUNK = 128


class BloomFilter(MapType):
    """BPF_MAP_TYPE_BLOOM_FILTER. The low 4 bits of map_extra: how many hash functions."""

    name = "bloom_filter"
    family = "bloom_filter"
    capability = "bpf"
    btf_allowed = True
    map_extra = "number of hash functions"
    example = Example(key_size=0)

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return None, None

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        if attr.value_size > KMALLOC_MAX_SIZE:
            raise KernelError(E.BIG, "value_size")

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.check_access_flags(attr.map_flags, CREATE_FLAGS)
        if attr.key_size != 0 or attr.value_size == 0 or attr.max_entries == 0:
            raise KernelError(E.INVAL, "sizes")
        if attr.map_extra & ~NR_HASH_MASK:
            raise KernelError(E.INVAL, "map_extra")
        if not attr.map_flags & BPF_F_ZERO_SEED:
            self.rec.priv["seed"] = self.kernel.config.hash_seed

    @property
    def nr_hash(self) -> int:
        """Hash functions, each sets one bit for a value."""
        return (self.rec.map_extra & NR_HASH_MASK) or DEFAULT_NR_HASH

    @property
    def nr_bits(self) -> int:
        """Bits of the set: about entries x hash functions / ln 2, rounded up to a power of two.

        2**32 once the kernel's 32-bit arithmetic overflows.
        """
        product = self.rec.max_entries * self.nr_hash
        # 7 / 5 stands for 1 / ln 2.
        bits = product // 5 * 7
        if product > U32_MAX or bits > MAX_ROUNDED_BITS:
            return U32_MAX + 1
        return roundup_pow_of_two(max(bits, MIN_BITS))

    def _size(self) -> int:
        return self.sizeof("bpf_bloom_filter") + self.nr_bits // 8

    def alloc(self) -> None:
        self.area_alloc("bitset", self._size())

    def mem_usage(self) -> int:
        return self._size()

    def check_btf(self, key_type: Any, value_type: Any) -> None:
        if key_type is not None:
            raise KernelError(E.INVAL, "a bloom filter has no key type")

    # --- operations ------------------------------------------------------

    @property
    def _bitset(self) -> SparseBytes:
        return SparseBytes(self.cells, CHUNK)

    def _bits_of(self, value: bytes) -> Iterator[tuple[int, int]]:
        """Yield byte and mask of every bit that stands for ``value``."""
        seed, mask = self.rec.priv.get("seed", 0), self.nr_bits - 1
        for number in range(self.nr_hash):
            bit = jhash(value, seed + number & U32_MAX) & mask
            yield bit >> 3, 1 << (bit & 7)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        """Push ``value``.

        :raises KernelError: EINVAL for any flag.
        """
        if flags != BPF_ANY:
            raise KernelError(E.INVAL, f"flags {flags:#x}")
        bitset = self._bitset
        for at, mask in self._bits_of(value):
            old = bitset.read(at, 1)[0]
            if not old & mask:
                bitset.write(at, bytes([old | mask]))

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        """Return ``value`` if it may have been pushed (peek).

        :raises KernelError: ENOENT: it surely was not; EFAULT without a value.
        """
        if value is None or len(value) < self.rec.value_size:
            raise KernelError(E.FAULT, "value buffer")
        value = value[: self.rec.value_size]
        bitset = self._bitset
        if not all(bitset.read(at, 1)[0] & mask for at, mask in self._bits_of(value)):
            raise KernelError(E.NOENT)
        return value

    def delete(self, key: bytes) -> None:
        raise KernelError(E.OPNOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise KernelError(E.OPNOTSUPP)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [BloomFilter]
