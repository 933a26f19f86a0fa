"""Training: the loop, the trainer that it drives, and signals."""
