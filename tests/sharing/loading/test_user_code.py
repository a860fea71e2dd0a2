# ruff: noqa: T201 - printing is what is tested
"""The output, the exit, the command line and the process changes of user code are isolated."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from paramshare.errors import SpecError
from paramshare.sharing.loading.import_paths import import_object
from paramshare.sharing.loading.user_code import process_state_restored, running_user_code


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    with process_state_restored():
        yield


def reason(source: str) -> str:
    """Import a file with this source and return why that is refused."""
    Path("nets.py").write_text(source)
    with pytest.raises(SpecError) as refused:
        import_object("nets.py:Net")
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "import sys; sys.exit()",
            "importing nets.py ended the program with exit code 0; put code that runs as a script",
        ),
        ("quit()", "ended the program with exit code 0;"),
        ("raise SystemExit(3)", "ended the program with exit code 3;"),
        ("import sys; sys.exit('no config')", "ended the program with exit code 1: no config;"),
        ("print('no GPU'); print(); raise SystemExit(1)", "ended the program with exit code 1: no GPU;"),
        ("import sys; print('no GPU', file=sys.stderr); sys.exit(1)", "ended the program with exit code 1: no GPU;"),
        ("class Skip(BaseException): pass\nraise Skip('not here')", "importing nets.py failed: Skip: not here"),
    ],
)
def test_file_that_ends_the_program_is_refused_in_one_line(
    source: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in reason(source)
    assert capsys.readouterr() == ("", "")


def test_argparse_error_at_import_is_reported_as_an_error_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    parser = "import argparse\nparser = argparse.ArgumentParser()\n"
    required = f"{parser}parser.add_argument('--data', required=True)\nparser.parse_args()"
    assert "nets.py: error: the following arguments are required: --data; put code that runs" in reason(required)
    assert capsys.readouterr() == ("", "")


def test_user_code_does_not_see_the_arguments_of_paramshare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["paramshare", "analyze", "--width", "9"])
    source = "import argparse, sys\nparser = argparse.ArgumentParser()\nparser.add_argument('--width', default=4)\n"
    Path("nets.py").write_text(f"{source}width, seen = parser.parse_args().width, list(sys.argv)")
    assert (import_object("nets.py:width"), import_object("nets.py:seen")) == (4, ["nets.py"])
    assert sys.argv == ["paramshare", "analyze", "--width", "9"]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143)])
def test_signals_are_not_reported_as_an_exit_of_user_code(end: BaseException) -> None:
    with pytest.raises(type(end)) as passed, running_user_code("importing nets.py", "nets.py"):
        raise end
    assert passed.value is end


def test_all_output_of_user_code_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with running_user_code("importing nets.py", "nets.py"):
        print("printed")
        print("warned", file=sys.stderr)
        os.write(1, b"written\n")
        subprocess.run([sys.executable, "-c", "print('child')"], check=True)
    print("answer")
    out, err = capfd.readouterr()
    assert out == "answer\n"
    assert sorted(err.splitlines()) == ["child", "printed", "warned", "written"]


def test_output_of_user_code_before_an_error_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nets.py").write_text("print('loading')\nraise ValueError('broken')")
    with pytest.raises(SpecError, match="broken"):
        import_object("nets.py:Net")
    assert capsys.readouterr() == ("", "loading\n")


def test_user_code_can_wrap_and_close_stdout_without_harm(capsys: pytest.CaptureFixture[str]) -> None:
    with running_user_code("importing nets.py", "nets.py"):
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8")
        print("größer")
        sys.stdout.close()
    print("warned", file=sys.stderr)
    assert capsys.readouterr() == ("", "größer\nwarned\n")


def test_log_handler_of_user_code_can_write_after_the_block(capsys: pytest.CaptureFixture[str]) -> None:
    with running_user_code("importing nets.py", "nets.py"):
        kept = sys.stderr
    kept.write("later\n")
    assert capsys.readouterr() == ("", "later\n")


def test_process_state_is_restored_after_user_code(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    search = list(sys.path)
    with process_state_restored():
        os.chdir(elsewhere)
        sys.path.append(str(elsewhere))
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
    assert (Path.cwd(), sys.path, torch.get_default_dtype()) == (tmp_path, search, torch.float32)
    assert torch.empty(1).device.type == "cpu"


def test_files_of_two_folders_each_import_their_own_neighbour() -> None:
    for width in (3, 5):
        folder = Path(f"net{width}")
        folder.mkdir()
        (folder / "blocks.py").write_text(f"width = {width}")
        (folder / "net.py").write_text("from blocks import width")
    widths = []
    for width in (3, 5):
        with process_state_restored():
            widths.append(import_object(f"net{width}/net.py:width"))
    assert widths == [3, 5]


def test_a_file_runs_once_for_several_imported_names() -> None:
    Path("nets.py").write_text(
        "from pathlib import Path\nwith Path('runs').open('a') as runs:\n    runs.write('x')\na = b = 1"
    )
    files: dict[Path, object] = {}
    import_object("nets.py:a", files)  # type: ignore[arg-type]
    import_object("./nets.py:b", files)  # type: ignore[arg-type]
    assert Path("runs").read_text() == "x"
    import_object("nets.py:a")
    assert Path("runs").read_text() == "xx"
