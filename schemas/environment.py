"""Environment of the processes that compute: workers and trainers."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(512 << 20)}
"""How much memory [byte] glibc keeps for the next step instead of giving it back to the kernel.

With glibc's own thresholds (and Dask's, which are lower) each step of a network takes its tensors from the kernel anew,
and page faults cost as much as the arithmetic (``docs/decisions/0010-memory-of-a-step.md``).
"""
