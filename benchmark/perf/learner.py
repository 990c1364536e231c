"""Updates of the soft actor-critic per second beside those of Stable-Baselines3's, on the same replay, one thread.

How much they are worth: :mod:`benchmark.perf.returns`.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from stable_baselines3 import SAC as TheirSAC
from stable_baselines3.common.logger import Logger

from baselines._online import THE_EXTRA
from baselines._sac import SAC, Replay, SACConfig
from benchmark.perf import Row, rate
from envs import halfcheetah
from envs.metered import Meter, MeteredEnv
from envs.vecenv import MeteredVecEnv

TRANSITIONS, SECONDS, ROUNDS = 10_000, 2.0, 3
SIZES = (((256, 256), 256), ((64, 64), 128))  # hidden layers and batch: the papers', and what the mazes' methods use


def speed(update: Callable[[int], object]) -> float:
    """Updates per second of ``update(n)``."""
    update(20)
    return rate(partial(update, 20), 20, SECONDS, time.perf_counter)


def ours(
    hidden: tuple[int, int], batch: int, data: tuple[np.ndarray, ...], **settings: object
) -> Callable[[int], None]:
    """Our learner over given transitions."""
    config = SACConfig(hidden=hidden, batch=batch).model_copy(update=settings)
    obs, acts, next_obs, rewards = data
    width = obs.shape[1]
    limits = Box(-np.ones(acts.shape[1], np.float32), np.ones(acts.shape[1], np.float32))
    sac = SAC(limits, np.zeros(width), np.ones(width), config, np.random.default_rng(0))
    replay = Replay(TRANSITIONS, width, acts.shape[1])
    replay.add(obs, acts, next_obs, rewards)

    def update(n: int) -> None:
        for _ in range(n):
            sac.update(replay, THE_EXTRA)

    return update


def theirs(hidden: tuple[int, int], batch: int, data: tuple[np.ndarray, ...]) -> Callable[[int], None]:
    """Stable-Baselines3's learner over the same transitions."""
    env = MeteredVecEnv(MeteredEnv(halfcheetah.make_env(1), Meter(0), np.random.default_rng(0)))
    sizes: dict[str, Any] = {"batch_size": batch, "buffer_size": TRANSITIONS, "policy_kwargs": {"net_arch": [*hidden]}}
    learner = TheirSAC("MlpPolicy", env, device="cpu", **sizes)
    learner.set_logger(Logger(folder=None, output_formats=[]))
    for obs, act, next_obs, reward in zip(*data, strict=True):
        learner.replay_buffer.add(obs[None], next_obs[None], act[None], reward[None], np.zeros(1), [{}])  # type: ignore[union-attr]
    return lambda n: learner.train(n, batch)


def measure() -> Iterator[Row]:
    """Updates per second as used here, and with everything as there: the actor at each update, single precision."""
    rng = np.random.default_rng(0)
    obs, next_obs = rng.standard_normal((2, TRANSITIONS, 17)).astype(np.float32)
    data = obs, rng.uniform(-1, 1, (TRANSITIONS, 6)).astype(np.float32), next_obs, rng.random(TRANSITIONS, np.float32)
    for hidden, batch in SIZES:
        rivals = {
            "as used": ours(hidden, batch, data),
            "like for like": ours(hidden, batch, data, actor_every=1, half=False),
            "": theirs(hidden, batch, data),
        }
        # in turns, so that a machine that slows down does so for all
        rates = [{name: speed(update) for name, update in rivals.items()} for _ in range(ROUNDS)]
        best = {name: max(found[name] for found in rates) for name in rivals}
        for name, required in (("as used", 3.0), ("like for like", None)):
            title = f"SAC, {hidden[0]} x {hidden[1]}, batch {batch}, {name}"
            timed: dict[str, Any] = {"ours": best[name], "reference": best[""], "unit": "updates/s"}
            yield Row(name=title, **timed, against="Stable-Baselines3 SAC", required=required)
