"""The commands of bpf(2): where the function of each is, imported with the first call.

Every function takes the kernel, the calling task and the command's attributes.
"""

from __future__ import annotations

from bpfctl.uapi import Cmd

COMMANDS: dict[Cmd, str] = {
    Cmd.OBJ_PIN: "bpf.syscall:obj_pin",
    Cmd.OBJ_GET: "bpf.syscall:obj_get",
    Cmd.OBJ_GET_INFO_BY_FD: "bpf.syscall:get_info_by_fd",
    Cmd.MAP_GET_FD_BY_ID: "bpf.syscall:map_get_fd_by_id",
    Cmd.MAP_GET_NEXT_ID: "bpf.syscall:map_get_next_id",
    Cmd.PROG_GET_FD_BY_ID: "bpf.syscall:prog_get_fd_by_id",
    Cmd.PROG_GET_NEXT_ID: "bpf.syscall:prog_get_next_id",
    Cmd.BTF_GET_FD_BY_ID: "bpf.syscall:btf_get_fd_by_id",
    Cmd.BTF_GET_NEXT_ID: "bpf.syscall:btf_get_next_id",
    Cmd.LINK_GET_FD_BY_ID: "bpf.syscall:link_get_fd_by_id",
    Cmd.LINK_GET_NEXT_ID: "bpf.syscall:link_get_next_id",
    Cmd.MAP_CREATE: "bpf.map_create:map_create",
    Cmd.MAP_LOOKUP_ELEM: "bpf.elem:map_lookup_elem",
    Cmd.MAP_UPDATE_ELEM: "bpf.elem:map_update_elem",
    Cmd.MAP_DELETE_ELEM: "bpf.elem:map_delete_elem",
    Cmd.MAP_GET_NEXT_KEY: "bpf.elem:map_get_next_key",
    Cmd.MAP_LOOKUP_AND_DELETE_ELEM: "bpf.elem:map_lookup_and_delete_elem",
    Cmd.MAP_FREEZE: "bpf.elem:map_freeze",
    Cmd.MAP_LOOKUP_BATCH: "bpf.batch:map_lookup_batch",
    Cmd.MAP_LOOKUP_AND_DELETE_BATCH: "bpf.batch:map_lookup_and_delete_batch",
    Cmd.MAP_UPDATE_BATCH: "bpf.batch:map_update_batch",
    Cmd.MAP_DELETE_BATCH: "bpf.batch:map_delete_batch",
    Cmd.PROG_LOAD: "bpf.prog_load:load",
    Cmd.PROG_BIND_MAP: "bpf.prog_load:prog_bind_map",
    Cmd.PROG_TEST_RUN: "bpf.test_run:prog_test_run",
    Cmd.ENABLE_STATS: "bpf.stats:enable_stats",
    Cmd.BTF_LOAD: "bpf.btf:btf_load",
    Cmd.PROG_ATTACH: "attach.syscall:prog_attach",
    Cmd.PROG_DETACH: "attach.syscall:prog_detach",
    Cmd.PROG_QUERY: "attach.syscall:prog_query",
    Cmd.LINK_CREATE: "attach.syscall:link_create",
    Cmd.LINK_UPDATE: "attach.syscall:link_update",
    Cmd.LINK_DETACH: "attach.syscall:link_detach",
}
