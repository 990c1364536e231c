"""What is hostile is escaped in every format."""

import re

import pandas as pd
from made_up import hostile

from reports.render import Table, clean, latex, markdown, plain


def test_markdown_escapes() -> None:
    text = markdown(hostile())
    assert "<" not in text
    assert "\x1b" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [4, 4, 4]
    assert "**1.0**" in rows[2]
    assert not re.search(r"(?<!\\)[`$]", text)


def test_latex_escapes() -> None:
    text = latex(hostile())
    body = text[text.index(r"\midrule") :]
    bare = re.sub(r"\\[&%$#_{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert r"\input" not in text
    assert r"\textbackslash{}input" in text
    rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [2]
    assert r"\textbf{1.0}" in rows[0]
    assert text.isascii()
    headed = latex(Table("t", "", ["Score ↑", "D4RL-normalised score, seen starts"], [], pd.DataFrame()))
    assert r"Method & Score $\uparrow$ & \shortstack[r]{D4RL-normalised \\ score, seen starts} \\" in headed
    assert latex(Table("t", "日本", [], [], pd.DataFrame())).count("?") == 2  # what LaTeX cannot print stops nothing


def test_terminal_gets_no_control_characters() -> None:
    text = plain(hostile())
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "1.0*" in text
    assert clean("a\x1b]0;b\x07\u202ec\n d") == "a ]0;b c d"
