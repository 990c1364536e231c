"""The recipe of the base models that ship with the project: those of the suites whose base data have seed 0."""

from pathlib import Path

from baselines._online import Progress
from benchmark.pose import pose
from benchmark.registry import discover
from methods.pretraining import BASE_MODELS, ship

BASE_SEED = 0


def pretrain(progress: Progress) -> list[Path]:
    """Trains the base model of every task that has settings for one, and puts it beside the code; paths of the weights.

    Models that stand in the cache are not trained again.
    """
    registry, paths = discover(), []
    for name, config in BASE_MODELS.items():
        task, _ = registry.task(name)
        posed = pose(task, 0, 1, 0, BASE_SEED, privileged=False, progress=progress)
        paths.append(ship(posed.problem, config))
    return paths
