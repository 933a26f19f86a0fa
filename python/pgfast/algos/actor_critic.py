"""The loss of an actor-critic on a rollout, and its gradient."""

from __future__ import annotations

from pgfast import losses
from pgfast._typing import FloatArray
from pgfast.algos import advantages
from pgfast.learning.construction import entropy_coef_at
from pgfast.learning.learner import require_finite_loss
from pgfast.learning.settings import ActorCriticSettings
from pgfast.metrics import Metrics
from pgfast.policies import Policy
from pgfast.reduce import Reduce
from pgfast.sampling.batch import Batch
from pgfast.sampling.rollout import Rollout

__all__ = ["differentiate"]


def differentiate(
    policy: Policy,
    batch: Batch,
    rollout: Rollout,
    settings: ActorCriticSettings,
    count: int,
    reduce: Reduce,
    *,
    out: FloatArray,
) -> tuple[Metrics, FloatArray]:
    """Computes -mean(A log pi + entropy_coef H) + value_coef mean((R - V)^2) and its gradient.

    Args:
        policy: with the parameters of the rollout, which has recorded its forward passes.
        batch: all rows of this worker's rollout, with advantages A and returns R.
        rollout: this worker's rollout.
        settings: the coefficients.
        count: the number of valid rows of all workers.
        reduce: the sums over all workers.
        out: ``[P]``, overwritten.

    Returns:
        The metrics of the loss, and the gradient ``[P]``.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    tape = rollout.tape
    log_prob, entropy = tape.evaluate(batch.actions, batch.mask)
    terms, rows = losses.a2c_gradient(
        log_prob,
        batch.advantages,
        entropy,
        batch.returns,
        batch.values,
        entropy_coef_at(settings, rollout.timesteps),
        settings.value_coef,
        batch.valid,
        count=count,
    )
    require_finite_loss(terms[-1], rollout)
    gradient = policy.gradient(tape, batch.actions, rows, mask=batch.mask, out=out)
    terms, mean_entropy, gradient = reduce.sum((terms, batch.sum(entropy) / count, gradient))
    policy_loss, value_loss, _ = terms
    metrics: Metrics = {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": mean_entropy,
        "explained_variance": advantages.explained_variance(batch, count, reduce),
    }
    return metrics, gradient
