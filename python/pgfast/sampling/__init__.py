"""Sampling: rollouts, batches, episode statistics and evaluation."""
