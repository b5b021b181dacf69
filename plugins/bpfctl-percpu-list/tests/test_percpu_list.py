from bpfctl_percpu_list import PercpuList

from bpfctl.api import check_type


def test_conforms() -> None:
    assert [outcome for outcome in check_type(PercpuList) if not outcome.passed] == []
