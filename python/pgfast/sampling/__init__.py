"""Rollouts: how a policy plays in environments, and what is kept of it."""
