"""Training: a start from the data, a compiled loop, checkpoints."""
