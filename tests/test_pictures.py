"""What runs leave for figures: arrays of the right shape and content."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import toys

from benchmark import bodies, pictures
from benchmark.pose import Posed, pose
from envs.halfcheetah import TASK as CHEETAH
from envs.maze2d import UMAZE_TASK
from envs.problem import Task
from envs.rollout import Rollout, rollout
from methods import diffuser_controls
from methods.base import Learned, Method
from reports import artefacts


def smoke(method: Method, task: Task, steps: int = 4000) -> tuple[Posed, Learned]:
    posed = pose(task, 0, 2, steps, 0, method.control, lambda fraction, values: None)
    config = method.config(**{**method.tuned.get(task.name, {}), **method.smoke})
    torch.manual_seed(0)
    return posed, method.fit(posed.problem, config, np.random.default_rng(0))


def runs_of(task: Task, learned: Learned) -> dict[str, Rollout]:
    starts = {"seen": task.seen_starts[:2], "unseen": task.unseen_starts[:2]}
    return {k: rollout(task.make_env(2), learned.policy, s, np.random.default_rng(0)) for k, s in starts.items()}


def test_a_reverse_process_is_kept_from_noise_to_plans() -> None:
    oracle = next(m for m in diffuser_controls.METHODS if m.name == "oracle-diffuser")
    posed, learned = smoke(oracle, UMAZE_TASK)
    found = pictures.pictures(UMAZE_TASK, learned, posed, runs_of(UMAZE_TASK, learned), 0)
    film, left = found["film"], found["film_left"]
    assert film.shape[:3] == (2, len(left), pictures.FILM_PLANS)
    assert left[-1] == 0
    assert list(left) == sorted(left, reverse=True)
    starts = np.stack([UMAZE_TASK.seen_starts[-1, :2], UMAZE_TASK.unseen_starts[-1, :2]])
    np.testing.assert_allclose(
        film[:, :, :, 0], np.broadcast_to(starts[:, None, None], film[:, :, :, 0].shape), atol=1e-4
    )
    again = pictures.film(UMAZE_TASK, learned.policy, pictures.stream("film", UMAZE_TASK.name, 0))  # type: ignore[arg-type]
    np.testing.assert_array_equal(again["film"], film)


def test_the_gait_is_the_body_at_its_poses() -> None:
    posed, learned = smoke(toys.PROPER, CHEETAH)
    runs = runs_of(CHEETAH, learned)
    found = pictures.pictures(CHEETAH, learned, posed, runs, 0)
    gait = found["gait"]
    assert gait.shape == (2, pictures.GAIT_FRAMES, 8, 2, 2)  # torso, head, and thigh, shin and foot twice
    torso = np.linalg.norm(gait[:, :, 0, 1] - gait[:, :, 0, 0], axis=-1)
    np.testing.assert_allclose(torso, 1.0, atol=1e-6)  # Gymnasium's model: a capsule from -0.5 to 0.5
    x = [runs[k].states[0, CHEETAH.horizon // 2, 0] for k in ("seen", "unseen")]
    np.testing.assert_allclose(gait[:, 0, 0].mean(1)[:, 0], x, atol=1e-6)
    assert found["own_true"].shape == found["own_learnt"].shape == (4, CHEETAH.horizon)
    true = CHEETAH.reward(
        runs["unseen"].states[1, :-1], runs["unseen"].trajectories.acts[1], runs["unseen"].states[1, 1:]
    )
    np.testing.assert_allclose(found["own_true"][3], true)
    linear = learned.step_rewards(*runs["seen"].trajectories[:1].transitions())
    np.testing.assert_allclose(found["own_learnt"][0], linear, rtol=1e-5)
    if "gait_pixels" not in found and os.environ.get("CI") != "true":
        pytest.skip("no OpenGL on this machine: apt-get install libosmesa6 to test rendering")
    pixels = found["gait_pixels"].astype(int)
    assert pixels.shape == (2, pictures.GAIT_FRAMES, *bodies.SIZE, 3)
    brown = (pixels[..., 0] - pixels[..., 2] > 30).mean((-1, -2))  # the body, and nothing else, is
    assert (brown > 0.01).all() and (brown < 0.3).all()


def test_a_body_is_photographed_on_the_ground_however_far_it_ran() -> None:
    model = CHEETAH.make_env(1).model
    poses = np.zeros((2, model.nq))
    poses[1, 0] = 300.0  # the ground of Gymnasium's model ends at 40 m
    found = bodies.photographs(model, poses)
    if found is None and os.environ.get("CI") != "true":
        pytest.skip("no OpenGL on this machine: apt-get install libosmesa6 to test rendering")
    assert found is not None
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0, -1] < 250).any(-1).all()  # ground, along the lower edge


def test_without_opengl_a_run_has_no_pixels_and_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "none")
    assert bodies.photographs(CHEETAH.make_env(1).model, np.zeros((1, 9))) is None


@pytest.mark.parametrize("task", [UMAZE_TASK, CHEETAH], ids=lambda t: t.name)
def test_what_is_left_is_what_reports_read(task: Task, tmp_path: Path) -> None:
    posed, learned = smoke(toys.PROPER, task)
    found = pictures.pictures(task, learned, posed, runs_of(task, learned), 0)
    np.savez_compressed(tmp_path / "artefacts.npz", **found)  # type: ignore[arg-type]
    assert set(artefacts.load(tmp_path)) == set(found)
