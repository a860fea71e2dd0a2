"""`make test-gpu` reports what its stages came to, whatever becomes of each, and is one line without a GPU.

The stages themselves run on the CPU here, at tiny sizes.
"""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from support import ROOT
from support.benchmarks import load_benchmark
from support.processes import is_running

measuring, stages, gpu = (load_benchmark(name) for name in ("measuring", "gpu_stages", "gpu"))

CARD = gpu.Card("A GPU", 80.0, "2.11.0", "13.0", "3.12.1")


def stage(name: str, run: object, budget: float = 60) -> object:
    return stages.Stage(name, "a claim", budget, run)


def good(place: object) -> str:
    return "good"


def bad(place: object) -> str:
    raise stages.StageError("12 of 13", "the end of its output")


def sleep(place: object) -> str:
    return str(stages.run(["-c", "import time; print('begun', flush=True); time.sleep(600)"], place, Path.cwd()))


@pytest.fixture
def place(tmp_path: Path) -> object:
    options = ("--steps", "5", "--engine", "gram")
    return stages.Place(tmp_path, time.monotonic() + 300, "cpu", seeds=5, many=5, options=options)


@pytest.fixture
def with_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "find_card", lambda: CARD)
    monkeypatch.setattr(gpu, "missing", list)
    monkeypatch.setattr(gpu, "unwind_on_sigterm", lambda: None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_gets_one_line_and_exit_code_0(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert gpu.main([]) == 0
    assert capsys.readouterr().out == (
        f"test-gpu: no GPU: the torch of {sys.executable} sees none; nothing was tested\n"
    )
    assert not (tmp_path / "gpu-report.md").exists()


def test_an_interpreter_without_torch_counts_as_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "PROBE", "import no_torch_here")
    found = gpu.find_card()
    assert found == f"{sys.executable} cannot ask torch (ModuleNotFoundError: No module named 'no_torch_here')"


@pytest.mark.usefixtures("with_a_card")
def test_missing_packages_beside_a_gpu_are_a_failure_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "missing", lambda: ["mlflow", "pytest"])
    assert gpu.main([]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"test-gpu: {sys.executable} lacks mlflow, pytest; ")
    assert not (tmp_path / "gpu-report.md").exists()


def test_the_check_for_packages_covers_the_dependencies_of_the_product_and_of_its_tests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert gpu.missing() == []

    def none(name: str) -> None:
        raise gpu.PackageNotFoundError

    monkeypatch.setattr(gpu, "distribution", none)
    assert {"torch", "mlflow", "prefect", "pydantic-settings", "pytest", "hypothesis"} <= set(gpu.missing())


def test_the_gpu_report_names_the_card_and_the_result_of_each_stage() -> None:
    outcomes = [
        gpu.Outcome(stage("one", good), "5 passed", True, 12.4),
        gpu.Outcome(stage("two", bad), "98 | ×", False, 3.0, "the end of its output"),
    ]
    assert (
        gpu.report(CARD, outcomes, "2026-11-28")
        == """# A GPU

80 GiB, torch 2.11.0, CUDA 13.0, Python 3.12.1, 2026-11-28

| stage | result | claim | holds | seconds |
| :-- | :-- | :-- | :-- | --: |
| one | 5 passed | a claim | yes | 12 |
| two | 98 \\| × | a claim | **no** | 3 |

1 of 2 stages failed. 15 s in total.

## two

````
the end of its output
````
"""
    )


@pytest.mark.usefixtures("with_a_card")
@pytest.mark.parametrize(("first", "code"), [(good, 0), (bad, 1), (lambda place: str(1 / 0), 1)])
def test_a_failed_stage_sets_the_exit_code_and_the_next_stage_still_runs(
    first: object, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gpu, "STAGES", (stage("first", first), stage("second", good)))
    assert gpu.main(["--output", "here.md"]) == code
    report = (tmp_path / "here.md").read_text()
    assert "| second | good | a claim | yes |" in report
    assert ("1 of 2 stages failed." in report) == bool(code)


def test_a_stage_over_its_budget_is_ended_and_the_next_still_runs(tmp_path: Path) -> None:
    slow, after = gpu.run_stages([stage("slow", sleep, budget=1), stage("after", good)], tmp_path)
    assert (slow.result, slow.passed, slow.details) == ("ended: it exceeded its time limit", False, "begun")
    assert (after.result, after.passed) == ("good", True)


def test_no_stage_begins_when_no_time_is_left(tmp_path: Path) -> None:
    (outcome,) = gpu.run_stages([stage("late", good)], tmp_path, max_seconds=gpu.RESERVE)
    assert (outcome.result, outcome.passed) == ("not started: no time is left", False)


def test_a_command_over_its_time_limit_is_ended_with_its_child_processes(place: object, tmp_path: Path) -> None:
    started = "import subprocess, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"
    with pytest.raises(stages.StageError) as ended:
        stages.run(["-c", started], replace(place, until=time.monotonic() + 2), tmp_path)  # type: ignore[type-var]
    assert not is_running(int(ended.value.details))


def test_the_error_of_a_failed_command_contains_the_end_of_its_output(place: object, tmp_path: Path) -> None:
    with pytest.raises(stages.StageError, match=r"^exit code 3$") as failed:
        stages.run(["-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"], place, tmp_path)
    assert failed.value.details == "why"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_tests_that_are_all_skipped_count_as_failed(place: object) -> None:
    with pytest.raises(stages.StageError, match=r"^0 passed, 3 skipped$"):
        stages.cuda_tests(place)


def test_a_missed_ratio_is_reported_with_its_measured_value(place: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def missed(*_: object) -> str:
        raise stages.StageError("exit code 1", '[{"what": "x", "measured": "98\\u00d7 the seeds", "holds": false}]')

    monkeypatch.setattr(stages, "run", missed)
    with pytest.raises(stages.StageError, match=r"^98× the seeds$"):
        stages.beside_the_plain_loop(place)


def test_the_training_stage_measures_rates_and_the_next_stage_reproduces_one_of_its_runs(place: object) -> None:
    with pytest.raises(stages.StageError, match="`train` left no store"):
        stages.reproduce(place)
    assert stages.train(place).startswith("5 runs finished; one process trains ")
    assert stages.reproduce(place) == "a run by gram: bitwise equal"


def test_the_training_rates_count_trained_seeds_and_written_runs() -> None:
    told = stages.rates(stages.Sweep([0.01] * 8, [1.0, 1.5, 2.0, 2.5]))
    assert told == (
        "8 runs finished; one process trains 100 seeds/s, 4 processes write 2.0 seeds/s after start-up: ratio 50.0"
    )


def test_the_measured_memory_covers_the_processes_of_the_session() -> None:
    seen = stages.Memory(card=False)
    seen.look(os.getsid(0))
    assert seen.processes[os.getpid()] == pytest.approx(measuring.peak_mib(), rel=0.1)


def test_make_test_gpu_uses_the_interpreter_and_the_output_that_it_is_given() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "test-gpu", "GPU_PYTHON=a-python", "OUTPUT=a.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == 'a-python benchmarks/gpu.py --output "a.md"\n'
