"""What the hardware allows, measured in the run that it is held against."""
