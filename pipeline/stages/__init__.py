"""One module a stage: what its units are, and the pure function a worker runs on one of them."""
