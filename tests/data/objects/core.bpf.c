/* CO-RE relocations of every kind against the kernel's types. */
#define __section(name) __attribute__((section(name), used))
#define core __attribute__((preserve_access_index))
typedef unsigned int u32;
typedef unsigned long long u64;

struct task_struct { int pid; int tgid; int no_such_field; struct task_struct *group_leader; } core;
struct task_struct___old { long state; } core;
struct task_struct___new { unsigned int __state; } core;
struct iphdr { unsigned char ihl : 4; unsigned char version : 4; } core;
struct no_such_struct { int a; } core;
enum bpf_map_type { BPF_MAP_TYPE_HASH = 77, BPF_MAP_TYPE_NONE_SUCH = 99 };

static long (*probe_read_kernel)(void *dst, u32 size, const void *src) = (void *)113;
static void *(*get_current_task)(void) = (void *)35;

#define OFFSET 0
#define SIZE 1
#define EXISTS 2
#define SIGNED 3
#define LSHIFT 4
#define RSHIFT 5

__section("raw_tp/sys_enter") int fields(void *ctx)
{
	struct task_struct *t = get_current_task();
	u64 sum = 0;
	int pid = 0;

	probe_read_kernel(&pid, sizeof(pid), &t->pid);
	sum += pid;
	sum += __builtin_preserve_field_info(t->group_leader, SIZE);
	sum += __builtin_preserve_field_info(t->pid, SIGNED);
	sum += __builtin_preserve_field_info(((struct task_struct___new *)t)->__state, EXISTS) * 1000;
	sum += __builtin_preserve_field_info(((struct task_struct___old *)t)->state, EXISTS) * 2000;
	sum += __builtin_preserve_field_info(((struct iphdr *)t)->version, LSHIFT);
	sum += __builtin_preserve_field_info(((struct iphdr *)t)->version, RSHIFT);
	return sum;
}

__section("raw_tp/sys_exit") int types(void *ctx)
{
	return __builtin_preserve_type_info(*(struct task_struct *)0, 0) +
	       __builtin_preserve_type_info(*(struct no_such_struct *)0, 0) * 10 +
	       __builtin_preserve_type_info(*(struct task_struct *)0, 1) +
	       __builtin_preserve_enum_value(*(enum bpf_map_type *)BPF_MAP_TYPE_HASH, 1) +
	       __builtin_preserve_enum_value(*(enum bpf_map_type *)BPF_MAP_TYPE_NONE_SUCH, 0) * 100;
}

__section("raw_tp/guarded") int guarded(void *ctx)
{
	struct task_struct *t = get_current_task();
	int value = 0;

	if (__builtin_preserve_field_info(t->no_such_field, EXISTS))
		probe_read_kernel(&value, sizeof(value), &t->no_such_field);
	return value;
}

__section("?raw_tp/missing") int missing(void *ctx)
{
	struct task_struct *t = get_current_task();
	int value = 0;

	probe_read_kernel(&value, sizeof(value), &t->no_such_field);
	return value;
}

char _license[] __section("license") = "GPL";
