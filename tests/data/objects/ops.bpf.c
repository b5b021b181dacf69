/* A table of operations for the kernel, registered with a link. */
#include "rec.h"

struct tcp_congestion_ops {
	void (*init)(void *sk);
	u32 (*ssthresh)(void *sk);
	char name[16];
};

SEC("struct_ops/init")
void quiet_init(void *sk)
{
}

SEC("struct_ops/ssthresh")
u32 quiet_ssthresh(void *sk)
{
	return 2;
}

struct tcp_congestion_ops quiet SEC(".struct_ops.link") = {
	.init = (void *)quiet_init,
	.ssthresh = (void *)quiet_ssthresh,
	.name = "quiet",
};

LICENSE("GPL");
