"""Test what is safe without being asked for: nothing that comes from outside writes outside the store, no user and
password of a server gets anywhere, and no code is run but what an import path names.

That models load without unpickling is proved in tests/tracking/write/kinds/test_seeds.py.
"""

import base64
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from mlflow import MlflowClient

from paramshare.cli import main
from paramshare.errors import StoreError, without_secrets
from paramshare.sweep.run import run_sweep
from paramshare.sweep.spec import SweepSpec
from paramshare.tracking.pages import server_url
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import PROGRAM, SIZES, SMALL, clean_environment
from support.ports import free_port
from support.processes import command_lines
from support.rejecting_proxy import gate_before
from support.tracking.mlflow_server import MlflowServer

CONSOLE = Path(sys.executable).with_name("paramshare")
USER, SECRET = "me", "s3cr%2Ft-p4ss"
PASSWORD = "s3cr/t-p4ss"
HIDDEN = (SECRET, PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())

STRANGE_NAMES = [
    "../../x",
    "..",
    "a/b",
    "/etc/x",
    "C:\\x",
    "%2e%2e%2fx",
    "~root",
    "$(touch x)",
    "x" * 250,
    "ü ",
    "'; --",
]


def files_outside(folder: Path, store: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_relative_to(store)]


# --- names from outside


@pytest.mark.parametrize("name", STRANGE_NAMES)
def test_an_experiment_name_never_leads_outside_the_store(name: str, address: StoreAddress, tmp_path: Path) -> None:
    assert main(["train", *SMALL, "--seeds", "0:1", "--workers", "1", "--experiment", name]) == 0
    assert files_outside(tmp_path, tmp_path / "mlruns") == []
    store = open_store(StoreAddress(address.uri, name))
    runs = store.client.search_runs([store.experiment_id])
    assert len(runs) == 2
    assert all(run.info.artifact_uri.startswith((tmp_path / "mlruns" / "artifacts").as_uri() + "/") for run in runs)


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\x1b[31m", "x" * 251, " ", "a\u2028b", "\udc80"])
def test_an_experiment_name_with_unprintable_characters_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "paramshare.toml").write_text("")
    assert main(["train", *SMALL, "--experiment", name]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["paramshare.toml"]


def test_a_model_path_and_its_arguments_write_nothing_outside_the_store(address: StoreAddress, tmp_path: Path) -> None:
    file = tmp_path / "models" / "ne t.py"
    file.parent.mkdir()
    file.write_text("from torch import nn\ndef make(path):\n    return nn.Linear(3, 2)\n")
    (tmp_path / "work").mkdir()
    os.chdir(tmp_path / "work")
    arguments = ["../models/ne t.py:make", "--args", '{"path": "../../../x\\n/y"}', "--input", "3"]
    assert main(["analyze", *arguments, "--track", "--tracking-uri", address.uri]) == 0
    made = files_outside(tmp_path, tmp_path / "mlruns")
    assert [path for path in made if path.suffix != ".pyc"] == [file]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("sqlite:///what?/mlflow.db", r"a \? ends the path"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///a\0b", "printable"),
        ("sqlite:///a\nb", "printable"),
        ("http://127.0.0.1:9/\r\nX: y", "printable"),
    ],
)
def test_a_path_with_characters_that_sqlite_would_change_is_refused(uri: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=said):
        open_store(StoreAddress(uri, "paramshare"))
    assert list(tmp_path.iterdir()) == []


SPECIAL_NAMES = ["a b", "#h", "%41", "quo'te", "ü", "semi;colon", "new\\n"]


@pytest.mark.parametrize("name", [*SPECIAL_NAMES, "".join(SPECIAL_NAMES)])
def test_a_folder_with_special_characters_can_contain_a_store(name: str, migrated: Path, tmp_path: Path) -> None:
    """In the folder with all of them the database is created, which takes MLflow a second."""
    folder = tmp_path / name / "mlruns"
    folder.mkdir(parents=True)
    if name in SPECIAL_NAMES:
        shutil.copy(migrated, folder)
    os.chdir(folder.parent)
    store = open_store(StoreAddress.of(None, "paramshare"))
    spec = SweepSpec.model_validate({"seeds": "0:1", "devices": "cpu", "steps": 2, "input_size": 3, "workers": 1})
    assert Path(run_sweep(spec, store.address, {}).curves).is_relative_to(folder)
    assert files_outside(tmp_path, folder) == []


