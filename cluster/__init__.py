"""Where it runs: sessions, the politeness desk, and keeping the workers' rooms the same as ours."""
