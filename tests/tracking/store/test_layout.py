"""The addresses of files are read as MLflow reads them."""

from pathlib import Path

import pytest
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

from paramshare.tracking.store.layout import local_path


@pytest.mark.parametrize(
    "location",
    [
        "/a/b", "a/b", "a%20b", "file:///a/b", "file:/a/b", "file:a/b", "file://localhost/a/b", "file://127.0.0.1/a",
        Path("/a b/ü/c#d?e;f%20").as_uri(), "mlflow-artifacts:/1", "s3://bucket/a", "http://host/a", "dbfs:/a",
    ],
)  # fmt: skip
def test_an_address_is_local_where_mlflow_says_so_and_names_the_same_path(location: str) -> None:
    expected = Path(local_file_uri_to_path(location)) if is_local_uri(location) else None
    assert local_path(location) == expected


def test_an_address_of_files_on_another_machine_is_not_local() -> None:
    """MLflow refuses it with an error."""
    assert local_path("file://elsewhere/a") is None
