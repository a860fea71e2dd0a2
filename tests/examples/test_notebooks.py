"""The notebooks among the examples run from the first cell to the last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from support import ROOT

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_goes_from_a_recipe_to_a_report(file: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # they are of one machine and one day
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    shown = "".join(str(cell.get("outputs", "")) for cell in client.execute().cells)
    assert "sharing factor" in shown
    assert "(n = 6 pairs, 95 % confidence intervals" in shown
    assert "<html" in (tmp_path / "report.html").read_text()
