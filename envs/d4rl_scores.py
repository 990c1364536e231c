"""D4RL's reference returns, the 0 and the 100 of its normalised score."""

from dataclasses import dataclass

SOURCE = "D4RL 1.1, d4rl/infos.py, REF_MIN_SCORE and REF_MAX_SCORE (Fu et al. 2020)"
MAZE_NOTE = "maze references hold for D4RL's own start distribution, not for starts drawn from a part of the maze"


@dataclass(frozen=True)
class Reference:
    """Mean undiscounted returns over one D4RL episode.

    Args:
        data: D4RL's name of the data.
        random: of random actions, score 0.
        expert: of D4RL's expert, score 100.
        steps: steps of the episode that these returns are of.
        note: where the references apply; may be empty.
    """

    data: str
    random: float
    expert: float
    steps: int
    note: str = ""

    def score(self, mean_return: float) -> float:
        """``100 (return - random) / (expert - random)``."""
        return 100 * (mean_return - self.random) / (self.expert - self.random)


REFERENCES = {
    "halfcheetah": Reference("halfcheetah", -280.178953, 12135.0, 1000),
    "maze2d-umaze": Reference("maze2d-umaze-dense-v1", 68.537689, 193.66285642381482, 300, MAZE_NOTE),
    "maze2d-large": Reference("maze2d-large-dense-v1", 30.569041, 303.4857382709002, 800, MAZE_NOTE),
}
VARIANTS = {  # of tasks that are variants of the three above; D4RL has nothing like the mazes' ``-corner``
    "halfcheetah-full-replay": REFERENCES["halfcheetah"],
    "maze2d-umaze-nodwell": REFERENCES["maze2d-umaze"],
    "maze2d-large-nodwell": REFERENCES["maze2d-large"],
    "maze2d-umaze-sparse": Reference("maze2d-umaze-v1", 23.85, 161.86, 300, MAZE_NOTE),
    "maze2d-large-sparse": Reference("maze2d-large-v1", 6.7, 273.99, 800, MAZE_NOTE),
}
