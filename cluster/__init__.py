"""Where it runs: sessions, groups, the politeness desk, and keeping the workers' rooms the same as ours."""
