/* Maps that the loader completes: sizes by CPU and page, inner maps, slots, attributes. */
#include "rec.h"

#define ULONG(name, val) enum { name##_value = (val) } name

struct {
	UINT(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	UINT(key_size, 4);
	UINT(value_size, 4);
} events SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_RINGBUF);
	UINT(max_entries, 5000);
} ring SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_BLOOM_FILTER);
	TYPE(value, u32);
	UINT(max_entries, 100);
	ULONG(map_extra, 3);
} bloom SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(key_size, 4);
	UINT(value_size, 16);
	UINT(max_entries, 7);
	UINT(map_flags, BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE);
	UINT(numa_node, 0);
	UINT(pinning, 1);
} a_map_with_a_long_name SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	TYPE(key, u32);
	UINT(max_entries, 4);
	ARRAY(values, struct {
		UINT(type, BPF_MAP_TYPE_RINGBUF);
		UINT(max_entries, 9000);
	});
} rings SEC(".maps") = {
	.values = { [1] = &ring },
};

int first(struct __sk_buff *skb);
int second(struct __sk_buff *skb);

struct {
	UINT(type, BPF_MAP_TYPE_PROG_ARRAY);
	UINT(key_size, 4);
	UINT(max_entries, 3);
	ARRAY(values, int (void *));
} jumps SEC(".maps") = {
	.values = { [0] = (void *)&first, [2] = (void *)&second },
};

SEC("tc")
int first(struct __sk_buff *skb)
{
	tail_call(skb, &jumps, 2);
	return 0;
}

SEC("tc")
int second(struct __sk_buff *skb)
{
	u32 key = 1;

	return map_lookup(&a_map_with_a_long_name, &key) != 0;
}

LICENSE("GPL");
