"""Reports of a run: progress, curves, videos."""
