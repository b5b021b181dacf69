"""What maps and programs cost: boot kernels in memory, create the objects, read the counters."""
