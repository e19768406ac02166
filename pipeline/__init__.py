"""What happens, and in what order: cli, run, plan, ledger, stores, sources, stages, report and sandbox."""
