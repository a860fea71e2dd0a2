"""Test the commands that count: a table, JSON, a chart and a run in MLflow from one analysis, one line for bad input,
files whole or not at all, and `layer` and `article` without torch.
"""

import json
import shlex
from pathlib import Path

import pytest

from paramshare.cli import main
from paramshare.commands.counting import Analyze
from paramshare.counting.run import analyze_model
from paramshare.counting.spec import ModelSpec
from paramshare.errors import SpecError
from paramshare.tracking.store import StoreAddress, open_store
from support.command_line import refused

NETS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, width, 3), nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.conv(x).amax((-1, -2)))

class Chatty(Net):
    def forward(self, x):
        print("shape", tuple(x.shape))
        return super().forward(x)

class Ends(Net):
    def forward(self, x):
        raise SystemExit

class Batch(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)

    def forward(self, batch, scale=1):
        return super().forward(batch["x"]) * scale

def sample():
    import torch
    return ({"x": torch.zeros(1, 4)},), {"scale": 2}

class Needs(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    """Write a file with nets to the working directory."""
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    return file


@pytest.mark.usefixtures("nets")
def test_analyze_prints_a_table_and_writes_json_and_a_chart(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["analyze", "nets.py:Net", "--input", "3,8,8", "--args", '{"width": 16}', "--sort", "factor"]
    assert main([*arguments, "--report", "report.json", "--plot", "chart.svg"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("nets.py:Net, one sample of 1×3×8×8\n")
    assert [line.split()[0] for line in out.split("\n\n")[1].splitlines()] == ["layer", "conv", "head", "total"]
    found = json.loads(Path("report.json").read_text())
    assert found["totals"]["shared"] == 16 * 27 + 16 + 170
    assert Path("chart.svg").read_text().startswith("<?xml")
    assert sorted(file.name for file in Path().iterdir() if file.is_file()) == ["chart.svg", "nets.py", "report.json"]


@pytest.mark.usefixtures("nets")
def test_analyze_with_json_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "nets.py:Net", "--input", "3,8,8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "nets.py:Net"


@pytest.mark.usefixtures("nets")
def test_output_of_a_model_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "nets.py:Chatty", "--input", "3,8,8", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["totals"]["shared"] == 8 * 27 + 8 + 90
    assert err == "shape (1, 3, 8, 8)\n"


@pytest.mark.usefixtures("nets")
def test_pairs_of_arguments_are_parsed_as_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", "nets.py:Net", "--input", "3,8,8", "--args", "width=4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["shared"] == 4 * 27 + 4 + 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--input", "nets.py:sample"), "{x: 1×4}, scale=2"),
        (("--kwargs", 'batch={"x": {"size": "4"}},scale=3'), "batch={x: 1×4}, scale=3"),
        (("--kwargs", '{"batch": {"x": {"shape": "1,4"}}}'), "batch={x: 1×4}"),
        (("--input", "nets.py:sample", "--kwargs", "scale=4"), "{x: 1×4}, scale=4"),
    ],
)
@pytest.mark.usefixtures("nets")
def test_analyze_accepts_dicts_and_named_arguments(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "nets.py:Batch", *arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["input"], report["totals"]["unshared"]) == (said, 20)


EXAMPLES = [line.strip() for line in (Analyze.__doc__ or "").splitlines() if line.strip().startswith("paramshare ")]


@pytest.mark.parametrize("example", [line for line in EXAMPLES if " torch.nn:" in line])
def test_the_examples_in_the_help_of_analyze_run_without_warnings(
    example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(example)[1:]) == 0
    out, err = capsys.readouterr()
    assert "sharing factor" in out
    assert ("warnings" in out, err) == (False, "")


@pytest.mark.usefixtures("nets")
def test_analyze_with_track_writes_a_run_and_prints_its_id(
    address: StoreAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyze", "nets.py:Net", "--input", "3,8,8", "--track"]) == 0
    *_, run, pages = capsys.readouterr().out.splitlines()
    store = open_store(address)
    found = store.client.get_run(run.removeprefix("run in MLflow: "))
    assert found.info.status == "FINISHED"
    assert found.data.metrics["sharing/shared"] == 224 + 90
    assert pages.endswith(" ui --view counts")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nets.py:Nett --input 3,8,8", "there is no 'Nett' in nets.py; did you mean Net?"),
        ("nowhere.py:Net --input 3,8,8", "file 'nowhere.py' does not exist"),
        ("nowhere:Net --input 3,8,8", "module 'nowhere' of nowhere was not found"),
        ("nets.py:Needs --input 3,8,8", "missing a required argument: 'width'"),
        ("nets.py:Net --input 4,8,8", "conv (Conv2d) refuses its input (input 1×4×8×8, weight 8×3×3×3, bias 8)"),
        ("nets.py:Net --input 3,0,8", "'3,0,8' is not a size"),
        ("nets.py:Net --input 3,8,8 --dtype tiny", "dtype 'tiny' is not a dtype of torch"),
        ("torch.nn:ReLU --input 3,8,8", "torch.nn:ReLU has no parameters to count"),
        ("nets.py:Net", "input is missing"),
        ("--input 3,8,8", "MODEL is missing; see paramshare analyze --help"),
        ("nets.py:Net --input 3,8,8 --depth 0", "--depth is '0'"),
        ("nets.py:Net --input 3,8,8 --sort size", "--sort is 'size'"),
        ("nets.py:Net --input 3,8,8 --args {", "args"),
        ("nets.py:Net --input 3,8,8 --args width:4", "expected pairs such as width=64,bias=false"),
        ("nets.py:Net --input 1,3,8,8", "the model accepts the input 3,8,8"),
        ("nets.py:Ends --input 3,8,8", "running nets.py:Ends on 3,8,8 ended the program with exit code 0"),
        ("nets.py:Batch --input nets.py:Net", "nets.py:Net returns a Net; expected (args, kwargs)"),
        ("nets.py:Net --input nets.py:sample --dtype long", "dtype applies only to an input of sizes"),
        ("nets.py:Net --input 3,8,8 --plot chart.gif", "expected a name that ends in .png, .svg, .pdf"),
        ("nets.py:Net --input 3,8,8 --report no/where.json", "there is no folder no"),
        ("nets.py:Net --input 3,8,8 --report .", ". cannot be written: it is a folder; expected the name of a file"),
        (f"nets.py:Net --input 3,8,8 --report {'x' * 300}", "xxx cannot be written: File name too long"),
        ("nets.py:Net --input 3,8,8 --plot ..", ".. cannot be written: it is a folder"),
        ("nets.py:Net --input 3,8,8 --experiment mine", "--experiment needs --track"),
        ("nets.py:Net --input 3,8,8 --track --tracking-uri http://127.0.0.1:9", "no MLflow server answers"),
    ],
)
@pytest.mark.usefixtures("nets")
def test_invalid_input_of_analyze_is_refused_in_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "analyze", *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("conv9d --in 3,8,8 --out 4", "KIND is 'conv9d'"),
        ("conv2d --in 3,8,8 --out 4", "--kernel is missing: the kernel of conv2d"),
        ("conv2d --in 3,8,8 --out 4 --kernel wide", "--kernel is 'wide'; expected whole numbers"),
        ("conv2d --in 3,8,8 --out 4 --kernel 9", "the kernel spans 9"),
        ("linear --in 0 --out 4", "--in is '0'; expected whole numbers of at least 1"),
        ("linear --out 4", "--in is missing; see paramshare layer --help"),
    ],
)
def test_invalid_input_of_layer_is_refused_in_one_line(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "layer", *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ("layer conv2d --in 3,299,299 --out 32 --kernel 3 --stride 2 --padding 0 --no-bias", "19,181,664"),
        ("layer conv2d --in 3x299x299 --out 32 --kernel 3 --stride 2 --no-bias", "19,181,664"),
        ("article", "10,543,232"),
    ],
)
def test_layer_and_article_print_known_numbers(arguments: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments.split()) == 0
    assert number in capsys.readouterr().out


