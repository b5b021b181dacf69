/* Subprograms of subprograms, one used as a callback, and globals reached from them. */
#include "rec.h"

static long (*loop)(u32 n, void *callback, void *ctx, u64 flags) = (void *)181;

u64 total;
static volatile u32 step = 2;

static NOINLINE int add(u32 v)
{
	total += v * step;
	return 0;
}

static int body(u32 index, void *ctx)
{
	return add(index);
}

NOINLINE int twice(u32 v)
{
	return add(v) + add(v);
}

SEC("tc")
int run(struct __sk_buff *skb)
{
	loop(4, body, 0, 0);
	return twice(skb->len);
}

SEC("?tc")
int optional(struct __sk_buff *skb)
{
	return twice(1);
}

LICENSE("GPL");
