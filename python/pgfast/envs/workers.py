"""Environments in worker processes, whose crashes and hangs do not end the training."""

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
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import CloudpickleWrapper, batch_space

from pgfast._typing import Array, BoolArray
from pgfast.envs.failures import EnvironmentFailure, with_cure
from pgfast.envs.seeding import environment_seeds

__all__ = ["START_SECONDS", "WorkerVectorEnv"]

_PATIENCE = 5.0  # seconds that a worker has to end before it is killed
START_SECONDS = 60.0  # least timeout for making an environment, which may import a lot


class WorkerVectorEnv(VectorEnv[Array, Array, Array]):
    """A vector environment of worker processes, one environment each; autoreset mode NEXT_STEP.

    Gymnasium's ``AsyncVectorEnv`` cannot replace a worker. This class replaces a worker that raises, dies, returns
    arrays that differ from its spaces, or takes longer than ``timeout`` seconds for a step or a reset, up to
    ``max_restarts`` times in total. The row then holds the first observation of a new episode, seeded from the worker's
    seed and the number of the restart; its reward is 0, and ``infos["restarted"]`` ``[N]`` is true. If no restart is
    left, :class:`~pgfast.envs.failures.EnvironmentFailure` is raised.

    Workers end when their parent does, however it ends. Infos of the environments stay in their processes unless
    ``returns_infos`` is set; those of steps are then returned as Gymnasium does.
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
        self.returns_infos = False
        self._steps = 0
        self._seeds: list[int | None] = [None] * num_envs
        self._over = np.zeros(num_envs, np.bool_)
        self._workers: list[_Worker] = []
        try:
            self._workers += [_Worker(self._factory) for _ in range(num_envs)]
            deadline = None if timeout is None else time.monotonic() + max(timeout, START_SECONDS)
            found = [self._answer(index, deadline) for index in range(num_envs)]
        except BaseException as error:
            self.close()
            if isinstance(error, OSError) and error.errno is not None:
                raise OSError(error.errno, with_cure(error.strerror or "")) from error
            raise
        self.single_observation_space, self.single_action_space, self.render_mode, self.single_spec = found[0]
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Resets every environment. ``seed`` is one per environment, or an int for seed, seed + 1, ..."""
        if isinstance(seed, int):
            seed = [seed + i for i in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else list(seed)
        self._seeds = [old if new is None else new for old, new in zip(self._seeds, seeds, strict=True)]
        self._over[:] = False
        replies, _ = self._ask([("reset", new) for new in seeds])
        return np.stack([observation for observation, *_ in replies]), {}

    def step(self, actions: Array) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """Steps every environment; an environment whose episode has ended is reset instead."""
        self._steps += 1
        step = "step with infos" if self.returns_infos else "step"
        requests: list[tuple[str, Any]] = [
            ("reset", None) if over else (step, action) for over, action in zip(self._over, actions, strict=True)
        ]
        replies, restarted = self._ask(requests)
        observations, rewards, *ends, of_each = zip(*replies, strict=True)
        terminated, truncated = np.array(ends, np.bool_)
        self._over = terminated | truncated
        infos: dict[str, Any] = {}
        for index, info in enumerate(of_each):
            infos = self._add_info(infos, info, index)
        infos["restarted"] = restarted
        return np.stack(observations), np.array(rewards), terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the workers, and kills those that do not respond."""
        for worker in self._workers:
            worker.ask(("close", None))
        deadline = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.end(max(0.0, deadline - time.monotonic()))
        self._workers = []

    def _ask(self, requests: list[tuple[str, Any]]) -> tuple[list[Any], BoolArray]:
        """(answers, a mask of those that are first observations of a replaced worker)"""
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
        """Returns the first observation of a new worker. Raises the failure if no restart is left."""
        while self._restarts_left > 0:
            self._restarts_left -= 1
            self._restarts += 1
            self._workers[index].end(0.0)
            self._workers[index] = _Worker(self._factory)
            seed = self._seeds[index]
            if seed is not None:
                (seed,) = environment_seeds(seed, 1, generation=self._restarts)
            deadline = None if self._timeout is None else time.monotonic() + self._timeout
            self._workers[index].ask(("reset", seed))
            try:
                self._answer(index, deadline)  # the spaces
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
        """Sends a request. A dead worker is noticed by :meth:`answer`."""
        with suppress(OSError):
            self._pipe.send(request)

    def answer(self, index: int, step: int, deadline: float | None, timeout: float | None) -> Any:
        """Waits for the worker's answer. Raises :class:`EnvironmentFailure`."""
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
        """Waits ``patience`` seconds for the process to end, then kills it."""
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
    """Answers requests until one is "close" or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None
    env: gymnasium.Env[Any, Any] | None = None
    try:
        env = factory.fn()
        pipe.send((True, (env.observation_space, env.action_space, env.render_mode, _portable(env.spec))))
        # Forked workers hold copies of the pipe's other end, so it stays open when the parent ends. The parent's
        # sentinel reports the end: to the last worker at once, to each other one when those after it have ended.
        while pipe in wait([pipe, parent.sentinel]):
            command, argument = pipe.recv()
            if command == "close":
                break
            pipe.send((True, _obey(env, command, argument)))
    except (BrokenPipeError, EOFError, ConnectionResetError):
        pass
    except Exception as error:  # environments may raise anything
        with suppress(OSError):
            pipe.send((False, (f"{type(error).__name__}: {error}", traceback.format_exc())))
    finally:
        if env is not None:
            env.close()


def _portable(spec: EnvSpec | None) -> EnvSpec | None:
    """The registered definition without what may not survive the pipe, such as the arguments of wrappers."""
    if spec is None or spec.additional_wrappers:
        return None
    return EnvSpec(spec.id, entry_point=spec.entry_point if isinstance(spec.entry_point, str) else None)


def _obey(env: gymnasium.Env[Any, Any], command: str, argument: Any) -> Any:
    """(observation, reward, terminated, truncated, infos) of a step or a reset, infos only if they are asked for"""
    if command == "reset":
        observation, _ = env.reset(seed=argument)
        return _checked(observation, env.observation_space), 0.0, False, False, {}
    observation, reward, terminated, truncated, infos = env.step(argument)
    observation = _checked(observation, env.observation_space)
    return observation, float(reward), bool(terminated), bool(truncated), infos if command != "step" else {}


def _checked(observation: Any, space: spaces.Space[Any]) -> Array:
    """Returns an observation in its space's dtype. Raises ``ValueError`` or ``TypeError`` if it does not fit."""
    array = np.asarray(observation)
    if array.shape != space.shape:
        raise ValueError(f"the observation has shape {array.shape}, the space {space.shape}")
    if not np.can_cast(array.dtype, np.dtype(space.dtype), "same_kind"):
        raise TypeError(f"the observation has dtype {array.dtype}, the space {space.dtype}")
    return array.astype(space.dtype, copy=False)
