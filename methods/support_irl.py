"""Diffusion-IRL + value with a reward that ends where the data end.

A density ratio says nothing where neither density has data: beyond the goal of a maze, in a corner that base data never
reach, the classifier extrapolates, and whoever optimises its reward settles there. Here base states with noise beside
them are negatives too: the ratio is then one to a smoothed density, whose support is everywhere.
"""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
from pydantic import Field

from envs.problem import Problem, Trajectories
from methods.base import Config
from methods.density_ratio import RatioReward, fit_ratio
from methods.value_irl import METHODS as VALUE_METHODS
from methods.value_irl import ValueIRL, fit


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


METHOD = replace(
    VALUE_METHODS[0],
    name="diffusion-irl-support",
    title="Diffusion-IRL + value + support",
    source="this project; after Sugiyama et al. 2012, ch. 4 (the ratio) and diffusion-irl-value",
    fit=partial(fit, learn=fit_supported),
    config=SupportIRL,
)
