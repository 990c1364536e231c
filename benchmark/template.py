"""A new method from the template: one file, ready to be filled in."""

from pathlib import Path

import baselines
from benchmark.errors import UserError
from benchmark.registry import check_name, discover

FOLDER = Path(baselines.__file__).parent


def new_method(name: str, folder: Path = FOLDER) -> Path:
    """Copies ``baselines/_template.py`` under a new name, lower-case words joined by hyphens; the path of the new file.

    Raises:
        UserError: a name that is no name or is taken; nothing is written then.
    """
    check_name(name)
    path = folder / f"{name.replace('-', '_')}.py"
    if name in (known := discover().methods) or path.exists():
        raise UserError(f"method {name!r} is there already, in {known[name][1] if name in known else path}")
    text = (FOLDER / "_template.py").read_text(encoding="utf-8")
    text = text[text.index("import numpy") :].replace('"mine"', f'"{name}"').replace('"Mine"', f'"{name.capitalize()}"')
    path.write_text(f'"""{name.capitalize()}: say in a line what it learns, and how."""\n\n{text}', encoding="utf-8")
    return path
