"""Declarations of helpers and program types against what five kernels answered."""

from __future__ import annotations

import pytest

from bpfctl.isa.helper_names import HELPERS
from bpfctl.kernel.kernel import Kernel
from bpfctl.uapi import PROG_TYPE_NUMBER
from verifier import matrices


@pytest.fixture(params=matrices.KERNELS)
def kernel(request):
    return request.param


def test_helpers(kernel):
    table = matrices.load(kernel)["helpers"]
    wrong = []
    for key, text in table["rows"].items():
        measured = matrices.expand(text)
        if len(set(measured)) == 1:
            continue  # the load fails before the call is looked at
        ours = matrices.helper_cells(kernel, key)
        for number, cell in enumerate(measured):
            # A code is the message of a later check: the helper is offered.
            cell = "Y" if cell in table["codes"] else cell
            if number != matrices.FUNC_ARG and cell != ours[number]:
                wrong.append((key, HELPERS[number], cell, ours[number]))
    assert not wrong


def test_context(kernel):
    table = matrices.load(kernel)["context"]
    refused = {c for c, text in table["codes"].items() if text in ("EPERM", "EINVAL")}
    padding = {c for c, text in table["codes"].items() if "misconfigured" in text}
    wrong = []
    for key, text in table["rows"].items():
        measured = matrices.expand(text)
        if set(measured) <= refused:
            continue  # the type or the loader is refused
        ours = matrices.context_cells(kernel, key, len(measured))
        for index, cell in enumerate(measured):
            cell = "u" if cell in padding else cell
            if cell != ours[index]:
                wrong.append((key, index, cell, ours[index]))
    assert not wrong


def test_attach(kernel):
    table = matrices.load(kernel)["attach"]
    codes = table["codes"]
    machine = Kernel.in_memory(kernel, possible_cpus=2)
    wrong = []
    for name, text in table["rows"].items():
        number = PROG_TYPE_NUMBER.get(name, 0)
        for attach_type, cell in enumerate(matrices.expand(text)):
            measured = codes.get(cell, cell)
            if measured == "EPERM":
                continue  # the machine refused such programs, not the kernel
            ours = matrices.attach_cell(machine, number, attach_type)
            if ours != measured:
                wrong.append((name, attach_type, measured, ours))
    assert not wrong
