"""Take out of bpftool's output what two right answers may differ in.

The recordings are of bpftool 7.1.0; bpfctl answers as 7.5 does. What differs between these two
versions is dropped from both sides, and nothing else:

- the program's name in usage texts and in the version: 7.1 prints argv[0];
- version numbers and the list of build features; the recorded build has no skeletons, so it does
  not say which processes hold an object (``pids``);
- in usage texts the lists of map types and of options, and the word for an offload device.

Also free are ids, load times, and the order of the elements of a hash in a dump. An id of one of
the case's objects becomes its place in the list of objects, so that a wrong object still shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

ID_PLACES = (
    r"^(?P<id>\d+)(?=: )",
    r'(?<=[{\s]"id":)\s*(?P<id>\d+)',
    r"(?<= map_ids )(?P<id>[\d,]+)",
    r'(?<="map_ids":)\s*\[(?P<id>[\d,\s]+)\]',
    r"(?<=\bbtf_id )(?P<id>\d+)",
    r'(?<="btf_id":)\s*(?P<id>\d+)',
)

MASKS = tuple(
    (re.compile(pattern, re.M | re.S), mask)
    for pattern, mask in (
        (r"\n\tpids [^\n]*", ""),
        (r',\s*"pids":\s*\[[^\]]*\]', ""),
        (r"(?<=loaded_at )\S+", "<time>"),
        (r'(?<="loaded_at":)\s*\d+', "<time>"),
        (r"(?:(?<=^)|(?<=^Usage: )|(?<=^ {7}))(?:/\S*/)?bpftool(?= )", "<program>"),
        (r"(?<=^<program> v)[\d.]+$", "<version>"),
        (r"(?<=^using libbpf v)[\d.]+$", "<version>"),
        (r"(?<=^features:)[^\n]*", "<features>"),
        (r'(?<="version":)\s*"[\d.]+"', "<version>"),
        (r'(?<="libbpf_version":)\s*"[\d.]+"', "<version>"),
        (r'(?<="features":)\s*\{[^}]*\}', "<features>"),
        (r"(?<=\[)offload_dev(?= NAME\])", "dev"),
        (r"(?<=^ {7}TYPE := )\{[^}]*\}", "<types>"),
        (r"(?<=^ {7}OPTIONS := ).*\Z", "<options>"),
    )
)

HASH_ROWS = re.compile(r"(?:^key: .*  value: .*\n)+", re.M)


def normal(result: dict[str, Any]) -> dict[str, Any]:
    """Return status and output of a bpftool case, with ``ids`` of its objects masked."""
    if "rc" not in result:
        return result
    mask_ids = _id_masker(result["ids"])
    flat = {"rc": result["rc"], "objects": len(result["ids"])}
    for stream in ("stdout", "stderr"):
        text = result[stream]
        for place in ID_PLACES:
            text = re.sub(place, mask_ids, text, flags=re.M)
        for pattern, mask in MASKS:
            text = pattern.sub(mask, text)
        flat[stream] = HASH_ROWS.sub(lambda rows: _sorted_lines(rows[0]), text)
    return flat


def _id_masker(ids: list[int]) -> Callable[[re.Match[str]], str]:
    names = {str(number): f"<object {place}>" for place, number in enumerate(ids)}

    def mask(found: re.Match[str]) -> str:
        each = [names.setdefault(one, f"<id {len(names)}>") for one in re.findall(r"\d+", found[0])]
        return ",".join(each)

    return mask


def _sorted_lines(text: str) -> str:
    return "".join(sorted(text.splitlines(keepends=True)))
