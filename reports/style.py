"""House style: one colour and marker per method in every figure; fonts and widths stand in ``house.mplstyle``."""

import hashlib
from pathlib import Path
from textwrap import wrap

COLUMN = 3.35  # inches: every figure is as wide as one column of a paper, and read at that size
INK, FAINT, WALL = "#222222", "#d9d9d9", "#4a4a4a"
SEEN, UNSEEN = "#0072B2", "#D55E00"

# Okabe and Ito's colours, told apart by readers with any common colour blindness; controls are grey
KNOWN: dict[str, tuple[str, str]] = {
    "bc": ("#E69F00", "o"),
    "gail": ("#D55E00", "v"),
    "airl": ("#CC79A7", "^"),
    "maxent": ("#009E73", "p"),
    "diffusion-irl-mse": ("#332288", "<"),
    "diffusion-irl-mmd-gaussian": ("#0072B2", "d"),
    "diffusion-irl-mmd-matern": ("#56B4E9", ">"),
    "diffusion-irl-value": ("#882255", "h"),
    "diffusion-irl-support": ("#CC6677", "h"),
    "value-regression": ("#997700", "d"),
    "diffusion-bc": ("#AA4499", "8"),
    "diffusion-irl-likelihood": ("#4477AA", "*"),
    "relative-reward": ("#DDCC77", "^"),
    "dac": ("#117733", "D"),
    "sqil": ("#999933", "s"),
    "iq-learn": ("#661100", "P"),
    "f-irl": ("#44AA99", "H"),
    "min-distance": ("#6699CC", "X"),
    "maxent-tabular": ("#7BC8A4", "*"),
    "expert": ("#000000", "s"),
    "oracle-diffuser": ("#4d4d4d", "D"),
    "oracle-value": ("#666666", "h"),
    "oracle-ppo": ("#303030", "v"),
    "oracle-sac": ("#999999", "p"),
    "unguided-diffuser": ("#858585", "P"),
    "random": ("#adadad", "X"),
}
# for methods without a fixed colour: of Paul Tol's schemes what is not too near to the above
OTHERS = ("#AA4466", "#225555", "#004488")
OTHER_MARKERS = "h8*HpdD"
HOUSE = Path(__file__).parent / "house.mplstyle"


def look(method: str) -> tuple[str, str]:
    """Colour and marker of a method, the same in every figure and report; chosen by its name where none is fixed."""
    method = method.split(" (")[0]  # a variant looks like its method
    one, other = (hashlib.sha256(name.encode()).digest()[0] for name in (method, method + "#"))
    return KNOWN.get(method, (OTHERS[one % len(OTHERS)], OTHER_MARKERS[other % len(OTHER_MARKERS)]))


def short(title: str, most: int = 31) -> str:
    """A title that fits into a legend."""
    return title if len(title) <= most else title[: most - 1] + "…"


def two_lines(title: str) -> str:
    """A title that fits beside an axis or above a small panel."""
    return "\n".join(wrap(title, 18, max_lines=2, placeholder="…", break_on_hyphens=False))
