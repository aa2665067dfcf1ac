"""Make the notebook of the Python tutorial from its page, and run it: docs/tutorials/python.ipynb.

Run after a change of docs/tutorials/python.md.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
_BLOCK = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_LINK_TO_NOTEBOOK = "The same steps are in a [notebook](python.ipynb) with its output.\n\n"


def tutorial_cells() -> list[nbformat.NotebookNode]:
    """Return the cells of the tutorial: its Python blocks as code, the text between them as Markdown."""
    page = (TUTORIALS / "python.md").read_text(encoding="utf-8").replace(_LINK_TO_NOTEBOOK, "")
    cells = []
    for number, part in enumerate(_BLOCK.split(page)):
        if part.strip():
            cells.append((new_code_cell if number % 2 else new_markdown_cell)(part.strip(), id=f"cell-{number}"))
    return cells


def main() -> None:
    """Write and run the notebook."""
    notebook = new_notebook(cells=tutorial_cells())
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": os.fspath(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:  # what libraries write to standard error names this machine's folders
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(notebook, TUTORIALS / "python.ipynb")


if __name__ == "__main__":
    main()
