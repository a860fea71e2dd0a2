"""A file that a command is asked to write is written whole or not at all."""

from pathlib import Path

import pytest

from paramshare.commands.output import write_file
from paramshare.errors import UsageError
from support.file_size_limit import files_of_at_most


def test_a_file_keeps_its_content_if_the_disk_is_full(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    write_file(report, b"the first")
    with files_of_at_most(1000), pytest.raises(UsageError, match=r"report\.html cannot be written: File too large"):
        write_file(report, bytes(2000))
    assert report.read_bytes() == b"the first"
    write_file(report, b"the second")
    assert report.read_bytes() == b"the second"
    assert list(tmp_path.iterdir()) == [report]
