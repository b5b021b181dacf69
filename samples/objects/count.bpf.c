/* Counts packets by the upper byte of their EtherType, and tells the trace pipe of each. */
#include "rec.h"

static long (*trace_printk)(const char *fmt, u32 size, ...) = (void *)6;

struct {
	UINT(type, BPF_MAP_TYPE_ARRAY);
	TYPE(key, u32);
	TYPE(value, u64);
	UINT(max_entries, 256);
} packets SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	u8 *data = (void *)(long)ctx->data;
	u8 *end = (void *)(long)ctx->data_end;
	char fmt[] = "%d bytes, type %x";
	u32 kind;
	u64 *seen;

	if (data + 14 > end)
		return XDP_DROP;
	kind = data[12];
	seen = map_lookup(&packets, &kind);
	if (seen)
		__sync_fetch_and_add(seen, 1);
	trace_printk(fmt, sizeof(fmt), (u32)(end - data), kind << 8 | data[13]);
	return XDP_PASS;
}

LICENSE("GPL");
