/* The map definitions of loaders before BTF, in a section called "maps". */
#include "rec.h"

struct bpf_map_def {
	unsigned int type;
	unsigned int key_size;
	unsigned int value_size;
	unsigned int max_entries;
	unsigned int map_flags;
#ifdef TAIL
	unsigned int inner_map_idx;
	unsigned int numa_node;
#endif
};

struct bpf_map_def SEC("maps") counts = {
	.type = BPF_MAP_TYPE_PERCPU_ARRAY,
	.key_size = 4,
	.value_size = 8,
	.max_entries = 256,
#ifdef TAIL
	.numa_node = TAIL,
#endif
};

struct bpf_map_def SEC("maps") flows = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = 4,
	.value_size = 8,
	.max_entries = 1024,
	.map_flags = BPF_F_NO_PREALLOC,
};

struct ____btf_map_flows {
	u32 key;
	u64 value;
};
struct ____btf_map_flows __attribute__((section(".maps.flows"), used)) ____btf_map_flows = {};

SEC("xdp_count")
int count(struct xdp_md *ctx)
{
	u32 key = 0;
	u64 *value = map_lookup(&flows, &key);

	if (!value)
		value = map_lookup(&counts, &key);
	return value ? XDP_PASS : XDP_DROP;
}

LICENSE("GPL");
