"""Runs on disk: the session, its directory, checkpoints, model files and progress."""
