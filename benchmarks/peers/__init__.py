"""The libraries and hand-written programs to which pgfast is compared."""
