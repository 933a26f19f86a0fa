"""Environments in processes of their own, which may crash or hang without taking the training with them."""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import CloudpickleWrapper, batch_space

from pgfast._typing import Array, BoolArray
from pgfast.envs.failures import EnvironmentFailure
from pgfast.envs.seeding import environment_seeds

__all__ = ["START_SECONDS", "WorkerVectorEnv"]

_PATIENCE = 5.0  # seconds that a worker has to end by itself
START_SECONDS = 60.0  # at least, to make an environment where steps have a timeout: it may import a lot


class WorkerVectorEnv(VectorEnv[Array, Array, Array]):
    """A vector environment of worker processes, one environment each; autoreset mode NEXT_STEP.

    In place of Gymnasium's ``AsyncVectorEnv`` because that one cannot replace a worker. Here one that raises, dies,
    gives what its spaces do not have, or takes longer than ``timeout`` seconds for a step or a reset is replaced, up to
    ``max_restarts`` times altogether. The row then holds the first observation of a new game, seeded from the
    worker's own seed and the number of the restart; its reward is 0, and ``infos["restarted"]`` ``[N]`` is true.
    Without restarts left :class:`~pgfast.envs.failures.EnvironmentFailure` is raised.

    Workers end when their parent does, however it ends. Infos of the environments stay in their processes.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reports": ("restarted",)}  # noqa: RUF012 - as Gymnasium does

    def __init__(
        self,
        factory: Callable[[], gymnasium.Env[Any, Any]],
        num_envs: int,
        *,
        timeout: float | None = None,
        max_restarts: int = 0,
    ) -> None:
        self.num_envs = num_envs
        self._factory = CloudpickleWrapper(factory)
        self._timeout = timeout
        self._restarts_left = max_restarts
        self._restarts = 0
        self._steps = 0
        self._seeds: list[int | None] = [None] * num_envs
        self._over = np.zeros(num_envs, np.bool_)
        self._workers: list[_Worker] = []
        try:
            self._workers += [_Worker(self._factory) for _ in range(num_envs)]
            deadline = None if timeout is None else time.monotonic() + max(timeout, START_SECONDS)
            found = [self._answer(index, deadline) for index in range(num_envs)]
        except BaseException:
            self.close()
            raise
        self.single_observation_space, self.single_action_space, self.render_mode = found[0]
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Resets every environment; ``seed`` is one per environment, or one from which environment i gets seed + i."""
        if isinstance(seed, int):
            seed = [seed + i for i in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        self._seeds = [own if given is None else given for own, given in zip(self._seeds, seeds, strict=True)]
        self._over[:] = False
        replies, _ = self._ask([("reset", given) for given in seeds])
        return np.stack([observation for observation, *_ in replies]), {}

    def step(self, actions: Array) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """One step of every environment; one whose episode has ended is reset instead."""
        self._steps += 1
        requests: list[tuple[str, Any]] = [
            ("reset", None) if over else ("step", action) for over, action in zip(self._over, actions, strict=True)
        ]
        replies, restarted = self._ask(requests)
        observations, rewards, *ends = zip(*replies, strict=True)
        terminated, truncated = np.array(ends, np.bool_)
        self._over = terminated | truncated
        return np.stack(observations), np.array(rewards), terminated, truncated, {"restarted": restarted}

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers; those that do not listen are killed."""
        for worker in self._workers:
            worker.ask(("close", None))
        deadline = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.end(max(0.0, deadline - time.monotonic()))
        self._workers = []

    def _ask(self, requests: list[tuple[str, Any]]) -> tuple[list[Any], BoolArray]:
        """(answers, which of them are first observations of a worker that was replaced)"""
        for worker, request in zip(self._workers, requests, strict=True):
            worker.ask(request)
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        replies: list[Any] = []
        restarted = np.zeros(self.num_envs, np.bool_)
        for index in range(self.num_envs):
            try:
                replies.append(self._answer(index, deadline))
            except EnvironmentFailure as failure:
                replies.append(self._replace(index, failure))
                restarted[index] = True
        return replies, restarted

    def _answer(self, index: int, deadline: float | None) -> Any:
        return self._workers[index].answer(index, self._steps, deadline, self._timeout)

    def _replace(self, index: int, failure: EnvironmentFailure) -> Any:
        """The first observation of a new worker. Raises the failure where there is no restart left."""
        while self._restarts_left > 0:
            self._restarts_left -= 1
            self._restarts += 1
            self._workers[index].end(0.0)
            self._workers[index] = _Worker(self._factory)
            own = self._seeds[index]
            seed = None if own is None else environment_seeds(own, 1, generation=self._restarts)[0]
            deadline = None if self._timeout is None else time.monotonic() + self._timeout
            self._workers[index].ask(("reset", seed))
            try:
                self._answer(index, deadline)  # its spaces
                return self._answer(index, deadline)
            except EnvironmentFailure as again:
                failure = again
        raise failure


class _Worker:
    """The parent's end of one worker."""

    def __init__(self, factory: CloudpickleWrapper) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_work, args=(factory, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, request: tuple[str, Any]) -> None:
        """Sends a request; whether anybody is there to read it shows when the answer is waited for."""
        with suppress(OSError):
            self._pipe.send(request)

    def answer(self, index: int, step: int, deadline: float | None, timeout: float | None) -> Any:
        """What the worker says. Raises :class:`EnvironmentFailure`."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            if not self._pipe.poll(left):
                raise EnvironmentFailure(index, step, f"no answer within env_timeout = {timeout:g} seconds")
            ok, reply = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE)
            raise EnvironmentFailure(index, step, _describe_end(self._process.exitcode)) from None
        if not ok:
            cause, trace = reply
            failure = EnvironmentFailure(index, step, cause)
            failure.add_note(f"In the worker process:\n{trace}")
            raise failure
        return reply

    def end(self, patience: float) -> None:
        """Waits for the process to end, then kills it."""
        self._process.join(patience)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
        self._process.close()


def _describe_end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with status {code}"


def _work(factory: CloudpickleWrapper, pipe: Connection) -> None:
    """The worker: answers requests until it is told to close or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is its parent's matter
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None
    env: gymnasium.Env[Any, Any] | None = None
    try:
        env = factory.fn()
        pipe.send((True, (env.observation_space, env.action_space, env.render_mode)))
        # Forked workers hold copies of the pipe's other end. The parent's sentinel says that it is gone, to the last of
        # them first, and as they end to the others.
        while pipe in wait([pipe, parent.sentinel]):
            command, argument = pipe.recv()
            if command == "close":
                break
            pipe.send((True, _obey(env, command, argument)))
    except (BrokenPipeError, EOFError, ConnectionResetError):
        pass
    except Exception as error:  # whatever an environment may raise
        with suppress(OSError):
            pipe.send((False, (f"{type(error).__name__}: {error}", traceback.format_exc())))
    finally:
        if env is not None:
            env.close()


def _obey(env: gymnasium.Env[Any, Any], command: str, argument: Any) -> Any:
    """(observation, reward, terminated, truncated), of a step or a reset."""
    if command == "reset":
        observation, _ = env.reset(seed=argument)
        return _checked(observation, env.observation_space), 0.0, False, False
    observation, reward, terminated, truncated, _ = env.step(argument)
    return _checked(observation, env.observation_space), float(reward), bool(terminated), bool(truncated)


def _checked(observation: Any, space: spaces.Space[Any]) -> Array:
    """An observation as its space has it: one of another shape would spoil the whole batch."""
    array = np.asarray(observation)
    if array.shape != space.shape:
        raise ValueError(f"the observation has shape {array.shape}, the space {space.shape}")
    if not np.can_cast(array.dtype, np.dtype(space.dtype), "same_kind"):
        raise TypeError(f"the observation has dtype {array.dtype}, the space {space.dtype}")
    return array.astype(space.dtype, copy=False)
