"""XML documents of OpenSim, read without what such a document never needs: a document type and entities."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from bige_opensim.io.file_hash import read_bytes


def read_xml(path: Path, error: type[ValueError], what: str) -> ElementTree.Element:
    """Root of the XML document at `path`; `what` it should be is said in errors.

    Raises
    ------
    error
        The file is missing, no XML document, or declares a document type or entities, which can expand without end.

    """
    try:
        data = read_bytes(path)
    except OSError as problem:
        raise error(f"{path}: cannot be read ({problem.strerror}); expected {what}.") from problem
    if b"\0" in data:
        raise error(f"{path}: this is no UTF-8 text; expected {what}.")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise error(f"{path}: declares a document type or entities, which OpenSim's documents never do; remove them.")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, UnicodeError, LookupError, ValueError) as problem:
        raise error(f"{path}: not an XML document ({problem}); expected {what}. Export it again.") from problem
