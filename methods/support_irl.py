"""Diffusion-IRL + value with a reward that ends where the data end.

A density ratio says nothing where neither density has data: beyond the goal of a maze, in a corner that base data never
reach, the classifier extrapolates, and whoever optimises its reward settles there. Here base states with noise beside
them are negatives too: the ratio is then one to a smoothed density, whose support is everywhere.
"""

import copy
from dataclasses import replace

import numpy as np
from pydantic import Field

from envs.problem import Problem, Trajectories
from methods.base import Config, Learned
from methods.density_ratio import RatioReward, fit_ratio
from methods.value import fit_value
from methods.value_irl import METHODS as VALUE_METHODS
from methods.value_irl import ValueIRL, known, planned


class Support(Config):
    """Settings: ``share`` of the negatives get noise of ``spread`` standard deviations of each observation."""

    share: float = Field(0.5, gt=0, lt=1)
    spread: float = Field(1.0, gt=0)


class SupportIRL(ValueIRL):
    """Settings of the fix, and of the negatives that its reward sees off the data."""

    support: Support = Support()


def smoothed(base: Trajectories, config: Support, rng: np.random.Generator) -> Trajectories:
    """Base episodes followed by copies of some with noise on every observation, ``share`` of the whole.

    Args:
        base: N episodes.
        config: settings.
        rng: decides which episodes are copied, and the noise.

    Returns:
        N / (1 - share) episodes, rounded.
    """
    copies = rng.integers(len(base), size=max(1, round(len(base) * config.share / (1 - config.share))))
    noise = rng.standard_normal(base.obs[copies].shape, np.float32) * base.obs.std((0, 1))
    return Trajectories(
        np.concatenate([base.obs, base.obs[copies] + np.float32(config.spread) * noise]),
        np.concatenate([base.acts, base.acts[copies]]),
    )


def fit_supported(
    problem: Problem, config: SupportIRL, rng: np.random.Generator
) -> tuple[RatioReward, list[dict[str, float]]]:
    """The density ratio of demonstrations to smoothed base data.

    Args:
        problem: its demonstrations and base data.
        config: settings.
        rng: decides all draws.

    Returns:
        the reward, and a curve of the loss.

    Raises:
        Diverged: the loss left all bounds.
    """
    told = copy.copy(problem)  # dataclasses.replace would ask for the environment, in which no ratio is fitted
    object.__setattr__(told, "base", smoothed(problem.base, config.support, rng))
    return fit_ratio(told, config.ratio, rng)


def fit(problem: Problem, config: SupportIRL, rng: np.random.Generator) -> Learned:
    """Learns the reward against smoothed base data; value and policy are those of the fix, on the data themselves.

    Args:
        problem: its demonstrations and base data.
        config: settings.
        rng: decides all draws.

    Raises:
        Diverged: a loss left all bounds.
    """
    reward, curve = fit_supported(problem, config, rng)
    problem.progress(0.2, {})
    value = fit_value(known(problem, config.demonstrated), reward, config.value, rng, problem.checkpoint, curve)
    problem.progress(0.4, {})
    policy = planned(problem, reward, value, config, rng, curve)
    return Learned(policy, reward, "raw", curve, config.ratio.updates + config.value.updates + config.tuning.updates)


METHOD = replace(
    VALUE_METHODS[0],
    name="diffusion-irl-support",
    title="Diffusion-IRL + value + support",
    source="this project; after Sugiyama et al. 2012, ch. 4 (the ratio) and diffusion-irl-value",
    fit=fit,
    config=SupportIRL,
)
