"""Environments in worker processes, whose crashes and hangs do not end the training."""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from types import FrameType
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import CloudpickleWrapper, batch_space, concatenate, create_empty_array, iterate

from pgfast._typing import Array, BoolArray
from pgfast.envs.closing import close_at_end
from pgfast.envs.failures import EnvironmentFailure, describe, with_cure
from pgfast.envs.interface import make_checked
from pgfast.envs.seeding import environment_seeds
from pgfast.envs.shared_batch import SharedBatch, can_share

__all__ = ["START_SECONDS", "WorkerVectorEnv"]

_GRACE = 1.0  # seconds that a step may go on after its environment was asked to close
_PATIENCE = 5.0  # seconds that an environment has to close before its process is killed
START_SECONDS = 60.0  # least timeout for making an environment, which may import a lot


class WorkerVectorEnv(VectorEnv[Array, Array, Array]):
    """A vector environment of worker processes, one environment each; autoreset mode NEXT_STEP.

    Gymnasium's ``AsyncVectorEnv`` cannot replace a worker. This class replaces a worker that raises, dies, returns
    arrays that differ from its spaces, or takes longer than ``timeout`` seconds for a step or a reset, up to
    ``max_restarts`` times in total. The row then holds the first observation of a new episode, seeded from the worker's
    seed and the number of the restart; its reward is 0, and ``infos["restarted"]`` ``[N]`` is true. If no restart is
    left, :class:`~pgfast.envs.failures.EnvironmentFailure` is raised.

    Workers write observations that are arrays, or Dicts and Tuples of these, to memory that they share with their
    parent; others are sent.

    Workers close their environments before they end, and end when their parent does, however it ends. A step that hangs
    is interrupted for this, and a close that takes longer than 5 seconds is cut off. Workers ignore the signals that a
    terminal or a job scheduler sends to all processes of a run: their parent may still finish an update. Infos of the
    environments stay in their processes unless ``returns_infos`` is set; those of steps are then returned as Gymnasium
    does. If ``returns_masks`` is "info" or "method", infos hold ``action_mask`` after resets, too: the environment's
    own, or what its ``action_masks()`` returns unless its episode is over.
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
        self.restarts_left = max_restarts
        self._restarts = 0
        self.returns_infos = False
        self.returns_masks: Literal["none", "info", "method"] = "none"
        self._steps = 0
        self._seeds: list[int | None] = [None] * num_envs
        self._over = np.zeros(num_envs, np.bool_)
        self._workers: list[_Worker] = []
        self._shared: SharedBatch | None = None
        close_at_end(self, partial(_end_all, self._workers))
        try:
            for index in range(num_envs):
                self._workers.append(_Worker(self._factory, index))
            deadline = None if timeout is None else time.monotonic() + max(timeout, START_SECONDS)
            found = [worker.answer(None, deadline, timeout) for worker in self._workers]
            if can_share(found[0][0]):
                self._shared = SharedBatch(found[0][0], num_envs)
                close_at_end(self, self._shared.close)
                for worker in self._workers:
                    worker.share(found[0][0], self._shared, num_envs)
                for worker in self._workers:
                    worker.answer(None, deadline, timeout)
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
        observations, *_, of_each = zip(*replies, strict=True)
        return self._stacked(observations), self._batched(of_each)

    def step(self, actions: Array) -> tuple[Array, Array, BoolArray, BoolArray, dict[str, Any]]:
        """Steps every environment; an environment whose episode has ended is reset instead."""
        self._steps += 1
        each = iterate(self.action_space, actions)
        requests: list[tuple[str, Any]] = [
            ("reset", None) if over else ("step", action) for over, action in zip(self._over, each, strict=True)
        ]
        replies, restarted = self._ask(requests)
        observations, rewards, *ends, of_each = zip(*replies, strict=True)
        terminated, truncated = np.array(ends, np.bool_)
        self._over = terminated | truncated
        infos = self._batched(of_each)
        infos["restarted"] = restarted
        return self._stacked(observations), np.array(rewards), terminated, truncated, infos

    def _stacked(self, observations: Sequence[Any]) -> Any:
        """One observation of each environment as a batch; a Dict or a Tuple has arrays at its leaves."""
        if self._shared is not None:
            return self._shared.copy()
        space = self.single_observation_space
        if space.shape is not None:
            return np.stack(observations)
        batch: Any = create_empty_array(space, self.num_envs)
        return concatenate(space, observations, batch)

    def _batched(self, of_each: Sequence[dict[str, Any]]) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for index, info in enumerate(of_each):
            infos = self._add_info(infos, info, index)
        return infos

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environments, ends their workers, and frees the memory that they share."""
        _end_all(self._workers)
        if self._shared is not None:
            self._shared.close()
            self._shared = None

    def _ask(self, requests: list[tuple[str, Any]]) -> tuple[list[Any], BoolArray]:
        """(answers, a mask of those that are first observations of a replaced worker)"""
        for worker, request in zip(self._workers, requests, strict=True):
            worker.ask((*request, self.returns_infos, self.returns_masks))
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        replies: list[Any] = []
        restarted = np.zeros(self.num_envs, np.bool_)
        for index in range(self.num_envs):
            try:
                replies.append(self._workers[index].answer(self._steps, deadline, self._timeout))
            except EnvironmentFailure as failure:
                replies.append(self._replace(index, failure))
                restarted[index] = True
        return replies, restarted

    def _replace(self, index: int, failure: EnvironmentFailure) -> Any:
        """Returns the first observation of a new worker. Raises the failure if no restart is left."""
        while self.restarts_left > 0:
            self.restarts_left -= 1
            self._restarts += 1
            _end([self._workers[index]], 0.0)
            try:
                worker = self._workers[index] = _Worker(self._factory, index)
                seed = self._seeds[index]
                if seed is not None:
                    (seed,) = environment_seeds(seed, 1, generation=self._restarts)
                deadline = None if self._timeout is None else time.monotonic() + self._timeout
                worker.answer(None, deadline, self._timeout)
                if self._shared is not None:
                    worker.share(self.single_observation_space, self._shared, self.num_envs)
                    worker.answer(None, deadline, self._timeout)
                worker.ask(("reset", seed, self.returns_infos, self.returns_masks))
                return worker.answer(self._steps, deadline, self._timeout)
            except EnvironmentFailure as again:
                failure = again
        raise failure