@pytest.mark.usefixtures("nets")
def test_a_report_file_that_cannot_be_written_is_reported_in_one_line_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["analyze", "nets.py:Net", "--input", "3,8,8", "--report", "/dev/fd/report.json"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("paramshare: /dev/fd/report.json cannot be written: ")
    assert [file.name for file in Path().iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize(
    "models",
    [
        ["nets.py:Net"],
        ["@3,8,8"],
        ["{"],
        ["{}"],
        [],
        ['{"model": "nets.py:Net"}'],
        ['{"model": "nets.py:Net", "input": "3,8,8", "training": "maybe"}'],
        ['{"model": "nets.py:Net", "kwargs": {}, "dtype": "long"}'],
        ['{"model": "nets.py:Net", "input": "3,8,8", "width": 4}'],
    ],
)
def test_an_error_of_flow_count_names_no_option_of_analyze(
    models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--" not in refused(capsys, "flow", "count", *models).replace("--help", "")


@pytest.mark.parametrize("size", ["1,3,8,8", "4,8,8"])
@pytest.mark.parametrize("name", ["Net", "Needs"])
@pytest.mark.usefixtures("nets")
def test_an_error_about_a_model_names_no_option_of_a_command(name: str, size: str) -> None:
    with pytest.raises(SpecError) as refusal:
        analyze_model(ModelSpec(model=f"nets.py:{name}", input=size))
    assert "--" not in str(refusal.value)
