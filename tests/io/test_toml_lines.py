import pytest

from bige_opensim.io.toml_lines import TomlLines

TEXT = '''# a comment
name = "Squat"
description = """
[[term]]
stat = "min"
"""

[[term]]
of = [
  "vasmed_r",  # [[term]]
  "vasmed_l",
]
stat = "peak"

[[term]]
# stat = "mean"
stat = "min"
search.beta = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("description",), 3),
        (("term", 0), 8),
        (("term", 0, "of"), 9),
        (("term", 0, "stat"), 13),
        (("term", 1), 15),
        (("term", 1, "stat"), 17),
        (("term", 1, "search", "beta"), 18),
        (("term", 2), None),
        (("term", 1, "weight"), None),
        (("name", "first"), None),
    ],
)
def test_a_key_stands_where_its_line_begins_whatever_strings_and_comments_hold(path, line):
    assert TomlLines(TEXT).of(path) == line
