"""Layouts, constants, reference scores and addresses beside the d4rl package, where that is installed."""

import ast
import re
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import pytest

from benchmark.fetch import ORIGINALS, ROOT
from envs import maze2d
from envs.d4rl_scores import REFERENCES, VARIANTS


def source(name: str) -> str:
    """Text of a file of the package, which cannot be imported without mujoco-py."""
    try:
        found = next(path for path in files("d4rl") or [] if str(path) == f"d4rl/{name}")
    except (PackageNotFoundError, StopIteration):
        pytest.skip("d4rl is not installed: pip install --no-deps d4rl==1.1")
    return Path(str(found.locate())).read_text()


def executed(name: str) -> dict[str, Any]:
    """What a file that imports nothing defines."""
    found: dict[str, Any] = {}
    exec(compile(source(name), name, "exec"), found)
    return found


def layout(text: str, name: str) -> str:
    """The joined string that a file assigns to ``name``."""
    node = next(n for n in ast.parse(text).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == name)
    joined: str = eval(compile(ast.Expression(node.value), name, "eval"), {})
    return joined.replace("\\", "\n")


def test_reference_scores_and_addresses() -> None:
    infos = executed("infos.py")
    for reference in (*REFERENCES.values(), *VARIANTS.values()):
        # HalfCheetah's references are the same for all of its data
        name = reference.data if reference.data in infos["REF_MIN_SCORE"] else f"{reference.data}-medium-v2"
        assert infos["REF_MIN_SCORE"][name] == pytest.approx(reference.random)
        assert infos["REF_MAX_SCORE"][name] == pytest.approx(reference.expert)
    for name, original in ORIGINALS.items():
        assert infos["DATASET_URLS"][name] == f"{ROOT}/{original.path}"


def test_layouts_and_model() -> None:
    text = source("pointmaze/maze_model.py")
    assert layout(text, "U_MAZE") == maze2d.UMAZE and layout(text, "LARGE_MAZE") == maze2d.LARGE
    model = maze2d.model(maze2d.UMAZE)
    assert float(re.search(r'timestep="([\d.]+)"', text)[1]) == model.opt.timestep
    assert (
        re.findall(r"motor\(joint=\"ball_.\", ctrlrange=\[-1.0, 1.0\], ctrllimited=True, gear=(\d+)", text)
        == ["100"] * 2
    )
    assert model.actuator_gear[:, 0].tolist() == [100, 100] and model.dof_damping.tolist() == [1, 1]
    assert "<= 0.5" in text and f"np.clip(self.sim.data.qvel, -{maze2d.MAX_SPEED}, {maze2d.MAX_SPEED})" in text
    assert "uniform(low=-.1, high=.1" in text and maze2d.POSITION_NOISE == 0.1


def test_controller_gains() -> None:
    found = re.search(
        r"solve_thresh=([\d.]+), p_gain=([\d.]+), d_gain=(-[\d.]+)", source("pointmaze/waypoint_controller.py")
    )
    assert found and [float(x) for x in found.groups()] == [maze2d.REACHED, maze2d.P_GAIN, maze2d.D_GAIN]
