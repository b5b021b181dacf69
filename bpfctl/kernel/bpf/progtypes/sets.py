"""Helper sets: what the get_func_proto() functions of the kernel offer, by name.

A set is the union over all releases; ``withheld`` of profiles/programs.toml says what a release
does not have in it yet, or any more. Program types name the sets that they are offered.
"""

from __future__ import annotations

from bpfctl.kernel.bpf.progtypes.decl import CAP_BPF, CAP_PERFMON

CAP_SYS_ADMIN = "sys_admin"

TIER = {
    "base_bpf": CAP_BPF,
    "base_perfmon": CAP_PERFMON,
    "locks": CAP_BPF,
    "sk_perfmon": CAP_PERFMON,
    "tracing_admin": CAP_SYS_ADMIN,
    "syscall_perfmon": CAP_PERFMON,
}
"""Sets that take a capability of the loader; the others take none."""

_NAMES = {
    "base": """
        map_lookup_elem map_update_elem map_delete_elem ktime_get_ns get_prandom_u32
        get_smp_processor_id tail_call get_current_pid_tgid get_current_uid_gid get_numa_node_id
        map_push_elem map_pop_elem map_peek_elem strtol strtoul get_ns_current_pid_tgid
        ktime_get_boot_ns ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard
        ringbuf_query strncmp map_lookup_percpu_elem ktime_get_tai_ns
    """,
    "base_bpf": """
        get_cgroup_classid current_task_under_cgroup get_current_cgroup_id jiffies64
        get_current_ancestor_cgroup_id per_cpu_ptr this_cpu_ptr task_storage_get
        task_storage_delete for_each_map_elem timer_init timer_set_callback timer_start
        timer_cancel loop kptr_xchg dynptr_from_mem ringbuf_reserve_dynptr ringbuf_submit_dynptr
        ringbuf_discard_dynptr dynptr_read dynptr_write dynptr_data user_ringbuf_drain
        cgrp_storage_get cgrp_storage_delete
    """,
    "base_perfmon": """
        trace_printk get_current_comm perf_event_read get_current_task perf_event_read_value
        send_signal probe_read_user probe_read_kernel probe_read_user_str probe_read_kernel_str
        send_signal_thread get_task_stack copy_from_user snprintf_btf get_current_task_btf
        snprintf task_pt_regs get_branch_snapshot trace_vprintk find_vma copy_from_user_task
    """,
    "locks": "spin_lock spin_unlock",
    "sk_perfmon": """
        skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock
        skc_to_udp6_sock skc_to_unix_sock skc_to_mptcp_sock
    """,
    "sk_filter": """
        perf_event_output skb_load_bytes get_socket_cookie get_socket_uid
        skb_load_bytes_relative get_netns_cookie ktime_get_coarse_ns
    """,
    "cgroup_skb": """
        skb_cgroup_id get_local_storage skb_ancestor_cgroup_id sk_lookup_tcp sk_lookup_udp
        sk_release sk_fullsock tcp_sock skb_ecn_set_ce get_listener_sock skc_lookup_tcp
        sk_storage_get sk_storage_delete sk_cgroup_id sk_ancestor_cgroup_id
    """,
    "tc": """
        skb_store_bytes l3_csum_replace l4_csum_replace clone_redirect get_cgroup_classid
        skb_vlan_push skb_vlan_pop skb_get_tunnel_key skb_set_tunnel_key redirect
        get_route_realm perf_event_output skb_load_bytes csum_diff skb_get_tunnel_opt
        skb_set_tunnel_opt skb_change_proto skb_change_type skb_under_cgroup get_hash_recalc
        skb_change_tail skb_pull_data csum_update set_hash_invalid skb_change_head
        get_socket_cookie get_socket_uid set_hash skb_adjust_room skb_get_xfrm_state
        skb_load_bytes_relative fib_lookup skb_cgroup_id skb_ancestor_cgroup_id sk_lookup_tcp
        sk_lookup_udp sk_release sk_fullsock tcp_sock skb_ecn_set_ce get_listener_sock
        skc_lookup_tcp tcp_check_syncookie sk_storage_get sk_storage_delete tcp_gen_syncookie
        get_netns_cookie sk_assign csum_level skb_cgroup_classid redirect_neigh redirect_peer
        ktime_get_coarse_ns check_mtu skb_set_tstamp tcp_raw_gen_syncookie_ipv4
        tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6
    """,
    "lwt": """
        get_cgroup_classid get_route_realm perf_event_output skb_load_bytes csum_diff
        skb_under_cgroup get_hash_recalc ktime_get_coarse_ns
    """,
    "lwt_in": "skb_pull_data lwt_push_encap",
    "lwt_out": "skb_pull_data",
    "lwt_xmit": """
        skb_store_bytes l3_csum_replace l4_csum_replace clone_redirect skb_get_tunnel_key
        skb_set_tunnel_key redirect skb_get_tunnel_opt skb_set_tunnel_opt skb_change_tail
        skb_pull_data csum_update set_hash_invalid skb_change_head lwt_push_encap csum_level
    """,
    "lwt_seg6local": """
        skb_pull_data lwt_seg6_store_bytes lwt_seg6_adjust_srh lwt_seg6_action
    """,
    "sk_skb": """
        skb_store_bytes perf_event_output skb_load_bytes skb_change_tail skb_pull_data
        skb_change_head get_socket_cookie get_socket_uid skb_adjust_room sk_redirect_map
        sk_redirect_hash sk_lookup_tcp sk_lookup_udp sk_release skc_lookup_tcp
        ktime_get_coarse_ns
    """,
    "flow_dissector": "skb_load_bytes ktime_get_coarse_ns",
    "xdp": """
        redirect perf_event_output csum_diff xdp_adjust_head redirect_map xdp_adjust_meta
        xdp_adjust_tail fib_lookup sk_lookup_tcp sk_lookup_udp sk_release skc_lookup_tcp
        tcp_check_syncookie tcp_gen_syncookie ktime_get_coarse_ns check_mtu xdp_get_buff_len
        xdp_load_bytes xdp_store_bytes tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6
        tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6
    """,
    "tracing": """
        probe_read trace_printk get_current_pid_tgid get_current_uid_gid get_current_comm
        perf_event_read perf_event_output get_stackid get_current_task current_task_under_cgroup
        probe_read_str perf_event_read_value get_stack get_current_cgroup_id spin_lock
        spin_unlock strtol strtoul send_signal probe_read_user probe_read_kernel
        probe_read_user_str probe_read_kernel_str send_signal_thread jiffies64
        get_ns_current_pid_tgid get_current_ancestor_cgroup_id get_task_stack copy_from_user
        snprintf_btf per_cpu_ptr this_cpu_ptr task_storage_get task_storage_delete
        get_current_task_btf snprintf get_func_ip task_pt_regs get_branch_snapshot trace_vprintk
        find_vma copy_from_user_task
    """,
    "tracing_admin": "probe_write_user",
    "attach_cookie": "get_attach_cookie",
    "kprobe": "override_return",
    "perf_event": "perf_prog_read_value read_branch_records",
    "raw_tracepoint": "get_attach_cookie",
    "tracing_prog": """
        get_socket_cookie sk_storage_get sk_storage_delete skb_output xdp_output
        skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock
        skc_to_udp6_sock d_path sock_from_file skc_to_unix_sock xdp_get_buff_len
        skc_to_mptcp_sock
    """,
    "iter": "seq_printf seq_write seq_printf_btf",
    "trampoline": "get_func_arg get_func_ret get_func_arg_cnt",
    "func_arg_cnt": "get_func_arg_cnt",
    "lsm": """
        sk_storage_get sk_storage_delete inode_storage_get inode_storage_delete bprm_opts_set
        ima_inode_hash ima_file_hash
    """,
    "cgroup_lsm": "get_local_storage get_retval set_retval",
    "syscall_perfmon": "sys_bpf",
    "syscall": "btf_find_by_name_kind sys_close kallsyms_lookup_name",
    "cgroup": """
        get_current_pid_tgid get_current_uid_gid get_current_comm get_cgroup_classid
        perf_event_output current_task_under_cgroup get_current_cgroup_id get_local_storage
        get_current_ancestor_cgroup_id
    """,
    "cgroup_set_retval": "get_retval set_retval",
    "sock": """
        get_current_pid_tgid get_current_comm get_cgroup_classid get_socket_cookie
        sk_storage_get get_netns_cookie get_current_ancestor_cgroup_id ktime_get_coarse_ns
    """,
    "sock_create": "setsockopt getsockopt",
    "sock_addr": """
        get_current_pid_tgid get_current_comm get_cgroup_classid get_socket_cookie sk_lookup_tcp
        sk_lookup_udp sk_release skc_lookup_tcp sk_storage_get sk_storage_delete
        get_netns_cookie get_current_ancestor_cgroup_id ktime_get_coarse_ns
    """,
    "sock_addr_options": "setsockopt getsockopt",
    "sock_addr_connect": "setsockopt getsockopt bind",
    "sysctl": """
        sysctl_get_name sysctl_get_current_value sysctl_get_new_value sysctl_set_new_value
        strtol strtoul ktime_get_coarse_ns
    """,
    "sockopt": "tcp_sock sk_storage_get sk_storage_delete get_netns_cookie",
    "sockopt_set": "setsockopt getsockopt",
    "sock_ops": """
        perf_event_output get_socket_cookie setsockopt sock_map_update getsockopt
        sock_ops_cb_flags_set sock_hash_update get_local_storage tcp_sock sk_storage_get
        sk_storage_delete get_netns_cookie load_hdr_opt store_hdr_opt reserve_hdr_opt
        ktime_get_coarse_ns
    """,
    "sk_msg": """
        get_current_pid_tgid get_current_uid_gid get_cgroup_classid perf_event_output
        msg_redirect_map msg_apply_bytes msg_cork_bytes msg_pull_data msg_redirect_hash
        get_current_cgroup_id msg_push_data msg_pop_data sk_storage_get sk_storage_delete
        get_netns_cookie get_current_ancestor_cgroup_id ktime_get_coarse_ns
    """,
    "sk_reuseport": """
        skb_load_bytes get_socket_cookie skb_load_bytes_relative sk_select_reuseport
        ktime_get_coarse_ns
    """,
    "sk_lookup": "perf_event_output sk_release sk_assign ktime_get_coarse_ns",
    "tcp_ca": """
        setsockopt getsockopt sk_storage_get sk_storage_delete tcp_send_ack ktime_get_coarse_ns
    """,
    "lirc": "rc_repeat rc_keydown rc_pointer_rel",
}

SETS = {name: frozenset(text.split()) for name, text in _NAMES.items()}
