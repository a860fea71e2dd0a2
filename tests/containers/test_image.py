"""Test what docs/operations.md says of the images: what is in them, what is not, and that they run locked down.

They are built by `make image`, under names of their own, from a copy of the checkout in which secrets, tests and a
repository lie about.
"""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import pytest

from support.containers.docker_engine import docker, why_no_engine

ROOT = Path(__file__).parents[2]
NAME = f"paramshare-image-test-{os.getpid()}"
VERSION = version("paramshare")
CANARY = "canary-7f3a9c51d2"  # stands in every file that no image may hold
LIMIT = 1_300_000_000  # bytes
LOCKED_DOWN = (
    "run", "--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none",
    "--tmpfs", "/tmp",
)  # fmt: skip
TOOLS = (
    "apk apt apt-get as bash c++ cc clang curl dpkg ensurepip g++ gcc git gpg ld make mount nc openssl passwd perl pip "
    "pip3 ssh su sudo tar uv wget wheel"
).split()


@dataclass(frozen=True)
class Images:
    """The two images, and the sources that they were built from."""

    sources: Path
    commit: str
    paramshare: str = f"{NAME}:{VERSION}-cpu"
    mlflow: str = f"{NAME}-mlflow:{VERSION}"

    def build(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `make image`, and return the result."""
        given = [f"{name}={value}" for name, value in {"VARIANT": "cpu", **variables}.items()]
        return subprocess.run(
            ["make", "image", f"REPOSITORY={NAME}", *given], cwd=self.sources, capture_output=True, text=True
        )


def git(folder: Path, *arguments: str, **settings: str) -> str:
    command = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@localhost", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | settings)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    if reason := why_no_engine():
        pytest.skip(reason)
    sources = tmp_path_factory.mktemp("sources")
    for name in git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).exists():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, sources / name, follow_symlinks=False)
    git(sources, "init", "--quiet")
    git(sources, "add", "--all")
    git(sources, "commit", "--quiet", "--message", CANARY)
    git(sources, "remote", "add", "origin", f"https://user:{CANARY}@code.example/paramshare.git")
    for name in ("docker/secrets/postgres_password", ".env", "mlruns/mlflow.db", "pip.conf", "docker/secrets/new_one"):
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        (sources / name).write_text(CANARY)
    made = Images(sources, git(sources, "rev-parse", "HEAD"))
    done = made.build()
    assert done.returncode == 0, done.stderr[-3000:]
    yield made
    names = docker("image", "ls", "--filter", f"reference={NAME}*", "--format", "{{.Repository}}:{{.Tag}}").stdout
    docker("image", "rm", *names.split())


def inspected(image: str) -> dict[str, object]:
    return json.loads(docker("image", "inspect", image).stdout)[0]


def output(*arguments: str) -> str:
    done = docker(*LOCKED_DOWN, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_doctor_finds_no_fault_in_a_container_without_network_and_with_a_read_only_disk(images: Images) -> None:
    said = output(images.paramshare, "doctor")
    assert "!!" not in said
    assert images.commit in said


def test_a_flow_in_a_container_trains_runs_whose_models_load(images: Images) -> None:
    program = """
import subprocess, torch, mlflow
subprocess.run(["paramshare", "flow", "sweep", "--seeds", "0:2", "--steps", "20"], check=True)
client = mlflow.MlflowClient("sqlite:////data/mlruns/mlflow.db")
runs = [run for one in client.search_experiments() for run in client.search_runs([one.experiment_id])]
nets = [run for run in runs if run.outputs.model_outputs]
mlflow.set_tracking_uri("sqlite:////data/mlruns/mlflow.db")
for run in nets:
    model = f"models:/{run.outputs.model_outputs[0].model_id}"
    print(mlflow.pytorch.load_model(model)(torch.ones(64, 1000), depth=2).shape)
assert {run.data.tags["mlflow.source.git.commit"] for run in nets} == {"%s"}
"""
    said = output(images.paramshare, "python", "-c", program % images.commit)
    assert "2 trained, 0 re-used, 0 failed" in said
    assert said.count("torch.Size([64, 10])") == 2


@pytest.mark.parametrize("which", ["paramshare", "mlflow"])
def test_the_images_run_as_an_unprivileged_user_and_have_labels(images: Images, which: str) -> None:
    config = inspected(getattr(images, which))["Config"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert config["User"] == "10001:10001"
    assert labels.pop("description")
    assert labels == {
        "title": "paramshare" if which == "paramshare" else "paramshare-mlflow", "licenses": "Apache-2.0",
        "version": VERSION, "revision": images.commit, "source": "https://code.example/paramshare.git",
        "created": git(images.sources, "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd", TZ="UTC"),
        "name": "python:3.11-slim-bookworm",  # of the base
    }  # fmt: skip


@pytest.mark.parametrize("which", ["paramshare", "mlflow"])
def test_an_image_has_the_commit_as_a_second_tag(images: Images, which: str) -> None:
    image = getattr(images, which)
    other = image.replace(f":{VERSION}", f":{images.commit}")
    assert inspected(other)["Id"] == inspected(image)["Id"]


@pytest.mark.parametrize("which", ["paramshare", "mlflow"])
def test_the_list_of_contents_has_every_python_package_of_the_image_with_its_version(
    images: Images, which: str
) -> None:
    program = """
import json
from importlib.metadata import distributions
from packaging.utils import canonicalize_name
contents = json.load(open("/opt/sbom.json"))
listed = {(canonicalize_name(part["name"]), part["version"]) for part in contents["components"]}
installed = {(canonicalize_name(one.name), one.version) for one in distributions() if one.name != "paramshare"}
print(contents["bomFormat"], len(listed) > 50, sorted(listed ^ installed))
"""
    assert output(getattr(images, which), "python", "-c", program) == "CycloneDX True []\n"


@pytest.mark.parametrize("which", ["paramshare", "mlflow"])
def test_the_images_contain_no_compiler_no_downloader_and_no_setuid_program(images: Images, which: str) -> None:
    program = f"""
import os, shutil
from importlib.util import find_spec
print([tool for tool in {TOOLS} if shutil.which(tool, path=os.environ["PATH"] + ":/sbin:/usr/sbin")])
print([name for name in ("pip", "setuptools", "wheel", "ensurepip", "pkg_resources") if find_spec(name)])
files = [os.path.join(folder, name) for top in ("/usr", "/opt", "/app", "/etc", "/var", "/data")
         for folder, _, names in os.walk(top) for name in names]
print([file for file in files if os.lstat(file).st_mode & 0o6000])
print([file for file in files if not os.path.islink(file) and os.access(file, os.W_OK)])
"""
    assert output(getattr(images, which), "python", "-c", program).splitlines() == ["[]"] * 4


@pytest.mark.parametrize("which", ["paramshare", "mlflow"])
def test_every_extension_module_in_the_image_loads_without_debug_symbols(images: Images, which: str) -> None:
    program = """
import ctypes, os, pathlib, pyarrow
try: import torch
except ImportError: pass
for file in pathlib.Path("/opt/venv").rglob("*.so"):
    if ".cpython-" in file.name or ".abi3." in file.name:
        try: ctypes.CDLL(str(file))
        except OSError as error: print(error)
os._exit(0)  # some of them are not made to be loaded so, and end badly
"""
    assert output(getattr(images, which), "python", "-c", program) == ""


def test_the_mlflow_image_contains_neither_torch_nor_paramshare(images: Images) -> None:
    program = (
        "from importlib.util import find_spec as f; print([n for n in ('torch', 'prefect', 'paramshare') if f(n)])"
    )
    assert output(images.mlflow, "python", "-c", program) == "[]\n"


def test_the_cpu_image_is_below_its_size_limit(images: Images) -> None:
    assert inspected(images.paramshare)["Size"] < LIMIT
    assert inspected(images.mlflow)["Size"] < LIMIT / 2


def layers(image: str, folder: Path) -> Iterator[tarfile.TarFile]:
    """Yield the layers of an image, which is saved to a folder."""
    file = folder / "image.tar"
    assert docker("save", "--output", str(file), image).returncode == 0
    with tarfile.open(file) as saved:
        for name in json.load(saved.extractfile("manifest.json"))[0]["Layers"]:
            with tarfile.open(fileobj=saved.extractfile(name)) as layer:
                yield layer
    file.unlink()


@pytest.mark.parametrize("which", ["paramshare", "mlflow"])
def test_the_layers_of_an_image_contain_no_secret_checkout_or_tests_and_torch_has_one_of_its_own(
    images: Images, which: str, tmp_path: Path
) -> None:
    """If torch had no layer of its own, each change of another package would send torch again."""
    secrets = {CANARY} | {file.read_text().strip() for file in (ROOT / "docker" / "secrets").glob("*")}
    misplaced, revealing, contents = [], [], []
    for layer in layers(getattr(images, which), tmp_path):
        contents.append([])
        for member in layer:
            parts = Path(member.name).parts
            if {".git", ".env", "pip.conf"} & {*parts} or parts[:2] in (("app", "tests"), ("app", "docker")):
                misplaced.append(member.name)
            if member.isfile():
                contents[-1].append(member.name)
                if member.size < 50_000_000:
                    content = layer.extractfile(member).read()
                    revealing += [member.name for secret in secrets if secret.encode() in content]
    assert sum(len(files) for files in contents) > 5000
    assert (misplaced, revealing) == ([], [])
    config = json.dumps(inspected(getattr(images, which)))
    assert not [secret for secret in secrets if secret in config]

    packages = "opt/venv/lib/python3.11/site-packages/"
    with_torch = [files for files in contents if any(name.startswith(f"{packages}torch/") for name in files)]
    assert len(with_torch) == (1 if which == "paramshare" else 0)
    of_torch = (f"{packages}torch", f"{packages}functorch")  # torchgen and the metadata, too
    assert [name for files in with_torch for name in files if not name.startswith(of_torch)] == []


def test_a_changed_source_file_rebuilds_the_source_layers_only(images: Images) -> None:
    before = inspected(images.paramshare)["RootFS"]["Layers"]
    with (images.sources / "paramshare" / "cli.py").open("a") as file:
        file.write("\n# changed\n")
    done = images.build()
    assert done.returncode == 0, done.stderr[-3000:]
    after = inspected(images.paramshare)["RootFS"]["Layers"]
    assert len(before) == len(after)
    changed = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert len(after) - len(changed) >= 3, "the root, the working directory and the libraries stay"
    assert changed == [*range(changed[0], changed[-1] + 1)]
    git(images.sources, "checkout", "--", "paramshare/cli.py")


@pytest.fixture(scope="module")
def wheel() -> Path:
    """Return the CPU wheel of torch."""
    found = [*Path(os.environ.get("PIP_FIND_LINKS") or "/nowhere").glob("torch-*+cpu-*.whl")]
    if not found:
        pytest.skip("PIP_FIND_LINKS names no folder with a CPU wheel of torch")
    return found[0]


def install_torch(images: Images, wheels: Path, variant: str, index: str = "") -> subprocess.CompletedProcess[str]:
    """Build the stage that installs torch."""
    return docker(
        "build", "--file", f"{images.sources}/docker/Dockerfile", "--target", "torch-installed",
        "--progress", "plain", "--output", "type=cacheonly", "--build-arg", f"TORCH_VARIANT={variant}",
        "--build-arg", f"TORCH_INDEX={index}", "--build-context", f"wheels={wheels}", str(images.sources),
    )  # fmt: skip


def test_the_build_installs_torch_from_the_given_index_and_fails_if_it_is_of_another_variant(
    images: Images, wheel: Path, tmp_path: Path
) -> None:
    page = tmp_path / "index" / "torch" / "index.html"
    page.parent.mkdir(parents=True)
    # A comment of its own: else an engine that built this once takes the layer from its cache, and pip says nothing.
    page.write_text(f'<!-- {uuid4()} --><a href="{wheel.name.replace("+", "%2B")}">{wheel.name}</a>')
    shutil.copy(wheel, page.parent)
    done = install_torch(images, tmp_path, "cpu", "file:///wheels/index")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Processing /wheels/index/torch/torch-" in done.stderr
    done = install_torch(images, tmp_path, "cuda", "file:///wheels/index")
    assert done.returncode
    assert "TORCH_VARIANT is cuda, but pip installed torch 2.13.0+cpu (cpu)" in done.stderr


def test_the_build_refuses_a_wheel_of_torch_that_the_lock_does_not_know(
    images: Images, wheel: Path, tmp_path: Path
) -> None:
    changed = Path(shutil.copy(wheel, tmp_path))
    with changed.open("ab") as file:
        file.write(b"\0")
    done = install_torch(images, tmp_path, "cpu")
    assert done.returncode
    assert "DO NOT MATCH THE HASHES" in done.stderr
