"""Sphinx configuration of the site: API by autosummary, gallery and notebooks executed, warnings as errors."""

from __future__ import annotations

import os
from html import escape
from typing import Any

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx

import bige_opensim

project = "bige_opensim"
author = "The bige_opensim developers"
copyright = f"2026, {author}"
release = bige_opensim.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/**", "examples/*.ipynb", "**/sg_execution_times.rst", "sg_execution_times.rst"]
html_theme = "furo"
html_title = "bige_opensim"
html_copy_source = False

myst_enable_extensions = ["dollarmath", "deflist"]
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True

autosummary_generate = True
autodoc_typehints = "signature"
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
    "remove_config_comments": True,
}

os.environ.setdefault("MPLBACKEND", "Agg")


def mathml(latex: str, display: str) -> str:
    """An equation as MathML, which browsers draw without any script or font from elsewhere."""
    return latex2mathml.converter.convert(latex, display=display)


def visit_inline(translator: Any, node: nodes.math) -> None:
    """Write an inline equation."""
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_display(translator: Any, node: nodes.math_block) -> None:
    """Write a displayed equation, with its number where it has a label."""
    number = f'<span class="eqno">({escape(str(node["number"]))})</span>' if node.get("number") else ""
    translator.body.append(f'<div class="equation">{number}{mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register the equations' writer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))


html_math_renderer = "mathml"
