"""A report as a Word document: a laboratory's own template, filled with what the HTML report shows.

Templates hold fields such as `{{ title }}` and blocks such as `{% for motion in motions %}`, in the language of docxtpl
(Jinja2 inside Word; https://docxtpl.readthedocs.io), which is run in Jinja2's sandbox: a template can show what it is
given and do nothing else.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bige_opensim.io.whole_files import write_whole_bytes
from bige_opensim.reporting.evidence import ReportError
from bige_opensim.reporting.word_figures import drawn_png

if TYPE_CHECKING:
    from docxtpl import DocxTemplate

PLAIN = "plain"
"""Name by which the plain template is asked for instead of a file."""
WIDE_MM, NARROW_MM = 150.0, 75.0
"""Width of a goal's chart, and of one curve's panel; two panels lie side by side on A4."""
_UNDEFINED = re.compile(r"'(\w+)' is undefined|has no attribute '(\w+)'")


def write_word(content: Mapping[str, Any], template: Path, out: Path) -> Path:
    """Fill a template (a .docx file, or "plain") with what a report shows, and write it, whole or not at all.

    The plain template is written beside it, for whoever wants to change it.

    Raises
    ------
    ReportError
        docxtpl is not installed, the template is no Word file, or asks for what there is not.

    """
    if find_spec("docxtpl") is None:
        raise ReportError("Word documents need docxtpl: pip install 'bige_opensim[docx]'.")
    from docxtpl import DocxTemplate
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import SandboxedEnvironment

    plain = str(template) == PLAIN
    if not plain and (not template.is_file() or not zipfile.is_zipfile(template)):
        raise ReportError(
            f"{template}: no Word document (.docx) is there. Name your template, or 'plain' for a plain one, which "
            "is written beside the report for you to change."
        )
    source = BytesIO(plain_template()) if plain else BytesIO(template.read_bytes())
    fields: dict[str, Any] = {}
    try:
        document = DocxTemplate(source)
        fields = _fields(content, document)
        document.render(fields, jinja_env=SandboxedEnvironment(undefined=StrictUndefined), autoescape=True)
        filled = BytesIO()
        document.save(filled)
    except TemplateError as error:
        raise ReportError(f"{template}: {error}.{_hint(str(error), fields)}") from error
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ReportError(f"{template}: no Word document ({error}); save it as .docx again.") from error
    if plain:
        write_whole_bytes(out.with_name(f"{out.stem}_template.docx"), source.getvalue())
    write_whole_bytes(out, filled.getvalue())
    return out


def _hint(text: str, fields: Mapping[str, Any]) -> str:
    found = _UNDEFINED.search(text)
    asked = next((name for name in found.groups() if name), "") if found else ""
    near = get_close_matches(asked, sorted(_names_in(fields)), n=1) if asked else []
    return f" Did you mean {near[0]!r}?" if near else f" Fields are {', '.join(fields)}." if asked else ""


def _names_in(entry: Any) -> set[str]:
    """Names that templates can ask for, at any depth."""
    if isinstance(entry, Mapping):
        return {*entry, *(name for part in entry.values() for name in _names_in(part))}
    return {name for part in entry for name in _names_in(part)} if isinstance(entry, list) else set()


def _fields(content: Mapping[str, Any], document: DocxTemplate) -> dict[str, Any]:
    """What templates are given: texts, lists of texts, and images that are drawn where they are asked for."""

    def images(figures: Sequence[Any], wide: bool = False) -> list[dict[str, Any]]:
        width = WIDE_MM if wide else NARROW_MM
        return [{"caption": f.caption, "image": _Image(f, document, width)} for f in figures]

    motions = [
        {
            "number": card["place"],
            "name": card["name"],
            "status": card["status"],
            "reason": card["reason"],
            "facts": [{"name": name, "value": value} for name, value in card["facts"]],
            "goals": card["terms"],
            "checks": card["gates"],
            "muscles": images(card["muscles"]),
            "joints": images(card["joints"]),
            "dynamics": images(card["dynamics"]),
        }
        for card in content["cards"]
    ]
    norms, edit = content["norms"], content["edit"]
    changed = None
    if edit is not None:
        names = ("name", "before", "predicted", "after", "target")
        rows = [dict(zip(names, row, strict=True)) for row in edit["rows"]]
        changed = {"motion": edit["motion"], "part": edit["part"], "rows": rows, "changes": edit["changes"]}
    return {
        "title": content["title"],
        "description": content["description"],
        "date": content["date"],
        "version": content["version"],
        "synthetic": content["synthetic"],
        "total": content["total"],
        "counts": {status.replace(" ", "_"): count for status, count in content["counts"].items()},
        "contradictions": content["contradictions"],
        "person": [{"name": name, "value": value} for name, value in content["person"]],
        "goals": content["terms"],
        "goal_figures": images(content["goals"], wide=True),
        "motions": motions,
        "muscles": images(content["overview"]["muscles"]),
        "joints": images(content["overview"]["joints"]),
        "dynamics": images(content["overview"]["dynamics"]),
        "norms": [] if norms is None else [{"caption": b.caption, "note": b.note} for b in norms.bars],
        "edit": changed,
        "provenance": [{"name": name, "value": value} for name, value in content["provenance"]],
    }


class _Image:
    """A figure that is drawn and put into the document where a template shows it."""

    def __init__(self, figure: Any, document: DocxTemplate, width_mm: float) -> None:
        self._figure, self._document, self._width_mm = figure, document, width_mm

    def __html__(self) -> str:
        from docx.shared import Mm
        from docxtpl import InlineImage

        png = BytesIO(drawn_png(self._figure, self._width_mm))
        return str(InlineImage(self._document, png, width=Mm(self._width_mm)))

    __str__ = __html__


def plain_template() -> bytes:
    """A template with every field, to be used as it is or changed in Word."""
    from docx import Document
    from docx.shared import Mm

    document = Document()
    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.left_margin = section.right_margin = Mm(25)
    document.add_heading("{{ title }}", 0)
    document.add_paragraph("{{ description }}")
    document.add_paragraph(
        "{{ counts.confirmed }} of {{ total }} motions are confirmed by OpenSim."
        "{% if synthetic %} The training data are synthetic.{% endif %}"
    )
    _each(document, "sentence in contradictions", "{{ sentence }}", style="List Bullet")
    document.add_heading("Person", 1)
    _table(document, ("", ""), "row in person", ("{{ row.name }}", "{{ row.value }}"))
    document.add_heading("What was asked", 1)
    _table(document, ("", "goal", "must"), "g in goals", ("{{ g.what }}", "{{ g.target }}", _yes("g.required")))
    document.add_heading("What was found", 1)
    _each(document, "f in goal_figures", "{{ f.image }}", "{{ f.caption }}")
    document.add_paragraph("{%p if edit %}")
    document.add_heading("What changed", 1)
    document.add_paragraph("Recorded: {{ edit.motion }}, {{ edit.part }}.")
    cells = ("{{ r.name }}", "{{ r.before }}", "{{ r.after }}", "{{ r.target }}")
    _table(document, ("", "before", "after", "goal"), "r in edit.rows", cells)
    _each(document, "sentence in edit.changes", "{{ sentence }}", style="List Bullet")
    document.add_paragraph("{%p endif %}")
    document.add_paragraph("{%p if norms %}")
    document.add_heading("Beside what is usual", 1)
    _each(document, "n in norms", "{{ n.caption }}: {{ n.note }}", style="List Bullet")
    document.add_paragraph("{%p endif %}")
    document.add_paragraph("{%p for m in motions %}")
    document.add_heading("Motion {{ m.number }}: {{ m.status }}", 1)
    document.add_paragraph("{{ m.reason }}")
    cells = ("{{ g.name }}", "{{ g.target }}", "{{ g.predicted }}", "{{ g.simulated }}")
    _table(document, ("", "goal", "estimate", "OpenSim"), "g in m.goals", cells)
    _table(document, ("", ""), "f in m.facts", ("{{ f.name }}", "{{ f.value }}"))
    checks = ("{{ c.title }}", "{{ c.value }}", "{{ c.limit }}", _yes("c.passed"))
    _table(document, ("check", "value", "limit", "passed"), "c in m.checks", checks)
    for kind in ("muscles", "joints", "dynamics"):
        document.add_paragraph(f"{{% for f in m.{kind} %}}{{{{ f.image }}}} {{% endfor %}}")
    document.add_paragraph("{%p endfor %}")
    document.add_heading("How it was made", 1)
    _table(document, ("", ""), "row in provenance", ("{{ row.name }}", "{{ row.value }}"))
    document.add_paragraph("{{ date }}, bige_opensim {{ version }}")
    whole = BytesIO()
    document.save(whole)
    return whole.getvalue()


def _yes(condition: str) -> str:
    return f"{{{{ 'yes' if {condition} else 'no' }}}}"


def _each(document: Any, loop: str, *paragraphs: str, style: str | None = None) -> None:
    document.add_paragraph(f"{{%p for {loop} %}}")
    for text in paragraphs:
        document.add_paragraph(text, style=style)
    document.add_paragraph("{%p endfor %}")


def _table(document: Any, heads: Sequence[str], loop: str, cells: Sequence[str]) -> None:
    """A table with a row per turn of a loop."""
    rows: list[Sequence[str]] = [heads] if any(heads) else []
    rows += [[f"{{%tr for {loop} %}}"], cells, ["{%tr endfor %}"]]
    table = document.add_table(rows=0, cols=len(cells), style="Light List Accent 1")
    for row in rows:
        for cell, text in zip(table.add_row().cells, row, strict=False):
            cell.text = text
    document.add_paragraph("")
