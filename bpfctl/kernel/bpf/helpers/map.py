"""Elements of maps (kernel/bpf/helpers.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

declare(
    1, "map_lookup_elem", Ret.MAP_VALUE_OR_NULL, (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY),
    pkt_access=True,
)  # fmt: skip
declare(
    2, "map_update_elem", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY, Arg.PTR_TO_MAP_VALUE, Arg.ANYTHING),
    pkt_access=True,
)  # fmt: skip
declare(3, "map_delete_elem", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY), pkt_access=True)
declare(
    87, "map_push_elem", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_VALUE, Arg.ANYTHING),
    pkt_access=True,
)  # fmt: skip
declare(88, "map_pop_elem", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.PTR_TO_UNINIT_MAP_VALUE))
declare(89, "map_peek_elem", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.PTR_TO_UNINIT_MAP_VALUE))
declare(
    195, "map_lookup_percpu_elem", Ret.MAP_VALUE_OR_NULL,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY, Arg.ANYTHING), pkt_access=True,
)  # fmt: skip
