from bpfctl_prog_table import ProgTable

from bpfctl.api import check_type


def test_conforms() -> None:
    assert [outcome for outcome in check_type(ProgTable) if not outcome.passed] == []
