"""Tables as LaTeX."""

import re

from bige_opensim.io.latex import escaped, table


def test_marks_of_latex_are_set_as_they_read():
    assert escaped("50 % & x_1 ± 2° †") == r"50 \% \& x\_1 $\pm$ 2$^\circ$ $^\dagger$"
    assert escaped("\\{}") == r"\textbackslash{}\{\}"


def test_a_table_has_a_line_for_each_row_and_a_column_for_each_cell():
    text = table("What & why", [["", "a_b", "c"], ["people", "1", "2"]], [["share", "50 %", "-"]])
    head, body = text.split(r"\midrule")
    assert r"\caption{What \& why}" in head
    assert r"\begin{tabular}{lrr}" in head
    assert [len(re.split(r"(?<!\\)&", line)) for line in head.splitlines() if line.endswith(r"\\")] == [3, 3]
    assert body.strip().splitlines()[0] == r"share & 50 \% & - \\"
