"""`paramshare analyze`, `layer`, `article` and `flow count`: the counts of parameters, shared and unshared."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic_settings import CliPositionalArg, NoDecode, SettingsConfigDict

from paramshare.commands.flows import FlowCommand
from paramshare.commands.options import address_of, pages_place, spec_of
from paramshare.commands.output import check_file, print_json, print_result, write_file
from paramshare.counting.spec import CountSpec, ModelSpec, RowsSpec, args_of, kwargs_of
from paramshare.errors import SpecError, UsageError
from paramshare.settings import StoreSettings
from paramshare.sharing.formulas.layers_by_name import LAYERS, LayerKind
from paramshare.validation import sentences_of_keys

if TYPE_CHECKING:
    from paramshare.counting.report import CountResult
    from paramshare.sharing.report import SharingReport

__all__ = ["Analyze", "Article", "FlowCount", "Layer"]

_PICTURES: Final = (".png", ".svg", ".pdf")


class Analyze(ModelSpec, RowsSpec):
    """Count a model's parameters as shared, per use, unshared and dense, with MACs and memory, layer by layer.

    paramshare analyze torchvision.models:resnet50 --input 3,224,224 --depth 1 --sort factor
    paramshare analyze torch.nn:Linear --args in_features=64,out_features=10 --input 16,64
    paramshare analyze torch.nn:Embedding --args num_embeddings=99,embedding_dim=8 --input 128 --dtype long
    paramshare analyze torch.nn:LSTM --args input_size=8,hidden_size=16 --kwargs '{"input": {"shape": "10,1,8"}}'
    paramshare analyze my_net.py:Net --input my_net.py:sample    # a function that returns (args, kwargs)
    """

    model: CliPositionalArg[str] = Field(description=ModelSpec.model_fields["model"].description)
    args: Annotated[dict[str, Any], NoDecode, BeforeValidator(args_of)] = Field(
        {}, description=ModelSpec.model_fields["args"].description
    )
    kwargs: Annotated[dict[str, Any] | None, NoDecode, BeforeValidator(kwargs_of)] = Field(
        None, description=ModelSpec.model_fields["kwargs"].description
    )
    as_json: bool = Field(
        False, alias="json", description="print one JSON object, the whole report, instead of a table"
    )
    report: Path | None = Field(None, description="write the whole report to this file, as JSON")
    plot: Path | None = Field(None, description="draw the layers into this file: .png, .svg or .pdf")
    track: bool = Field(False, description="keep the report as a run in MLflow: metrics, table, chart and JSON")
    experiment: str | None = Field(None, description="the MLflow experiment for --track")
    tracking_uri: str | None = Field(None, description="the store for --track, as of `paramshare train`")

    def cli_cmd(self) -> None:
        """Analyze the model, print the table, and write the files and the run that the options name."""
        from paramshare.console import working
        from paramshare.counting.run import analyze_model, track

        spec, store = spec_of(self, ModelSpec), self._store()
        self._check_files()
        with working(f"analyzing {spec.label}"):
            report = analyze_model(spec)
        self._print(report)
        if self.plot:
            from paramshare.plots import picture_of

            figure = report.figure(self.depth, self.sort)
            write_file(self.plot, picture_of(figure, self.plot.suffix.removeprefix(".")))
        if store is not None:
            tags = {"mlflow.source.name": "paramshare analyze", "mlflow.source.type": "LOCAL"}
            tracked = track(report, address_of(store), spec.source, tags, depth=self.depth, sort=self.sort)
            pages = f"run in MLflow: {tracked.run_id}\nMLflow's pages: {pages_place(store, '--view', 'counts')}"
            print(pages, file=sys.stderr if self.as_json else sys.stdout)

    def _store(self) -> StoreSettings | None:
        """Return the settings of the store for --track, after a check of the store; None without --track."""
        options = self.model_dump(include=set(StoreSettings.model_fields), exclude_none=True)
        if not self.track:
            if options:
                raise UsageError(
                    f"--{next(iter(options)).replace('_', '-')} needs --track; add --track or leave the option out"
                )
            return None
        from paramshare.tracking.store import check_store

        store = StoreSettings(**options)
        check_store(address_of(store))
        return store

    def _check_files(self) -> None:
        for file in (self.report, self.plot):
            if file is not None:
                check_file(file)
        if self.plot is not None and self.plot.suffix not in _PICTURES:
            raise UsageError(f"--plot is {str(self.plot)!r}; expected a name that ends in {', '.join(_PICTURES)}")

    def _print(self, report: "SharingReport") -> None:
        print(report.to_json() if self.as_json else report.table(self.depth, self.sort))  # noqa: T201 - the output itself
        if self.report:
            write_file(self.report, f"{report.to_json()}\n".encode())


class Layer(BaseModel):
    """Count one layer from its sizes by closed formulas, without torch.

    paramshare layer conv2d --in 3,299,299 --out 32 --kernel 3 --stride 2 --padding 0 --no-bias
    """

    kind: CliPositionalArg[LayerKind] = Field(description=f"the type of the layer: {', '.join(LAYERS)}")
    size: str = Field(
        alias="in",
        description="the size of one sample: features, after any positions (linear); channels and space (conv); "
        "how many indices (embedding); steps and features (rnn, gru, lstm); length and features (attention)",
    )
    out: int | None = Field(None, ge=1, description="the features or channels of the output")
    kernel: str | None = Field(None, description="a convolution's kernel: one number for all dimensions, or one each")
    stride: str | None = Field(None, description="a convolution's stride, one number or one each; defaults to 1")
    padding: str | None = Field(
        None, description="a convolution's padding, one number or one each, or same; defaults to 0"
    )
    dilation: str | None = Field(None, description="a convolution's dilation, one number or one each; defaults to 1")
    output_padding: str | None = Field(
        None, description="the output padding of a transposed convolution, one number or one each"
    )
    groups: int | None = Field(None, ge=1, description="a convolution's groups")
    bias: bool = Field(True, description="whether the layer has a bias; defaults to yes, --no-bias turns it off")
    rows: int | None = Field(None, ge=1, description="the rows of an embedding's table")
    layers: int | None = Field(None, ge=1, description="the layers of a recurrent net")
    bidirectional: bool = Field(False, description="whether a recurrent net also runs backwards")
    projection: int | None = Field(None, description="the size of an lstm's projection")
    heads: int | None = Field(None, ge=1, description="the heads of attention; the counts do not depend on them")
    as_json: bool = Field(False, alias="json", description="print one JSON object instead of a table")

    def cli_cmd(self) -> None:
        """Print the regimes of the layer."""
        from paramshare.sharing.formulas.layers_by_name import layer_regimes, layer_table

        options = self._options()
        counted = layer_regimes(self.kind, _numbers("in", self.size), self.out, options)
        if self.as_json:
            layer = {"kind": self.kind, "in": self.size, "out": self.out, **options, "bias": self.bias}
            print_json({"layer": layer, **asdict(counted)})
            return
        shown = ", ".join(f"{name} {getattr(self, name)}" for name in options if name != "bias")
        bias = "" if self.bias else ", no bias"
        title = (
            f"{self.kind} on {self.size}{f' to {self.out}' if self.out else ''}{f', {shown}' if shown else ''}{bias}"
        )
        print(layer_table(title, counted))  # noqa: T201 - the output itself

    def _options(self) -> dict[str, object]:
        """Return the options that were given, as numbers."""
        options: dict[str, object] = {}
        for name in ("kernel", "stride", "padding", "dilation", "output_padding"):
            text = getattr(self, name)
            if text is not None:
                numbers = () if text in ("same", "valid") else _numbers(name, text)
                options[name] = text if not numbers else numbers if len(numbers) > 1 else numbers[0]
        for name in ("groups", "rows", "layers", "projection", "heads"):
            if getattr(self, name) is not None:
                options[name] = getattr(self, name)
        if not self.bias:
            options["bias"] = False
        if self.bidirectional:
            options["bidirectional"] = True
        return options


class Article(BaseModel):
    """Check each claim of the source article: print its number, the right number and the reason."""

    as_json: bool = Field(False, alias="json", description="print one JSON object instead of text")

    def cli_cmd(self) -> None:
        """Print the claims."""
        from paramshare.sharing.article import claims, table

        if self.as_json:
            print_json({"claims": [asdict(claim) for claim in claims()]})
            return
        print(table())  # noqa: T201 - the output itself


class FlowCount(FlowCommand, RowsSpec):
    """Count several models as a Prefect flow, each in a task and a run of MLflow, with a report of all.

    paramshare flow count torchvision.models:resnet18@3x224x224 my_net.py:Net@3x32x32
    """

    model_config = SettingsConfigDict(extra="ignore")

    models: CliPositionalArg[list[str | dict[str, Any]]] = Field(
        description='MODEL@INPUT each, or a JSON object such as {"model": "my_net.py:Net", "input": "3,32,32", '
        '"args": {"width": 64}}'
    )
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of a table")

    def flow(self) -> Any:
        """Return the flow."""
        from paramshare.flows.count import count

        return count

    def spec(self) -> CountSpec:
        """Return the spec of the counts, without the options of the store and the output."""
        models = [_model_spec(model) for model in self.models]
        return CountSpec(models=models, experiment=self.experiment, depth=self.depth, sort=self.sort)

    def check(self) -> None:
        """Check the models and the store."""
        from paramshare.tracking.store import check_store

        self.spec()
        check_store(address_of(self))

    def finish(self, result: "CountResult") -> NoReturn:
        """Print the result and exit with its code."""
        from paramshare.console import print_counts

        print_result(result, self.as_json, print_counts, pages_place(self, "--view", "counts"))


def _model_spec(text: str | dict[str, Any]) -> ModelSpec:
    """Return the model and its input from MODEL@INPUT, or from an object.

    Raises:
        SpecError: a value is not valid. `flow count` has no options for these values, so the message names no option.
    """
    if isinstance(text, dict):
        try:
            return ModelSpec(**text)
        except ValidationError as error:
            raise SpecError(f"the model {json.dumps(text)} is not valid: {sentences_of_keys(error)}") from error
    model, _, size = text.rpartition("@")
    if not model:
        raise SpecError(f"{text!r} is not MODEL@INPUT; expected such as my_net.py:Net@3x32x32")
    return ModelSpec(model=model, input=size)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    """Parse numbers such as 3,224,224 or 3x224x224."""
    least = 0 if name.endswith("padding") else 1
    try:
        numbers = tuple(int(part) for part in text.strip("()[] ").replace("x", ",").split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < least:
        expected = "whole numbers such as 3 or 3,5" if not numbers else f"whole numbers of at least {least}"
        raise SpecError(f"--{name.replace('_', '-')} is {text!r}; expected {expected}")
    return numbers
