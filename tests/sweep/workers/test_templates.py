"""Test where the templates of a sweep's models are kept, so that the next sweep exports nothing."""

from pathlib import Path

import pytest

from paramshare.recipes.spec import Spec
from paramshare.sweep.chunks import make_chunks
from paramshare.sweep.workers.templates import make_chunk_templates
from paramshare.tracking.store import StoreAddress
from paramshare.training.choice import choose_engine
from paramshare.training.export import archives

SERVER = StoreAddress("http://127.0.0.1:9", "paramshare")


def templates_of(spec: Spec, address: StoreAddress) -> list[str]:
    """Make the templates of a sweep of one seed, and return the names of the members of each."""
    templates = make_chunk_templates(make_chunks([choose_engine(spec)], 1, address))
    return [name for template in templates for name, _ in template.members]


@pytest.mark.parametrize("server", [False, True])
def test_the_next_sweep_in_a_folder_with_mlruns_exports_nothing(
    server: bool, small: Spec, address: StoreAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SERVER if server else address
    made = templates_of(small, store)
    assert made
    assert len(list(Path("mlruns", "templates").iterdir())) == 1
    monkeypatch.delattr(archives, "make_template")
    assert templates_of(small, store) == made


def test_a_sweep_into_a_server_from_a_folder_without_mlruns_keeps_nothing(small: Spec, tmp_path: Path) -> None:
    assert templates_of(small, SERVER)
    assert list(tmp_path.iterdir()) == []
