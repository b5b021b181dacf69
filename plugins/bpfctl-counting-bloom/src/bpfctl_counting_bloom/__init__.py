"""Map type ``counting_bloom``: a Bloom filter that counts."""

from __future__ import annotations

from typing import Any

from bpfctl.api import (
    BPF_EXIST,
    BPF_F_ACCESS_MASK,
    BPF_F_NUMA_NODE,
    BPF_NOEXIST,
    U32_MAX,
    E,
    Example,
    KernelError,
    MapCreateAttr,
    MapRecord,
    MapType,
    Sizes,
    Task,
    hookimpl,
    jhash,
    roundup_pow_of_two,
)

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK
MAX_KEY_SIZE = 512
MAX_HASHES = 15
DEFAULT_HASHES = 4
COUNTER_SIZE = 4
STRUCT_SIZE = 320


class CountingBloom(MapType):
    """Counters indexed by ``map_extra`` (default 4) hashes of the key.

    A counter is a row of its own, absent while it is zero: an update writes a handful of rows
    however large the filter is.
    """

    name = "counting_bloom"
    family = "counting_bloom"
    capability = "bpf"
    btf_allowed = True
    map_extra = "number of hashes of a key"
    example = Example(key_size=4, value_size=4, max_entries=64)

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        # A row is a counter under its index.
        return (4,), (COUNTER_SIZE,)

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.check_access_flags(attr.map_flags, CREATE_FLAGS)
        if not 0 < attr.key_size <= MAX_KEY_SIZE or attr.value_size != COUNTER_SIZE:
            raise KernelError(E.INVAL, "sizes")
        if not attr.max_entries or attr.map_extra > MAX_HASHES:
            raise KernelError(E.INVAL, "max_entries, map_extra")
        if attr.max_entries > 1 << 28:
            raise KernelError(E.BIG, "max_entries")

    @property
    def hashes(self) -> int:
        """Counters of one key."""
        return self.rec.map_extra or DEFAULT_HASHES

    @property
    def nr_counters(self) -> int:
        """Counters of the filter: about 1.4 for each hash of each entry, a power of two."""
        return roundup_pow_of_two(self.rec.max_entries * self.hashes * 7 // 5)

    def _size(self) -> int:
        return STRUCT_SIZE + self.nr_counters * COUNTER_SIZE

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self._size()

    def alloc(self) -> None:
        self.area_alloc("counters", self._size())

    def mem_usage(self) -> int:
        return self._size()

    def _indexes(self, key: bytes) -> list[int]:
        mask = self.nr_counters - 1
        return sorted({jhash(key, seed) & mask for seed in range(self.hashes)})

    def _read(self, indexes: list[int]) -> list[int]:
        cells = [self.cells.get(index.to_bytes(4, "little")) for index in indexes]
        return [0 if cell is None else int.from_bytes(cell[0], "little") for cell in cells]

    def _write(self, indexes: list[int], counts: list[int]) -> None:
        for index, count in zip(indexes, counts, strict=True):
            key = index.to_bytes(4, "little")
            if count:
                self.cells.put(key, count.to_bytes(4, "little"), index)
            else:
                self.cells.delete(key)

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        count = min(self._read(self._indexes(key)))
        if not count:
            raise KernelError(E.NOENT)
        return count.to_bytes(COUNTER_SIZE, "little")

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)
        indexes = self._indexes(key)
        counts = self._read(indexes)
        if flags == BPF_NOEXIST and min(counts):
            raise KernelError(E.EXIST)
        if flags == BPF_EXIST and not min(counts):
            raise KernelError(E.NOENT)
        more = int.from_bytes(value, "little")
        self._write(indexes, [min(count + more, U32_MAX) for count in counts])

    def delete(self, key: bytes) -> None:
        indexes = self._indexes(key)
        counts = self._read(indexes)
        if not min(counts):
            raise KernelError(E.NOENT)
        self._write(indexes, [count - 1 for count in counts])

    def check_btf(self, key_type: Any, value_type: Any) -> None:
        if key_type is None or not value_type.is_plain_int(32):
            raise KernelError(E.INVAL, "the value is a 32-bit number")


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type to bpfctl."""
    return [CountingBloom]
