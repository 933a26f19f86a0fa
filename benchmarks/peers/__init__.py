"""The libraries and hand-written programs that pgfast is measured against."""
