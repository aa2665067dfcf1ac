"""The notebook of the Python tutorial holds what its page holds, and was run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_notebook", ROOT / "scripts" / "make_notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def notebook(script):
    return nbformat.read(script.TUTORIALS / "python.ipynb", as_version=4)


def test_its_cells_are_those_of_the_page(notebook, script):
    """After a change of the page: python scripts/make_notebook.py."""
    expected = [(cell.cell_type, cell.source) for cell in script.tutorial_cells()]
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == expected


def test_it_was_run_from_top_to_bottom_without_an_error(notebook):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert kinds == {"stream"}
