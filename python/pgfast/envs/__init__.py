"""Environments: making, seeding and stepping them."""

from pgfast.envs.atari import AtariVecEnv
from pgfast.envs.make import make_vec
from pgfast.envs.point import PointEnv, PointVectorEnv
from pgfast.envs.supersuit import SuperSuitVectorEnv

__all__ = ["AtariVecEnv", "PointEnv", "PointVectorEnv", "SuperSuitVectorEnv", "make_vec"]
