/* Externs: kernel configuration, a kernel variable and a kernel function. */
#include "rec.h"

enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };

extern u32 LINUX_KERNEL_VERSION SEC(".kconfig");
extern _Bool CONFIG_BPF SEC(".kconfig");
extern enum libbpf_tristate CONFIG_BPFILTER SEC(".kconfig") __attribute__((weak));
extern u64 CONFIG_HZ SEC(".kconfig");
extern char CONFIG_LOCALVERSION[20] SEC(".kconfig");

extern const int bpf_prog_active SEC(".ksyms");
extern void bpf_rcu_read_lock(void) SEC(".ksyms");

SEC("raw_tp/sys_enter")
int configured(void *ctx)
{
	bpf_rcu_read_lock();
	if (CONFIG_BPF && CONFIG_BPFILTER == TRI_NO)
		return LINUX_KERNEL_VERSION + CONFIG_HZ;
	return CONFIG_LOCALVERSION[0] + (int)(long)&bpf_prog_active;
}

LICENSE("GPL");
