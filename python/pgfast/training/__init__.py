"""Training: the loop, and everything a run writes, shows and reads back."""
