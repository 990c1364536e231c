"""The planner unguided and guided by the true reward: what the thesis' method starts from, and its ceiling."""

import numpy as np

from envs.problem import Problem
from methods.base import Config, Learned, Method
from methods.controls import GivenReward, privileged
from methods.planner import Planner, Planning
from methods.pretraining import TOY, TUNED, BaseModel, base_model


class PlannerControl(Config):
    """Settings of the planner controls."""

    base: BaseModel = BaseModel()
    planning: Planning = Planning()


def fit_unguided(problem: Problem, config: PlannerControl, rng: np.random.Generator) -> Learned:
    """Plans of the base model alone: what guidance starts from."""
    return Learned(Planner.of(config.planning, base_model(problem, config.base)), None, "none")


def fit_oracle(problem: Problem, config: PlannerControl, rng: np.random.Generator) -> Learned:
    """Plans guided by the true reward: the ceiling that base model and planner leave to a learnt one."""
    reward = GivenReward(privileged(problem).observed_reward)
    return Learned(Planner.of(config.planning, base_model(problem, config.base), reward), reward, "raw")


SOURCE = "Janner et al. 2022, Planning with Diffusion for Flexible Behavior Synthesis"
METHODS = [
    Method(
        name=name,
        title=title,
        source=SOURCE,
        fit=fit,
        config=PlannerControl,
        tuned=TUNED,
        smoke={"base": TOY.model_dump()},
        recovers_reward=recovers,
        control=True,
    )
    for name, title, fit, recovers in (
        ("unguided-diffuser", "Diffuser, unguided", fit_unguided, False),
        ("oracle-diffuser", "Diffuser, true reward", fit_oracle, True),
    )
]
