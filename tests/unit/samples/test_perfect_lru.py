"""The perfect LRU of the sample against the plain reference."""

import pytest
from bpfctl_samples import sequences
from bpfctl_samples.test_lru_dist.main import key_of
from bpfctl_samples.test_lru_dist.perfect_lru import Counts, PerfectLru, reference
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfctl.errors import E, KernelError

from .lab import process


def replayed(keys, lru_size):
    at = process()
    lru = PerfectLru(at.bpf, lru_size, len(keys))
    hits = [lru.lookup_or_insert(key_of(key)) for key in keys]
    counts = lru.counts()
    assert hits.count(False) == counts.nr_misses
    lru.destroy()
    return counts


@pytest.mark.parametrize(
    ("keys", "lru_size", "counts"),
    [
        ([1, 1, 1], 1, Counts(1, 1)),
        ([1, 2, 1], 1, Counts(2, 3)),
        ([1, 2, 1, 3, 1, 2], 2, Counts(3, 4)),
        ([1, 2, 3] * 3, 2, Counts(3, 9)),
        ([1, 2, 3] * 3, 3, Counts(3, 3)),
    ],
)
def test_known_sequences(keys, lru_size, counts):
    assert reference(keys, lru_size) == counts
    assert replayed(keys, lru_size) == counts


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=120), st.integers(1, 14))
def test_the_samples_lru_equals_the_reference(keys, lru_size):
    assert replayed(keys, lru_size) == reference(keys, lru_size)


@pytest.mark.parametrize("kind", ["uniform", "zipf", "scan"])
@pytest.mark.parametrize("lru_size", [7, 40, 200])
def test_misses_lie_between_unique_keys_and_all(kind, lru_size):
    keys = sequences.generate(f"{kind}:keys=100,length=600", 1)
    nr_unique, nr_misses = reference(keys, lru_size)
    assert nr_unique == len(set(keys))
    assert nr_unique <= nr_misses <= len(keys)
    assert lru_size < 100 or nr_misses == nr_unique


def test_a_scan_over_more_than_fits_misses_always():
    keys = sequences.generate("scan:keys=41,length=400", 0)
    assert reference(keys, 40).nr_misses == 400


@pytest.mark.parametrize(("nr_keys", "pages"), [(10_000, 221), (100_000, 2075), (1_000_000, 19722)])
def test_the_index_is_as_large_as_the_key_file(nr_keys, pages):
    at = process(possible_cpus=4)
    PerfectLru(at.bpf, 10, nr_keys)
    assert at.meter.locked_pages == pages


def test_the_index_may_be_refused():
    at = process(memlock=65536)
    with pytest.raises(KernelError) as caught:
        PerfectLru(at.bpf, 10, 10_000)
    assert caught.value.errno == E.PERM
