"""Tables as LaTeX, for `booktabs`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MARKS = {
    "\\": r"\textbackslash{}",
    "†": r"$^\dagger$",
    "±": r"$\pm$",
    "²": r"$^2$",
    "×": r"$\times$",
    "°": r"$^\circ$",
    **{c: rf"\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def escaped(text: str) -> str:
    """Text as LaTeX sets it."""
    return "".join(MARKS.get(c, c) for c in text)


def table(caption: str, headings: Sequence[Sequence[str]], lines: Iterable[Sequence[str]]) -> str:
    """A table of plain texts: the first column to the left, all others to the right."""
    rows = [" & ".join(escaped(cell) for cell in line) + r" \\" for line in (*headings, *lines)]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escaped(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(headings[0]) - 1)}}}",
            r"\toprule",
            *rows[: len(headings)],
            r"\midrule",
            *rows[len(headings) :],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
