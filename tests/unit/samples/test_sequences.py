"""Key sequences: from a description and a seed, and from files."""

from collections import Counter

import pytest
from bpfctl_samples import sequences

from bpfctl.errors import CommandError


@pytest.mark.parametrize("kind", ["uniform", "zipf", "scan"])
def test_equal_seeds_give_equal_keys_in_range(kind):
    description = f"{kind}:keys=50,length=700"
    keys = sequences.generate(description, 3)
    assert keys == sequences.generate(description, 3)
    assert len(keys) == 700
    assert set(keys) <= set(range(1, 51))


@pytest.mark.parametrize("kind", ["uniform", "zipf"])
def test_other_seeds_give_other_keys(kind):
    assert sequences.generate(kind, 1) != sequences.generate(kind, 2)


def test_a_scan_walks_over_all_keys_again_and_again():
    assert sequences.generate("scan:keys=3,length=7", 9) == [1, 2, 3, 1, 2, 3, 1]


def test_uniform_keys_are_about_equally_often():
    counts = Counter(sequences.generate("uniform:keys=10,length=20000", 1))
    assert all(1700 < counts[key] < 2300 for key in range(1, 11))


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_zipf_keys_grow_rarer_by_a_power_of_their_rank(exponent):
    counts = Counter(sequences.generate(f"zipf:keys=100,length=40000,s={exponent}", 1))
    for rank in (2, 4):
        assert counts[1] / counts[rank] == pytest.approx(rank**exponent, rel=0.2)


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        ("", "unknown kind ''"),
        ("zip", "unknown kind 'zip'"),
        ("scan:keys", "'keys' should be NAME=VALUE, each name once"),
        ("scan:keys=1,keys=2", "'keys=2' should be NAME=VALUE, each name once"),
        ("scan:keys=0", "keys must be 1 to 10000000"),
        ("scan:length=-1", "length must be 1 to 10000000"),
        ("scan:length=99999999999999999999999", "length must be 1 to 10000000"),
        ("scan:keys=²", "keys must be 1 to 10000000"),
        ("scan:s=1", "scan has no 's'"),
        ("zipf:s=x", "s must be a number from 0 to 10"),
        ("zipf:s=nan", "s must be a number from 0 to 10"),
        ("uniform:size=3", "uniform has no 'size'"),
    ],
)
def test_bad_descriptions_are_refused(description, complaint):
    with pytest.raises(CommandError) as caught:
        sequences.generate(description, 0)
    assert caught.value.text == f"can't make keys from '{description}': {complaint}"


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"1\n2\n3", [1, 2, 3], id="no-newline-at-the-end"),
        pytest.param(b"\n7\n\n  8  \r\n", [7, 8], id="blanks"),
        pytest.param(b"18446744073709551615\n", [(1 << 64) - 1], id="largest"),
        pytest.param(b"0" * 100 + b"5\n", [5], id="leading-zeros"),
    ],
)
def test_files_have_a_key_a_line(tmp_path, content, keys):
    path = tmp_path / "keys"
    path.write_bytes(content)
    assert sequences.read(str(path)) == keys


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"1\nx\n", "2: 'x'"),
        (b"-1\n", "1: '-1'"),
        (b"1 2\n", "1: '1 2'"),
        (b"18446744073709551616\n", "1: '18446744073709551616'"),
        (b"\xff\x00\n", "1: '\\xff\x00'"),
        (b"9" * 5000, "1: '" + "9" * 40 + "'"),
    ],
)
def test_what_is_not_a_key_is_named_with_its_line(tmp_path, content, place):
    path = tmp_path / "keys"
    path.write_bytes(content)
    with pytest.raises(CommandError) as caught:
        sequences.read(str(path))
    assert caught.value.text == f"{path}:{place} is not a key"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "missing", "nul\0byte"):
        with pytest.raises(CommandError, match="can't read"):
            sequences.read(str(path))
