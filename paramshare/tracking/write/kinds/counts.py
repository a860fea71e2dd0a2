"""Write a sharing report of a model as a run."""

from collections.abc import Mapping, Sequence
from typing import Final

from paramshare.markdown import plain, table
from paramshare.plots import picture_of
from paramshare.sharing.report import COUNTS, REGIMES, SCHEMA, Counts, SharingReport, Sort, Tie
from paramshare.sharing.text import readable_bytes, readable_factor
from paramshare.tracking.display.tables import table_artifact
from paramshare.tracking.display.urls import picture_url
from paramshare.tracking.display.views import saved_view_tags
from paramshare.tracking.store import Store, tag_experiment
from paramshare.tracking.tags import KIND, MEMORY, NOTE, SHARING
from paramshare.tracking.write.record import NIL_ID, Point, Record, now
from paramshare.tracking.write.runs import write

__all__ = ["write_report"]

REPORT_FILE: Final = "sharing.json"
TEXT_FILE: Final = "sharing.txt"
PICTURE_FILE: Final = "sharing.png"
LAYERS_FILE: Final = "layers.json"

# Maximum numbers of characters.
_NAME_LENGTH: Final = 250  # the size of MLflow's column: PostgreSQL refuses a longer name
_PARAM_LENGTH: Final = 6000  # MLflow cuts longer ones silently
_LIST_LENGTH: Final = 2500  # of ties, and of warnings: MLflow cuts a note at 8000
_LINE_LENGTH: Final = 300

_NAMES_OF_A_TIE: Final = 4


def write_report(
    store: Store,
    report: SharingReport,
    source: Mapping[str, str],
    tags: Mapping[str, str],
    *,
    depth: int | None = None,
    sort: Sort = "order",
) -> str:
    """Write `report` as one whole run and return its id.

    MLflow stores metrics as floats, which are exact for integers up to 2^53 only. So the exact counts are also
    parameters, and in the artifact `sharing.json`. Metrics below `memory/` are bytes.

    Args:
        source: the request for the model (`model`, `args`, `input`, ...), logged as parameters.
        tags: further tags, such as the provenance.
        depth, sort: of the table and the figure, see `SharingReport.rows`. The artifact `layers.json` has all rows.

    Raises:
        SpecError: the depth or the order is invalid; nothing is written.
    """
    layers, table_tag = table_artifact(LAYERS_FILE, _layers(report))
    files = {**_files(report, depth, sort), LAYERS_FILE: layers}
    tag_experiment(store, saved_view_tags("counts"))  # the experiment can be older than the view
    params = {"model": report.model, "input": report.input, **source, **_own_params(report)}
    built = f"{params['model']} {params['args']}" if params.get("args") else params["model"]
    end = now()
    record = Record(
        _cut(f"{built} on {params['input']}", _NAME_LENGTH),
        "FINISHED",
        end,
        end,
        tags={**tags, KIND: "count", **table_tag, NOTE: _note(report)},
        params={key: _cut(value, _PARAM_LENGTH) for key, value in params.items()},
        points=_points(report.totals, end),
        files=files,
    )
    return write(store, record)


def _files(report: SharingReport, depth: int | None, sort: Sort) -> dict[str, bytes | str]:
    return {
        REPORT_FILE: report.to_json(),
        TEXT_FILE: f"{report.table(depth, sort)}\n",
        PICTURE_FILE: picture_of(report.figure(depth, sort)),
    }


def _own_params(report: SharingReport) -> dict[str, str]:
    exact = {name: str(getattr(report.totals, name)) for name in COUNTS}
    return {"sample": report.input, "schema": SCHEMA, **exact}


def _points(totals: Counts, now: int) -> list[Point]:
    """Return the metrics at step 0: for these MLflow's pages draw a bar for each run."""
    values: dict[str, float] = {f"{SHARING}{name}": getattr(totals, name) for name in COUNTS}
    if totals.factor is not None:
        values[f"{SHARING}factor"] = totals.factor
    for regime in REGIMES:
        values |= {f"{MEMORY}{regime}_{part}": size for part, size in totals.memory[regime].as_dict().items()}
    return [Point(name, float(value), now, 0) for name, value in values.items()]


def _layers(report: SharingReport) -> dict[str, list[object]]:
    """Return the cells by column, with a row for each layer."""
    layers = report.layers
    columns: dict[str, list[object]] = {
        "layer": [layer.name for layer in layers],
        "type": [layer.kind for layer in layers],
        "uses": [layer.uses for layer in layers],
    }
    for name in (*COUNTS, "factor"):
        columns[name] = [getattr(layer.counts, name) for layer in layers]
    columns["tied"] = [
        ", ".join(f"{other}: {elements:,}" for other, elements in layer.tied.items()) for layer in layers
    ]
    return columns


def _note(report: SharingReport) -> str:
    """Return the report in Markdown: the picture, the totals, ties and warnings. MLflow limits the length of a note.

    MLflow's pages show only the first two lines at first.
    """
    return "\n\n".join(
        [
            _headline(report),
            f"![parameters by regime]({picture_url('', NIL_ID, PICTURE_FILE)})",
            "*The parameters of each layer, by regime*",
            f"{_line(report.model)}, one sample of {_line(report.input)}:",
            _totals_table(report.totals),
            *_listed("Ties", [_tie(tie) for tie in report.ties]),
            *_listed("Warnings", [_line(warning) for warning in report.warnings]),
        ]
    )


def _headline(report: SharingReport) -> str:
    totals = report.totals
    remarks = [f"{totals.shared:,} parameters shared, {totals.unshared:,} unshared, {totals.dense:,} dense"]
    if totals.unused:
        remarks.append(f"{totals.unused:,} unused in this pass")
    if report.warnings:
        remarks.append(f"**warnings: {len(report.warnings)}**, see below")
    return f"**Sharing factor {readable_factor(totals.factor)}** (unshared / shared): {'; '.join(remarks)}."


def _totals_table(totals: Counts) -> str:
    rows = [
        (
            regime,
            f"{getattr(totals, regime):,}",
            readable_bytes(totals.memory[regime].weights),
            readable_bytes(totals.memory[regime].with_adam),
            f"{totals.dense_macs if regime == 'dense' else totals.macs:,}",
        )
        for regime in REGIMES
    ]
    return table(("regime", "parameters", "weights", "with gradients and Adam", "MACs"), rows)


def _tie(tie: Tie) -> str:
    shown = " = ".join(_line(name) for name in tie.names[:_NAMES_OF_A_TIE])
    more = len(tie.names) - _NAMES_OF_A_TIE
    return f"{shown}{f' = {more} more' if more > 0 else ''}: {tie.elements:,} elements"


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    """Return a title and a list of as many lines as fit; nothing if there are no lines."""
    if not lines:
        return []
    shown, room = [], _LIST_LENGTH
    for line in lines:
        room -= len(line) + len("- \n")
        if room < 0:
            break
        shown.append(f"- {line}")
    left_out = len(lines) - len(shown)
    if left_out:
        shown.append(f"- … and {left_out} more in the artifact `{REPORT_FILE}`")
    return [f"**{title}**", "\n".join(shown)]


def _line(text: str) -> str:
    return plain(_cut(text, _LINE_LENGTH))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
