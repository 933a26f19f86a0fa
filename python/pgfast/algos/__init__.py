"""The algorithms, one file each."""

from pgfast.algos.a2c import A2C, A2CSettings
from pgfast.algos.npg import NPG, NPGSettings
from pgfast.algos.trpo import TRPO, TRPOSettings
from pgfast.algos.vpg import VPG, VPGSettings

__all__ = ["A2C", "NPG", "TRPO", "VPG", "A2CSettings", "NPGSettings", "TRPOSettings", "VPGSettings"]
