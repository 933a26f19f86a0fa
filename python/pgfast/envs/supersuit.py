"""SuperSuit's vector environments, whose rows are the agents of PettingZoo environments, in Gymnasium's form."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from pgfast._typing import Array

__all__ = ["SuperSuitVectorEnv"]


class SuperSuitVectorEnv(VectorEnv[Any, Any, Any]):
    """A vector environment of SuperSuit: all agents of parallel PettingZoo environments act by one policy.

    SuperSuit's classes hold the spaces of one agent and a list of infos. They reset when all agents of a PettingZoo
    environment have ended, and keep the last observation of an agent in its info.

    Args:
        env: what ``supersuit.pettingzoo_env_to_vec_env_v1`` or ``supersuit.concat_vec_envs_v1`` returns.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        self.env = env
        self.metadata = {**env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = env.render_mode
        self.num_envs = env.num_envs
        self.single_observation_space, self.single_action_space = env.observation_space, env.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts new episodes; ``seed`` is one number."""
        observations, _ = self.env.reset(seed=seed, options=options)
        return observations, {}

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Infos hold ``"final_obs"`` if episodes have ended, and nothing else."""
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        terminated, truncated = np.asarray(terminated, np.bool_), np.asarray(truncated, np.bool_)
        ended = terminated | truncated
        if not ended.any():
            return observations, rewards, terminated, truncated, {}
        final = np.empty(self.num_envs, object)
        for agent in np.flatnonzero(ended):
            final[agent] = infos[agent]["terminal_observation"]  # type: ignore[index]
        return observations, rewards, terminated, truncated, {"final_obs": final, "_final_obs": ended}

    def render(self) -> Any:
        """A picture of the first PettingZoo environment."""
        return self.env.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Closes SuperSuit's environments."""
        self.env.close()
