"""An archive of the artifacts is read whole or refused, wherever it was cut."""

import io
import runpy
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

PROGRAM = Path(__file__).parents[2] / "docker" / "artifacts.py"


def test_an_archive_cut_off_at_any_block_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = runpy.run_path(str(PROGRAM))
    store, read = tmp_path / "artifacts", tmp_path / "read"
    (store / "1").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (store / "1" / name).write_text(name * 700)
    artifacts["read"].__globals__.update(STORE=store, READ=read, KEPT=tmp_path / "kept")  # all functions' globals

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=written))
    artifacts["write"]()
    content = written.getvalue()

    def load(given: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(given)))
        artifacts["read"]()

    load(content)
    assert {path.name: path.read_text() for path in (read / "1").iterdir()} == {name: name * 700 for name in "abc"}
    members = content.rstrip(b"\0")
    for cut in range(0, len(members), tarfile.BLOCKSIZE):
        with pytest.raises((SystemExit, tarfile.ReadError), match=r"end|empty|truncated|unexpected"):
            load(content[:cut])
