"""Environments: how they are made, seeded and stepped. Importing this registers ``pgfast/Point-v0``."""

from pgfast.envs.atari import AtariVecEnv
from pgfast.envs.make import make_vec
from pgfast.envs.point import PointEnv, PointVectorEnv

__all__ = ["AtariVecEnv", "PointEnv", "PointVectorEnv", "make_vec"]