class _Worker:
    """The parent's end of one worker."""

    def __init__(self, factory: CloudpickleWrapper, index: int) -> None:
        self._index = index
        self._pipe, theirs = multiprocessing.Pipe()
        _PARENT_ENDS.add(self._pipe)
        self._process = multiprocessing.Process(target=_work, args=(factory, theirs), daemon=True)
        try:
            self._process.start()
        except Exception as error:
            self._close_pipe()
            if isinstance(error, OSError):
                raise
            cause = f"the function that makes it cannot be sent to a worker process: {describe(error)}"
            raise EnvironmentFailure(index, None, cause) from error
        finally:
            theirs.close()

    def ask(self, request: tuple[Any, ...]) -> None:
        """Sends a request. A dead worker is noticed by :meth:`answer`."""
        with suppress(OSError):
            self._pipe.send(request)

    def share(self, space: spaces.Space[Any], batch: SharedBatch, num_envs: int) -> None:
        """Asks the worker to write its observations to its row of a batch from now on."""
        assert batch.handle is not None
        self.ask(("share", space, num_envs, self._index))
        with suppress(BrokenPipeError, ConnectionResetError, RuntimeError):  # a dead worker; RuntimeError is of macOS
            send_handle(self._pipe, batch.handle, self._process.pid)

    def answer(self, step: int | None, deadline: float | None, timeout: float | None) -> Any:
        """Waits for the worker's answer; None as ``step`` for that after its start. Raises EnvironmentFailure."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            if not self._pipe.poll(left):
                raise EnvironmentFailure(self._index, step, f"no answer within env_timeout = {timeout:g} seconds")
            ok, reply = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_PATIENCE)
            cause = _describe_end(self._process.exitcode)
            if step is None and self._process.exitcode == 1 and multiprocessing.get_start_method() != "fork":
                cause += '; a program that starts worker processes needs if __name__ == "__main__":'
            raise EnvironmentFailure(self._index, step, cause) from None
        if not ok:
            cause, trace = reply
            failure = EnvironmentFailure(self._index, step, cause)
            failure.add_note(f"In the worker process:\n{trace}")
            raise failure
        return reply

    def wait(self, deadline: float) -> None:
        """Waits for the process to end."""
        self._process.join(max(0.0, deadline - time.monotonic()))

    def interrupt(self) -> None:
        """Interrupts a step of a worker that was asked to close."""
        self._process.terminate()

    def kill(self) -> None:
        """Ends a process that may still run."""
        self._process.kill()
        self._process.join()
        self._close_pipe()

    def _close_pipe(self) -> None:
        self._pipe.close()
        _PARENT_ENDS.discard(self._pipe)


def _end_all(workers: list[_Worker]) -> None:
    _end(workers, _GRACE)
    workers.clear()


def _end(workers: Sequence[_Worker], grace: float) -> None:
    """Ends workers: asks them to close, interrupts those that do not within ``grace`` seconds, and kills the rest."""
    for worker in workers:
        worker.ask(("close",))
    deadline = time.monotonic() + grace
    for worker in workers:
        worker.wait(deadline)
    for worker in workers:
        worker.interrupt()
    deadline = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.wait(deadline)
    for worker in workers:
        worker.kill()


def _describe_end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with status {code}"


_PARENT_ENDS: set[Connection] = set()
"""The parent's ends of all pipes. A forked worker inherits them, and closes them to notice when the parent ends."""


