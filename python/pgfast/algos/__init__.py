"""The algorithms, one file each."""

from pgfast.algos.a2c import A2C, A2CSettings

__all__ = ["A2C", "A2CSettings"]
