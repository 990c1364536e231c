"""A table as plain data, and as Markdown, LaTeX and terminal text. Every string from a record is escaped here."""

import html
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from reports.style import short

DAGGER = "†"
LATIN = frozenset(map(chr, range(0xA1, 0x180)))  # what LaTeX prints without further packages
TITLE = 32  # characters of a title in a terminal
HEADING = 20  # characters of a line of a heading in LaTeX
BRIEF = {"failed": "fail", "timeout": "time", "missing": "miss", "skipped": "skip"}  # in a terminal
_LATEX = {
    "\\": r"\textbackslash{}",
    **{c: "\\" + c for c in "&%$#_{}"},
    **{c: f"{{{c}}}" for c in "[]*"},  # at the start of a row they would be arguments of the line break
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    DAGGER: r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "§": r"\S{}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}


@dataclass(frozen=True)
class Cell:
    """One entry: a value or a status, its interval and what limits it, e.g. ``84.3``, ``[72.1, 96.5]``, ``2/3 ok``."""

    text: str
    interval: str = ""
    limit: str = ""
    bold: bool = False

    @property
    def rest(self) -> list[str]:
        """What stands small beside or beneath the value."""
        return [self.interval] * bool(self.interval) + [f"({self.limit})"] * bool(self.limit)


@dataclass(frozen=True)
class Line:
    """One method's row."""

    title: str
    control: bool
    cells: Sequence[Cell]

    @property
    def marked(self) -> str:
        """The title, with a mark if it is a control's."""
        return self.title + DAGGER * self.control


@dataclass(frozen=True)
class Section:
    """Rows under one heading."""

    title: str
    lines: Sequence[Line]

    @property
    def blocks(self) -> list[list[Line]]:
        """Contestants, then controls; one block where there are none of the others."""
        both = ([x for x in self.lines if x.control is control] for control in (False, True))
        return [block for block in both if block]


@dataclass(frozen=True)
class Table:
    """A table before it is written."""

    name: str  # of its files
    caption: str
    header: Sequence[str]  # of the columns after the first
    sections: Sequence[Section]
    data: pd.DataFrame  # the same as numbers, for CSV
    groups: Sequence[tuple[str, int]] = ()  # headings over columns, and over how many each
    first: str = "Method"  # heading of the first column


def clean(text: str) -> str:
    """One line without control characters, so that no record can steer a terminal or break a table."""
    flat = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return re.sub(r"\s+", " ", flat).strip()


def slug(text: str) -> str:
    """A file name: lower-case letters, digits and hyphens only."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def markdown_text(text: str) -> str:
    """Escaped for a Markdown table cell: no HTML, no emphasis, no new column."""
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", html.escape(clean(text), quote=False))


def latex_text(text: str) -> str:
    """Escaped for LaTeX text."""
    return "".join(_LATEX.get(c, c if c in string.printable or c in LATIN else "?") for c in clean(text))


def markdown_cell(cell: Cell, stacked: bool = False) -> str:
    """``**84.3** [72.1, 96.5] (2/3 ok)``; ``stacked`` puts the rest small beneath, for narrow columns."""
    text, rest = markdown_text(cell.text), [*map(markdown_text, cell.rest)]
    text = f"**{text}**" if cell.bold else text
    if stacked and rest:
        return f"{text}<br><sub>{' '.join(rest)}</sub>"
    return " ".join([text, *rest])


def markdown(table: Table, stacked: bool = False) -> str:
    """The table with its headings and caption."""
    spans = [title for title, width in table.groups for _ in range(width)] or [""] * len(table.header)
    header = [": ".join(filter(None, pair)) for pair in zip(spans, table.header, strict=True)]
    out = []
    for section in table.sections:
        if section.title:
            out += [f"### {markdown_text(section.title)}", ""]
        out += [_row([table.first, *map(markdown_text, header)]), _row([":--", *["--:"] * len(header)])]
        for k, block in enumerate(section.blocks):
            if k:
                out.append(_row(["*controls*", *[""] * len(header)]))
            for line in block:
                out.append(_row([markdown_text(line.marked), *(markdown_cell(c, stacked) for c in line.cells)]))
        out.append("")
    return "\n".join([*out, markdown_text(table.caption), ""])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def latex(table: Table) -> str:
    r"""A ``table*`` for ``\usepackage{booktabs}``; wide ones want ``\usepackage{graphicx}`` for ``\resizebox``."""
    columns = len(table.header)
    out = [
        r"\begin{table*}[t]",
        r"\centering\small",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\smallskip",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * columns}}}",
        r"\toprule",
    ]
    if table.groups:
        spans = [rf"\multicolumn{{{width}}}{{c}}{{{latex_text(title)}}}" for title, width in table.groups]
        out.append(" & ".join(["", *spans]) + r" \\")
        start = 2
        for _, width in table.groups:
            out.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
            start += width
    out.append(" & ".join([table.first, *map(_latex_heading, table.header)]) + r" \\")
    for section in table.sections:
        out.append(r"\midrule")
        if section.title:
            out.append(
                rf"\multicolumn{{{columns + 1}}}{{l}}{{\textit{{{latex_text(section.title)}}}}} \\ \addlinespace[2pt]"
            )
        for k, block in enumerate(section.blocks):
            out += [r"\addlinespace"] * bool(k)
            for line in block:
                out.append(" & ".join([latex_text(line.marked), *map(_latex_cell, line.cells)]) + r" \\")
    return "\n".join([*out, r"\bottomrule", r"\end{tabular}}", r"\end{table*}", ""])


def _latex_heading(text: str) -> str:
    """In several lines where long: a table as wide as its headings would shrink to nothing on a page."""
    lines = [latex_text(line) for line in wrap(clean(text), HEADING)]
    return r"\shortstack[r]{" + r" \\ ".join(lines) + "}" if len(lines) > 1 else latex_text(text)


def _latex_cell(cell: Cell) -> str:
    text = latex_text(cell.text)
    text = rf"\textbf{{{text}}}" if cell.bold else text
    return text + (rf" {{\scriptsize {latex_text(' '.join(cell.rest))}}}" if cell.rest else "")


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),  # every string, whatever a record holds; Markdown's pass `markdown_text`
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
TEMPLATES.filters["clean"] = clean


def html_table(table: Table) -> str:
    """A ``<table>`` with caption and headings for rows and columns."""
    return TEMPLATES.get_template("table.html").render(table=table)


def plain(table: Table) -> str:
    """For a terminal: values and statuses without intervals.

    ``*`` marks what other formats print bold, ``!`` a mean over fewer runs than expected; long titles are cut.
    """

    def entry(cell: Cell) -> str:
        text = clean(cell.text)
        return BRIEF.get(text, text) + ("!" if "/" in cell.limit else "*" if cell.bold else " ")

    out = []
    for section in table.sections:
        first = max((len(short(clean(line.title), TITLE) + DAGGER) for line in section.lines), default=0)
        widths = [
            max([len(h) + 1, *(len(entry(line.cells[i])) for line in section.lines)])
            for i, h in enumerate(map(clean, table.header))
        ]
        if section.title:
            out.append(clean(section.title))
        if table.groups:
            start, heads = 0, " " * first
            for title, count in table.groups:
                room = sum(widths[start : start + count]) + count
                heads += f"{short(clean(title), room - 2):^{room}}"
                start += count
            out.append(heads.rstrip())
        out.append(" " * first + "".join(f" {clean(h) + ' ':>{w}}" for h, w in zip(table.header, widths, strict=True)))
        rule = "-" * (first + sum(widths) + len(widths))
        for block in section.blocks or [[]]:
            out.append(rule)
            for line in block:
                cells = "".join(f" {entry(cell):>{w}}" for cell, w in zip(line.cells, widths, strict=True))
                out.append(f"{short(clean(line.title), TITLE) + DAGGER * line.control:<{first}}{cells}")
        out.append("")
    return "\n".join(line.rstrip() for line in out)
