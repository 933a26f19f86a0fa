"""Environments: how they are made, seeded and stepped."""

from pgfast.envs.atari import AtariVecEnv
from pgfast.envs.make import make_vec

__all__ = ["AtariVecEnv", "make_vec"]
