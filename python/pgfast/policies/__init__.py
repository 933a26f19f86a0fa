"""Policies: a network, and the family of action distributions in its outputs."""

from __future__ import annotations

from pgfast.policies.actor_critic import ActorCritic
from pgfast.policies.categorical import CategoricalPolicy
from pgfast.policies.families import CategoricalFamily, Family, GaussianFamily, family_of
from pgfast.policies.gaussian import GaussianPolicy
from pgfast.policies.policy import Policy
from pgfast.policies.tape import PolicyTape

__all__ = [
    "ActorCritic",
    "CategoricalFamily",
    "CategoricalPolicy",
    "Family",
    "GaussianFamily",
    "GaussianPolicy",
    "Policy",
    "PolicyTape",
    "family_of",
]
