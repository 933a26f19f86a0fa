"""Settings of a training, and what an algorithm must offer to be trained."""
