"""Runs on disk: the directory, checkpoints, model files and progress."""
