/* Packets counted by IP protocol: at XDP, and at the two ends of a device. */
#include "rec.h"

#define ETH_HLEN 14
#define ETH_P_IP_BE 0x0008
#define IP_PROTOCOL 9

struct {
	UINT(type, BPF_MAP_TYPE_ARRAY);
	TYPE(key, u32);
	TYPE(value, u64);
	UINT(max_entries, 256);
} protocols SEC(".maps");

INLINE void count(u32 protocol)
{
	u64 *seen = map_lookup(&protocols, &protocol);

	if (seen)
		__sync_fetch_and_add(seen, 1);
}

INLINE u32 protocol_of(const u8 *data, const u8 *end)
{
	if (data + ETH_HLEN + IP_PROTOCOL + 1 > end)
		return 0;
	if (*(u16 *)(data + 12) != ETH_P_IP_BE)
		return 0;
	return data[ETH_HLEN + IP_PROTOCOL];
}

SEC("xdp")
int count_drop(struct xdp_md *ctx)
{
	count(protocol_of((void *)(long)ctx->data, (void *)(long)ctx->data_end));
	return XDP_DROP;
}

SEC("xdp")
int count_pass(struct xdp_md *ctx)
{
	count(protocol_of((void *)(long)ctx->data, (void *)(long)ctx->data_end));
	return XDP_PASS;
}

SEC("tc")
int count_tc(struct __sk_buff *skb)
{
	count(protocol_of((void *)(long)skb->data, (void *)(long)skb->data_end));
	return 0;
}

LICENSE("GPL");
