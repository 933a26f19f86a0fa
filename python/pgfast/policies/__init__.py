"""Policies: a network, and the family of action distributions that its outputs parametrize."""

from __future__ import annotations

from pgfast.policies.families import Family, JointFamily, family_of
from pgfast.policies.policy import ActorCritic, CategoricalPolicy, GaussianPolicy, Policy, PolicyStep
from pgfast.policies.tape import PolicyTape

__all__ = [
    "ActorCritic",
    "CategoricalPolicy",
    "Family",
    "GaussianPolicy",
    "JointFamily",
    "Policy",
    "PolicyStep",
    "PolicyTape",
    "family_of",
]


def __dir__() -> list[str]:
    return __all__