def _work(factory: CloudpickleWrapper, pipe: Connection) -> None:
    """Answers requests until one is "close" or the parent is gone, then closes the environment."""
    for end in _PARENT_ENDS:
        end.close()
    is_busy = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        # The parent sends nothing during a request but "close"; the end of the pipe also counts.
        if is_busy and pipe.poll():
            raise SystemExit

    signal.signal(signal.SIGTERM, interrupt)
    # The processes that an environment starts inherit SIG_IGN, but no handler. They shall survive a Ctrl-C, which
    # reaches them too, and end at the other signals.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda number, frame: None)

    env: gymnasium.Env[Any, Any] | None = None
    shared: SharedBatch | None = None
    row = 0
    try:
        env = make_checked(factory.fn)
        answer: Any = env.observation_space, env.action_space, env.render_mode, _portable(env.spec)
        while True:
            with suppress(OSError):  # then nothing will be received either
                pipe.send((True, answer))
            is_busy = False
            try:
                command, *arguments = pipe.recv()
            except (EOFError, OSError):
                break
            if command == "close":
                break
            if command == "share":  # not busy yet: the handle comes after the request
                space, num_envs, row = arguments
                shared, answer = SharedBatch(space, num_envs, recv_handle(pipe)), None
                shared.close_handle()
                continue
            is_busy = True
            observation, *others = _obey(env, command, *arguments)
            if shared is not None:
                shared.write(row, observation)
                observation = None
            answer = observation, *others
    except Exception as error:  # environments may raise anything
        with suppress(OSError):
            pipe.send((False, (describe(error), traceback.format_exc())))
    finally:
        is_busy = False
        if env is not None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(math.ceil(_PATIENCE))
            env.close()


def _portable(spec: Any) -> EnvSpec | None:
    """The registered definition without what may not survive the pipe, such as the arguments of wrappers."""
    if not isinstance(spec, EnvSpec) or spec.additional_wrappers:
        return None
    return EnvSpec(spec.id, entry_point=spec.entry_point if isinstance(spec.entry_point, str) else None)


def _obey(env: gymnasium.Env[Any, Any], command: str, argument: Any, returns_infos: bool, masks: str) -> Any:
    """(observation, reward, terminated, truncated, infos) of a step or a reset, infos only if they are asked for"""
    reward: Any
    reward, terminated, truncated = 0.0, False, False
    if command == "reset":
        observation, infos = env.reset(seed=argument)
    else:
        observation, reward, terminated, truncated, infos = env.step(argument)
    returned = dict(infos) if returns_infos and command == "step" else {}
    if masks == "info" and "action_mask" in infos:
        returned["action_mask"] = infos["action_mask"]
    elif masks == "method" and not (terminated or truncated):  # the method may fail where an episode is over
        returned["action_mask"] = env.get_wrapper_attr("action_masks")()
    return observation, float(reward), bool(terminated), bool(truncated), returned
