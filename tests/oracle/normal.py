"""Take out of bpftool's output what two right answers may differ in.

The recordings are of bpftool 7.1.0; bpfctl answers as 7.5 does. What differs between these two
versions is dropped from both sides, and nothing else:

- the program's name in usage texts and in the version: 7.1 prints argv[0];
- version numbers and the list of build features; the recorded build has no skeletons, so it does
  not say which processes hold an object (``pids``);
- programs that lost their device: 7.1 has no ``orphaned``;
- a map type that 7.1 does not know yet is a number there;
- in usage texts the lists of map types and of options, and the word for an offload device.

Also free are ids, load times, and the order of the elements of a hash in a dump. An id of one of
the case's objects becomes its place in the list of objects, so that a wrong object still shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bpfctl.uapi import MAP_TYPE_NUMBER, MAP_TYPES

# Where ids stand, and of what kind they are ("" is what the command is about: map or prog).
ID_PLACES = tuple(
    (re.compile(pattern, re.M), kind)
    for pattern, kind in (
        (r"^\d+(?=: )", ""),
        (r'(?<=[{\s]"id":)\s*\d+', ""),
        (r"(?<= map_ids )[\d,]+", "map"),
        (r'(?<="map_ids":)\s*\[[\d,\s]+\]', "map"),
        (r"(?<=\bbtf_id )\d+", "btf"),
        (r'(?<="btf_id":)\s*\d+', "btf"),
    )
)

MASKS = tuple(
    (re.compile(pattern, re.M | re.S), mask)
    for pattern, mask in (
        (r"\n\tpids [^\n]*", ""),
        (r',\s*"pids":\s*\[[^\]]*\]', ""),
        (r',\s*"orphaned":\s*false', ""),
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

# A map type unknown to bpftool 7.1, plain and JSON.
NEW_TYPES = (
    (re.compile(r"(?<=: )type (\d+)(?=  )"), "{}"),
    (re.compile(r'(?<="type":)(\s*)(\d+)(?=,)'), '{}"{}"'),
)
FIRST_NEW_TYPE = MAP_TYPE_NUMBER["cgrp_storage"]

HASH_ROWS = re.compile(r"(?:^key: .*  value: .*\n)+", re.M)


def normal(result: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """Return status and output of a bpftool case, with ``ids`` of its objects masked."""
    if "rc" not in result:
        return result
    about = "prog" if "prog" in spec["args"].split() else "map"
    names = {
        ("prog" if made.get("isprog") else "map", str(number)): f"<object {place}>"
        for place, (made, number) in enumerate(zip(spec["objects"], result["ids"], strict=False))
    }

    def mask_ids(kind: str) -> Callable[[re.Match[str]], str]:
        def mask(found: re.Match[str]) -> str:
            ids = [(kind, number) for number in re.findall(r"\d+", found[0])]
            return ",".join(names.setdefault(each, f"<{kind} {len(names)}>") for each in ids)

        return mask

    made = ["ok" if isinstance(number, int) else number for number in result["ids"]]
    flat = {"rc": result["rc"], "objects": made}
    for stream in ("stdout", "stderr"):
        text = result[stream]
        for place, kind in ID_PLACES:
            text = place.sub(mask_ids(kind or about), text)
        for pattern, mask in MASKS:
            text = pattern.sub(mask, text)
        for pattern, shape in NEW_TYPES:
            text = pattern.sub(_type_name(shape), text)
        flat[stream] = HASH_ROWS.sub(lambda rows: _sorted_lines(rows[0]), text)
    return flat


def _type_name(shape: str) -> Callable[[re.Match[str]], str]:
    def name(found: re.Match[str]) -> str:
        *before, number = found.groups()
        if FIRST_NEW_TYPE <= int(number) < len(MAP_TYPES):
            return shape.format(*before, MAP_TYPES[int(number)])
        return found[0]

    return name


def _sorted_lines(text: str) -> str:
    return "".join(sorted(text.splitlines(keepends=True)))
