"""Where programs are attached: the lists at each hook, links, and the rules of both.

A hook is a place that fires (an attach type of a cgroup, XDP on a device, a tracepoint); a target
is the thing it is on (a cgroup, a device, nothing). What is attached is rows of the state, so it
is there in the next command.
"""
