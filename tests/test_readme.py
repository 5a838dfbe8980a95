"""The commands of README and site are the command line's, their objectives are valid, and their files exist."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cyclopts
import pytest

from bige_opensim.guidance.language import check_document

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts)]
LONGEST_README = 200
TEST_MARKER = "<!-- test command -->"
SHELL_OPERATORS = set("();<>|&")


class Block(NamedTuple):
    """A fenced code block of the README: its language, its text and where it begins."""

    language: str
    text: str
    start: int


def code_blocks(text: str) -> list[Block]:
    fences = re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", text, re.MULTILINE | re.DOTALL)
    return [Block(found[1], found[2], found.start()) for found in fences]


def shell_commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a shell script, as lists of words; variables stay as they are written."""
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= SHELL_OPERATORS:
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def bige_commands(text: str) -> list[list[str]]:
    """Arguments of every `bige ...` in the shell blocks of a Markdown text."""
    scripts = [block.text for block in code_blocks(text) if block.language in {"bash", "sh", "console", ""}]
    commands = [words for script in scripts for words in shell_commands(script)]
    return [words[1:] for words in commands if Path(words[0]).name == "bige"]


BLOCKS = code_blocks(README)
TEXTS = [page.read_text(encoding="utf-8") for page in PAGES]
COMMANDS = [words for text in TEXTS for words in bige_commands(text)]
OBJECTIVES = [block.text for text in TEXTS for block in code_blocks(text) if "[[term]]" in block.text]


@pytest.fixture(scope="module")
def app() -> cyclopts.App:
    from bige_opensim.cli import app

    return app


def parse(app: cyclopts.App, words: list[str]) -> str:
    """Name of the function that the command line would call; nothing is called."""
    command, _, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    return getattr(command, "__name__", type(command).__name__)


def leaves(app: cyclopts.App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], cyclopts.App]]:
    """Every command that does something, with the words that call it."""
    for name in app:
        if not name.startswith("-") and app[name].show is not False:
            yield from leaves(app[name], (*path, name))
    if path and app.default_command is not None:
        yield path, app


def test_the_readme_opens_with_two_single_line_commands():
    opening = [block for block in BLOCKS if block.start < README.index("\n## ")]
    assert len(opening) == 2
    for block in opening:
        assert len(block.text.splitlines()) == 1, "a reader pastes one line"
        assert "python3 -m venv .venv" in block.text
        assert "pip install" in block.text
    main_job, tests = (block.text for block in opening)
    assert "pytest" not in main_job
    assert ".venv/bin/python -m pytest" in tests


def test_the_first_command_shows_the_whole_system():
    assert [words[0] for words in bige_commands(f"```bash\n{BLOCKS[0].text}```")] == ["demo"]


def test_continuous_integration_runs_the_command_that_the_readme_gives():
    after_marker = code_blocks(README[README.index(TEST_MARKER) :])[0]
    assert README.count(TEST_MARKER) == 1
    assert after_marker.text == BLOCKS[1].text
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert TEST_MARKER in ci
    assert "pip install" not in ci, "the environment of CI is the one that the README makes"


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_that_is_shown_is_understood(app: cyclopts.App, words: list[str]):
    asked = "--help" in words
    assert (parse(app, words) == "help_print") is asked, f"`bige {' '.join(words)}` only prints help"


@pytest.mark.parametrize(
    "words", [["lable", "S", "--out", "L"], ["label", "S", "--outt", "L"], ["train", "surogate", "--data", "reps.nc"]]
)
def test_a_misspelled_command_or_option_is_not_understood(app: cyclopts.App, words: list[str]):
    with pytest.raises(cyclopts.CycloptsError):
        parse(app, words)


def test_every_command_of_the_command_line_is_shown_somewhere(app: cyclopts.App):
    missing = [" ".join(path) for path, _ in leaves(app) if list(path) not in [w[: len(path)] for w in COMMANDS]]
    assert not missing, f"neither README.md nor docs/ shows an example of: {missing}"


def test_every_option_that_is_explained_exists(app: cyclopts.App):
    known = {n for _, leaf in leaves(app) for argument in leaf.assemble_argument_collection() for n in argument.names}
    known |= {*app.help_flags, *app.version_flags}
    written = {option for text in TEXTS for option in re.findall(r"`(--?[a-z][a-z-]*)", text)}
    assert written, "README or site explain options"
    assert written <= known, f"no command knows {sorted(written - known)}"


@pytest.mark.parametrize("text", OBJECTIVES)
def test_objectives_that_are_shown_are_valid(text: str):
    document = check_document(tomllib.loads(text), source="README.md or docs/")
    assert any(term.hard for term in document.terms)


def test_an_objective_is_shown():
    assert OBJECTIVES


def test_the_readme_is_read_in_one_sitting():
    assert len(README.splitlines()) <= LONGEST_README


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_that_are_named_exist(page: Path):
    text = page.read_text(encoding="utf-8")
    links = [page.parent / link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    named = [ROOT / name for name in re.findall(r"\b(?:pipelines|osim_models|tests|benchmarks)/[\w./-]+\w", text)]
    generated = {ROOT / "docs" / "examples" / "index"}
    assert not [path for path in {*links, *named} - generated if not path.exists()]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("D=x; .venv/bin/bige label \"$D\" --out 'a b' && bige info", [["label", "$D", "--out", "a b"], ["info"]]),
        ("M=$(find x | head -n 1); echo bige  # bige info", []),
        ("bige dataset labels \\\n  --out reps.nc", [["dataset", "labels", "--out", "reps.nc"]]),
    ],
)
def test_commands_are_found_in_shell_lines(script: str, expected: list[list[str]]):
    assert bige_commands(f"```bash\n{script}\n```") == expected


def test_every_public_name_is_in_the_api_reference():
    import bige_opensim

    listed = set((ROOT / "docs" / "api.md").read_text(encoding="utf-8").split())
    assert not [name for name in bige_opensim.__all__ if name not in listed]
