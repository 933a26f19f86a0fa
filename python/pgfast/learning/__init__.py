"""Settings, presets, what is made from them, and the contract of a learner."""
