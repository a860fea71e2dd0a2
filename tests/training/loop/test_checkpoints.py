"""A training which is cut off anywhere goes on from its checkpoint, bit for bit."""

import logging
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from paramshare.cli import main
from paramshare.recipes.target import Target
from paramshare.tracking.read.seeds import read_ended
from paramshare.tracking.store import StoreAddress, open_store
from paramshare.training.loop.checkpoints import Checkpoints
from paramshare.training.reference import train_reference
from paramshare.training.result import Result
from support.forked import forked
from support.toy_recipe import Changed

STOP = """def should_stop(self, losses, evaluations):
        import os
        if len(losses) == int(os.environ.get("STOP_AT", 0)):
            raise KeyboardInterrupt
        return False

    def model("""
ADAM = "def optimizer(self, model):\n        return torch.optim.AdamW(model.parameters(), lr=0.01)\n\n    def model("
SCHEDULE = (
    "def scheduler(self, optimizer):\n        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)\n\n"
    "    def model("
)
RANDOM = (
    "x, y = batch\n        x = x + torch.randn_like(x) * __import__('random').random()\n"
    "        x = x + __import__('numpy').random.rand()"
)
KEPT = "x, y = batch\n        self.mean = 0.9 * getattr(self, 'mean', 0) + 0.1 * x.mean()\n        x = x - self.mean"
CHANGES = {
    "as it is": (),
    "momentum": ("steps: int = 6", "steps: int = 6\n        momentum: float = 0.9"),
    "AdamW": ("def model(", ADAM),
    "a schedule": ("def model(", SCHEDULE),
    "float16": ("steps: int = 6", 'steps: int = 6\n        precision: str = "float16"'),
    "noise from every generator": ("x, y = batch", RANDOM),
    "a value on the recipe": ("x, y = batch", KEPT),
    "evaluations": ("steps: int = 6", "steps: int = 6\n        evaluate_every: int = 4"),
    "batch norm": ("nn.Conv1d(1, width, 3, padding=1)", "nn.Sequential(nn.Conv1d(1, width, 3), nn.BatchNorm1d(width))"),
}


def same(one: Result, other: Result) -> bool:
    weights = zip(one.net.state_dict().values(), other.net.state_dict().values(), strict=True)
    curves = all(np.array_equal(one.curves[name], other.curves[name], equal_nan=True) for name in one.curves)
    return (
        curves and one.final_metrics == other.final_metrics and all(torch.equal(left, right) for left, right in weights)
    )


@pytest.mark.parametrize("stop", [1, 5, 7])  # epochs have 5 steps
@pytest.mark.parametrize("change", CHANGES)
def test_a_training_that_was_cut_off_goes_on_bit_for_bit(
    changed: Changed, tmp_path: Path, change: str, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = changed(*CHANGES[change], "def model(", STOP)
    spec, checkpoints = target.new(seed=3, steps=12), Checkpoints(tmp_path / "checkpoints", every=0)
    undisturbed = train_reference(spec)
    monkeypatch.setenv("STOP_AT", str(stop + 1))
    with pytest.raises(KeyboardInterrupt):
        train_reference(spec, checkpoints=checkpoints)
    monkeypatch.delenv("STOP_AT")
    state = checkpoints.of(spec).load()
    assert state is not None
    assert len(state["losses"]) == stop
    assert same(train_reference(spec, checkpoints=checkpoints), undisturbed)


def test_a_checkpoint_of_another_source_or_options_is_not_used(changed: Changed, toy: Target, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, every=0)
    train_reference(toy.new(seed=0), checkpoints=checkpoints)
    assert checkpoints.of(toy.new(seed=0)).load() is not None
    assert checkpoints.of(toy.new(seed=0, steps=7)).load() is None
    assert checkpoints.of(changed("import torch\n", "import torch  #\n").new(seed=0)).load() is None


def test_a_file_that_is_not_a_checkpoint_is_not_used(
    toy: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = Checkpoints(tmp_path).of(toy.new(seed=0))
    file.path.write_bytes(b"PK")
    assert file.load() is None
    assert "cannot be read" in caplog.text


def test_a_recipe_that_keeps_objects_on_itself_has_no_checkpoints_and_is_trained(
    changed: Changed, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = changed("x, y = batch", "x, y = batch\n        self.path = __import__('pathlib').Path()")
    with caplog.at_level(logging.WARNING):
        train_reference(target.new(seed=0), checkpoints=Checkpoints(tmp_path / "checkpoints", every=0))
    assert caplog.text.count("this training has no checkpoints") == 1
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_folder_that_cannot_be_written_ends_no_training(
    toy: Target, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    result = train_reference(toy.new(seed=0), checkpoints=Checkpoints(tmp_path / "file" / "folder", every=0))
    assert len(result.losses) == 6
    assert "no checkpoint in" in caplog.text


def test_checkpoints_are_written_at_intervals(toy: Target, tmp_path: Path) -> None:
    train_reference(toy.new(seed=0), checkpoints=Checkpoints(tmp_path / "checkpoints", every=60))
    assert not (tmp_path / "checkpoints").exists()


def test_a_long_run_that_is_killed_again_and_again_has_the_curve_of_an_undisturbed_one(
    changed: Changed, recipe_file: Path, address: StoreAddress, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = changed("steps: int = 6", "steps: int = 2000")
    command = [
        "train", "--target", f"{recipe_file}:Toy", "--seeds", "3", "--devices", "cpu", "--checkpoint-every", "0.01",
        "--json",
    ]  # fmt: skip
    folder, kills, rng = tmp_path / "mlruns" / "checkpoints", 0, np.random.default_rng(0)
    while kills < 2:
        present = {file.stat().st_mtime_ns for file in folder.glob("*.pt")} if folder.exists() else set()
        with forked(main, command) as process:
            while process.is_alive():
                now = {file.stat().st_mtime_ns for file in folder.glob("*.pt")} if folder.exists() else set()
                if now - present:
                    time.sleep(rng.uniform(0, 0.2))
                    process.kill()
                    kills += 1
                    break
                time.sleep(0.005)
            else:
                break
    assert main(command) == 0
    assert '"FINISHED"' in capsys.readouterr().out
    assert list(folder.iterdir()) == []
    (view,) = read_ended(open_store(address))
    torch.set_num_threads(1)
    assert view.curves["train/loss"].astype("float32").tolist() == train_reference(target.new(seed=3)).losses.tolist()
