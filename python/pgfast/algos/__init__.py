"""The algorithms, one file each: the settings, and a learner whose ``update`` follows the paper from top to bottom."""

from pgfast.algos.a2c import A2CLearner, A2CSettings
from pgfast.algos.acktr import ACKTRLearner, ACKTRSettings
from pgfast.algos.npg import NPGLearner, NPGSettings
from pgfast.algos.ppo import PPOLearner, PPOSettings
from pgfast.algos.trpo import TRPOLearner, TRPOSettings
from pgfast.algos.vpg import VPGLearner, VPGSettings

__all__ = [
    "A2CLearner",
    "A2CSettings",
    "ACKTRLearner",
    "ACKTRSettings",
    "NPGLearner",
    "NPGSettings",
    "PPOLearner",
    "PPOSettings",
    "TRPOLearner",
    "TRPOSettings",
    "VPGLearner",
    "VPGSettings",
]