def test_a_relative_address_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = StoreAddress("sqlite:///here/mlflow.db", "paramshare")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    open_store(address)
    assert (tmp_path / "here" / "mlflow.db").is_file()
    assert list((tmp_path / "other").iterdir()) == []


# --- secrets


SIGNED_IN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
"""What signing in leaves in the environment."""


@pytest.fixture
def guarded(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a proxy before MLflow's server that requires a user and password; yield its `host:port`."""
    for name in SIGNED_IN:
        monkeypatch.setenv(name, "")  # put back in the end, whoever signs in
        monkeypatch.delenv(name)

    def refusal(request: BaseHTTPRequestHandler) -> int | None:
        return None if request.headers.get("Authorization") == f"Basic {HIDDEN[-1]}" else 401

    with gate_before(mlflow_server.port, refusal) as gate:
        yield gate


def hidden_in(text: str) -> list[str]:
    return [secret for secret in HIDDEN if secret in text]


def test_the_password_of_a_server_appears_in_no_output_file_or_run(
    guarded: str,
    mlflow_server: MlflowServer,
    experiment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Given in the environment: on the command line it would be the person who shows it. Pages, flow and sweep."""
    settings = {
        "PARAMSHARE_TRACKING_URI": f"http://{USER}:{SECRET}@{guarded}",
        "PARAMSHARE_EXPERIMENT": experiment,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
    }
    work = tmp_path / "work"
    work.mkdir()
    said, seen = "", ""
    for arguments in (
        ["train", *SMALL, "--seeds", "0:6", "--workers", "2"],
        ["flow", "sweep", *SMALL, "--seeds", "6:10", "--workers", "2"],
    ):
        with subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=work,
            env=clean_environment(tmp_path / "home") | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as program:
            while program.poll() is None:
                seen += command_lines()
                time.sleep(0.5)
            assert program.stdout is not None
            said += program.stdout.read()
        assert program.returncode == 0, said
    assert "multiprocessing.forkserver" in seen  # the pool's processes were among those looked at
    monkeypatch.chdir(work)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for arguments in (["ui", "--no-browser"], ["doctor"]):  # these start no process that stays
        for name in SIGNED_IN:
            monkeypatch.delenv(name, raising=False)
        assert main(arguments) == 0
        said += "".join(capsys.readouterr())
    assert "6 trained" in said
    assert "4 trained" in said
    assert f"http://{guarded}/" in said
    assert hidden_in(said) == []
    assert hidden_in(seen) == []
    kept = [path for folder in (tmp_path, mlflow_server.folder) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "prefect.db" for path in kept)
    assert any(
        path.name == "loss_curves.png" and f"/{experiment_id_of(mlflow_server, experiment)}/" in str(path)
        for path in kept
    )
    assert {path: found for path in kept if (found := hidden_in(path.read_bytes().decode("latin-1")))} == {}


def experiment_id_of(server: MlflowServer, experiment: str) -> str:
    found = MlflowClient(server.embedded(experiment).uri).get_experiment_by_name(experiment)
    assert found is not None
    return str(found.experiment_id)


def test_read_only_commands_send_the_password_of_the_server(
    guarded: str, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"http://{USER}:{SECRET}@{guarded}"
    spec = SweepSpec.model_validate(
        {**SIZES, "seeds": "0:2", "devices": "cpu", "variant": "shared,untied", "workers": 1}
    )
    run_id = run_sweep(spec, StoreAddress(uri, experiment), {}).rows[0].run_id
    for arguments in (["verify", "--experiment"], ["reproduce", run_id, "--experiment"], ["compare"]):
        for name in SIGNED_IN:
            monkeypatch.delenv(name)
        assert main([*arguments, experiment, "--tracking-uri", uri]) == 0


def test_a_missing_or_wrong_password_is_reported_in_one_line(guarded: str, experiment: str) -> None:
    for who in ("", "me:wrong@"):
        with pytest.raises(StoreError, match=r"no MLflow server answers at http://127\S+ \(Unauthorized\)") as caught:
            open_store(StoreAddress(f"http://{who}{guarded}", experiment))
        assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        f"http://{USER}:{SECRET}@127.0.0.1:9",
        f"http://{USER}:{SECRET}@[host",
        f"http://{USER}:{SECRET}@127.0.0.1:port",
        f"http://{USER}:{PASSWORD}@127.0.0.1:9",
        f"http://{USER}:#{SECRET}@127.0.0.1:9",
        f"http://{SECRET}@127.0.0.1:9",
        f"postgresql://{USER}:{SECRET}@127.0.0.1/db",
        f"postgresql://127.0.0.1/db?password={SECRET}",
        f"{USER}:{SECRET}@host",
    ],
)
@pytest.mark.parametrize("command", [["train"], ["ui"], ["doctor"], ["flow", "sweep"]])
def test_an_error_about_an_address_omits_its_password(
    command: list[str], uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--tracking-uri", uri]) in (1, 2)
    out, err = capsys.readouterr()
    assert hidden_in(out + err) == []
    assert err.count("\n") <= 1


def test_an_error_about_a_misspelt_option_omits_the_password_in_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--tracking-url", f"http://{USER}:{SECRET}@host"]) == 2
    stderr = capsys.readouterr().err
    assert "there is no option --tracking-url; did you mean --tracking-uri?" in stderr
    assert hidden_in(stderr) == []


def test_a_store_address_separates_its_password_and_hides_it() -> None:
    address = StoreAddress(f"https://{USER}:{SECRET}@host:5000/x", "paramshare")
    assert address.uri == "https://host:5000/x"
    assert hidden_in(repr(address)) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see http://a:b@c and https://d@e:5/f", "see http://***@c and https://***@e:5/f"),
        ("'http://a:b@c'", "'http://***@c'"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_a_text_without_secrets_is_unchanged(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


# --- code from outside

PLANTED = (
    "torch", "mlflow", "numpy", "paramshare", "pydantic", "rich", "matplotlib", "prefect", "sitecustomize",
    "usercustomize", "uvicorn", "fastapi", "sqlalchemy", "multiprocessing", "runpy", "json", "logging", "settings",
    "flows",
)  # fmt: skip


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """Fill a working directory with modules that leave a trace when they are imported."""
    folder = tmp_path / "trap"
    folder.mkdir()
    for name in PLANTED:
        text = f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r} + '\\n')\nraise SystemExit(99)\n"
        (folder / f"{name}.py").write_text(text)
    return folder


def console(trap: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    assert CONSOLE.exists()
    environment = clean_environment(trap.parent / "home") | more
    return subprocess.run([CONSOLE, *arguments], cwd=trap, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    "arguments",
    [["train", "--help"], ["doctor"], ["train", *SMALL, "--seeds", "0:4", "--workers", "2"], ["article"]],
    ids=["help", "doctor", "train", "article"],
)
def test_a_command_imports_nothing_from_the_working_directory(arguments: list[str], trap: Path) -> None:
    done = console(trap, *arguments)
    assert not (trap.parent / "sprung").exists(), (trap.parent / "sprung").read_text()
    assert done.returncode == 0, done.stderr


def test_the_pages_server_imports_nothing_from_the_working_directory_and_writes_nothing_there(trap: Path) -> None:
    port = free_port()
    environment = clean_environment(trap.parent / "home")
    before = sorted(trap.rglob("*.py"))
    with subprocess.Popen(
        [CONSOLE, "ui", "--no-browser", "--port", str(port)], cwd=trap, env=environment, stdout=subprocess.PIPE
    ) as pages:
        assert pages.stdout is not None
        assert pages.stdout.readline().startswith(b"http://127.0.0.1:")
        pages.terminate()
    assert not (trap.parent / "sprung").exists(), (trap.parent / "sprung").read_text()
    assert {path.name for path in trap.iterdir()} - {path.name for path in before} == {"mlruns"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRACKING_URI", "module://evil"),
        ("EXPERIMENT", "__import__('os').system('touch sprung')"),
        ("SEEDS", "__import__('os').system('touch sprung')"),
        ("STEPS", "$(touch sprung)"),
        ("MODELS", "!!python/object/apply:os.system ['touch sprung']"),
    ],
)
@pytest.mark.parametrize("file", [".env", "paramshare.toml"])
def test_a_settings_file_is_never_executed(
    file: str, name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the module that it names could be imported."""
    line = f'PARAMSHARE_{name}="{value}"' if file == ".env" else f'{name.lower()} = "{value}"'
    (tmp_path / file).write_text(line + "\n")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    seeds = "0:1" if name == "TRACKING_URI" else "none"  # one that is refused trains nothing
    assert main(["train", *SMALL, *([] if name == "SEEDS" else ["--seeds", seeds])]) == 2
    assert not (tmp_path / "sprung").exists()
    assert "evil" not in sys.modules


def test_links_to_a_server_contain_no_password(guarded: str, experiment: str) -> None:
    store = open_store(StoreAddress(f"http://{USER}:{SECRET}@{guarded}", experiment))
    assert server_url(store.address) == f"http://{guarded}/"
