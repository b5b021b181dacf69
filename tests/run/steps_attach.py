"""Attaching programs: BPF_PROG_ATTACH, DETACH, QUERY, links, raw tracepoints."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError, errno_name
from bpfctl.uapi import Cmd, FdAttr
from bpfctl.uapi_attach import (
    ATTACH_TYPES,
    LINK_TYPES,
    LinkCreateAttr,
    LinkInfo,
    LinkUpdateAttr,
    ProgAttachAttr,
    ProgQueryAttr,
)

if TYPE_CHECKING:
    from run.lab import Lab

INFO_BYTES = {"5.10": 32, "6.1": 48}
NEW_INFO_BYTES = 64
ROOM = 64
UNWRITTEN = 0xFFFFFFFF
DIRECTORIES = {"cg": "/cg", "sub": "/cg/sub", "leaf": "/cg/sub/leaf"}
SUBJECT_IDS = ("link_id", "prog_id", "map_id", "cgroup_id", "netns_ino")


def target(lab: Lab, word: str | int) -> int:
    """Return the descriptor or number that a target is."""
    if isinstance(word, int):
        return word
    kind, colon, name = word.partition(":")
    if colon:
        return lab.named(kind, name)
    if word not in lab.things:
        lab.things[word] = _open(lab, word)
    return int(lab.things[word])


def _open(lab: Lab, word: str) -> int:
    objects = lab.kernel.objects
    if word == "netns":
        found = objects.find_or_create("netns", "init")
    else:
        for path in DIRECTORIES.values():
            found = objects.find_or_create("cgroup", path)
            if path == DIRECTORIES[word]:
                break
    return objects.open(lab.pid, found.id)


def _type(word: str | int) -> int:
    if isinstance(word, int):
        return word
    for number, entry in enumerate(ATTACH_TYPES):
        if word in (entry.name, entry.old_name):
            return number
    raise KeyError(word)


def _prog(lab: Lab, number: int | None) -> int:
    return 0 if number is None else lab.prog_fd(number)


def _attach_attr(lab: Lab, step: dict[str, Any]) -> ProgAttachAttr:
    attr = ProgAttachAttr(
        target(lab, step["target"]), _prog(lab, step.get("prog")), _type(step["type"]),
        step.get("flags", 0), expected_revision=step.get("revision", 0),
    )  # fmt: skip
    if step.get("replace") is not None:
        attr.replace_bpf_fd = lab.prog_fd(step["replace"])
    if "relative" in step:
        attr.relative = _relative(lab, step["relative"])
    return attr


def _relative(lab: Lab, word: str | int) -> int:
    return word if isinstance(word, int) else lab.named(*word.split(":"))


def attach(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    lab.bpf(Cmd.PROG_ATTACH, _attach_attr(lab, step))
    return {}


def detach(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    lab.bpf(Cmd.PROG_DETACH, _attach_attr(lab, step))
    return {}


def query(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    room = step.get("max", ROOM)
    attr = ProgQueryAttr(
        target(lab, step["target"]), _type(step["type"]), step.get("flags", 0), room,
        want_prog_ids=step.get("arrays", 1) != 0,
        want_prog_attach_flags=bool(step.get("pflags")), want_link_ids=bool(step.get("links")),
    )  # fmt: skip
    found = lab.bpf(Cmd.PROG_QUERY, attr)
    names = {lab.prog_id(number): f"p{number}" for number in lab.progs}
    shown = min(found.prog_cnt, room)
    ids = [*found.prog_ids, *[UNWRITTEN] * (shown - len(found.prog_ids))]
    answer: dict[str, Any] = {
        "attach_flags": found.attach_flags, "cnt": found.prog_cnt,
        "progs": [names.get(prog_id, prog_id) for prog_id in ids],
    }  # fmt: skip
    if step.get("pflags"):
        answer["prog_flags"] = list(found.prog_attach_flags)
    if step.get("links"):
        answer["links"] = [_link_word(lab, link_id) for link_id in found.link_ids]
        answer["links"] += [0] * (shown - len(found.link_ids))
    if found.revision:
        answer["revision"] = found.revision
    if found.errno:
        answer["err"] = errno_name(found.errno)
    return answer


def _link_word(lab: Lab, link_id: int) -> str | int:
    for number, fd in enumerate(_links(lab)):
        if fd is not None and lab.kernel.files.get(lab.pid, fd).obj_id == link_id:
            return f"l{number}"
    return link_id


# --- links ------------------------------------------------------------------------


def _links(lab: Lab) -> list[int | None]:
    found: list[int | None] = lab.things.setdefault("links", [])
    return found


def link_fd(lab: Lab, number: int) -> int:
    """Return the descriptor of a link by number of creation.

    :raises KernelError: EBADF: its creation failed.
    """
    from run.lab import NoObject

    links = _links(lab)
    if number >= len(links):
        raise NoObject(f"link {number}")
    fd = links[number]
    if fd is None:
        raise KernelError(E.BADF, f"link {number}")
    return fd


def keep_link(lab: Lab, step: dict[str, Any], cmd: Cmd, attr: Any) -> dict[str, Any]:
    """Create a link and number it; with ``slot`` also one that fails keeps its number."""
    try:
        fd = lab.bpf(cmd, attr)
    except KernelError:
        if step.get("slot"):
            _links(lab).append(None)
        raise
    _links(lab).append(fd)
    return {}


def link(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    attr = LinkCreateAttr(
        _prog(lab, step.get("prog")), target(lab, step.get("target", 0)), _type(step["type"]),
        step.get("flags", 0), expected_revision=step.get("revision", 0),
    )  # fmt: skip
    if "relative" in step:
        attr.relative = _relative(lab, step["relative"])
    if "rel_link" in step:
        attr.relative = link_fd(lab, step["rel_link"])
    return keep_link(lab, step, Cmd.LINK_CREATE, attr)


def link_update(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    old = step.get("old")
    attr = LinkUpdateAttr(
        link_fd(lab, step.get("link", 0)), lab.prog_fd(step["prog"]), step.get("flags", 0),
        0 if old is None else lab.prog_fd(old),
    )  # fmt: skip
    lab.bpf(Cmd.LINK_UPDATE, attr)
    return {}


def link_detach(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    lab.bpf(Cmd.LINK_DETACH, FdAttr(link_fd(lab, step.get("link", 0))))
    return {}


def link_close(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    number = step.get("link", 0)
    lab.kernel.close(lab.pid, link_fd(lab, number))
    _links(lab)[number] = None
    return {}


def link_info(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    info: LinkInfo = lab.bpf(Cmd.OBJ_GET_INFO_BY_FD, FdAttr(link_fd(lab, step.get("link", 0))))
    names = {lab.prog_id(number): f"p{number}" for number in lab.progs}
    answer: dict[str, Any] = {
        "type": LINK_TYPES[info.type], "prog": names.get(info.prog_id, hex(info.prog_id)),
        "id_nonzero": int(info.id > 0), "info_len": INFO_BYTES.get(lab.line.kernel, NEW_INFO_BYTES),
    }  # fmt: skip
    details = dict(info.details)
    if "cgroup_id" in details:
        answer["cgroup"] = _cgroup_word(lab, details.pop("cgroup_id"))
    if "ifindex" in details:
        answer["if"] = _device_word(lab, details.pop("ifindex"))
    return {**answer, **details}


def _cgroup_word(lab: Lab, cgroup_id: int) -> str:
    found = lab.kernel.memcg.find(cgroup_id)
    words = {path: word for word, path in DIRECTORIES.items()}
    return words.get(found.path, "other") if found is not None else "none"


def _device_word(lab: Lab, ifindex: int) -> str:
    if not ifindex:
        return "none"
    for name in ("lo", "v0", "v1", "v2", "v3"):
        try:
            if lab.named("if", name) == ifindex:
                return name
        except KernelError:
            continue
    return "other"


def fdinfo(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    try:
        fd = link_fd(lab, step.get("link", 0))
    except KernelError:
        return {"err": "ENOENT"}  # there is no such file in /proc
    lines = [f"{key}:\t{value}" for key, value in lab.kernel.fdinfo(lab.pid, fd).items()]
    ids = "|".join(SUBJECT_IDS)
    return {"lines": [re.sub(rf"^({ids}):\t.*", r"\1:\t<n>", line) for line in lines]}


STEPS = {
    step.__name__: step
    for step in (
        attach, detach, query, link, link_update, link_detach, link_close,
        link_info, fdinfo,
    )
}  # fmt: skip
