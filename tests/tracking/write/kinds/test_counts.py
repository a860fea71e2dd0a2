"""The run of a report contains its numbers, tables and picture, and a note within MLflow's limit."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import Run

from paramshare.errors import SpecError
from paramshare.sharing.report import REGIMES, Counts, LayerSharing, Memory, SharingReport, Tie
from paramshare.tracking.store import Store
from paramshare.tracking.write.kinds.counts import write_report

HUGE = 2**53 + 1  # a float rounds it


def counted(shared: int, unshared: int, dense: int) -> Counts:
    sizes = {"shared": shared, "per_use": shared, "unshared": unshared, "unshared_live": unshared, "dense": dense}
    memory = {regime: Memory(4 * size, 4 * size) for regime, size in sizes.items()}
    return Counts(**sizes, unused=1, used=shared, macs=unshared, dense_macs=dense, memory=memory)


REPORT = SharingReport(
    model="Net",
    input="1×3×8×8",
    totals=counted(12, 120, HUGE),
    layers=(
        LayerSharing("a.conv", "Conv2d", 1, {}, counted(10, 100, HUGE - 20)),
        LayerSharing("a.norm", "LayerNorm", 2, {"a.conv": 7}, counted(2, 20, 20)),
    ),
    ties=(Tie(("a.conv.weight", "b.conv.weight"), 7),),
    warnings=("a.norm calls .item(): a guess",),
)
SOURCE = {"model": "my.nets:build", "input": "3,8,8", "args": '{"width": 2}'}


def written(store: Store, report: SharingReport = REPORT) -> Run:
    return store.client.get_run(write_report(store, report, SOURCE, {"mlflow.source.name": "test"}))


def artifact(store: Store, run: Run, name: str) -> bytes:
    return Path(store.client.download_artifacts(run.info.run_id, name)).read_bytes()


def test_the_run_of_a_count_is_finished_and_named_after_its_model_and_input(store: Store) -> None:
    run = written(store)
    assert (run.info.status, run.info.run_name) == ("FINISHED", 'my.nets:build {"width": 2} on 3,8,8')
    assert run.data.tags["paramshare.kind"] == "count"
    assert run.data.tags["mlflow.source.name"] == "test"


def test_the_metrics_of_a_count_are_the_totals_at_step_0(store: Store) -> None:
    run = written(store)
    metrics, totals = run.data.metrics, REPORT.totals
    for name in (*REGIMES, "unused", "used", "macs", "dense_macs", "factor"):
        assert metrics[f"sharing/{name}"] == float(getattr(totals, name))
    for regime in REGIMES:
        memory = {what: metrics[f"memory/{regime}_{what}"] for what in ("weights", "with_gradient", "with_adam")}
        assert memory == {what: float(size) for what, size in totals.memory[regime].as_dict().items()}
    (point,) = store.client.get_metric_history(run.info.run_id, "sharing/shared")
    assert point.step == 0


def test_the_parameters_of_a_count_are_its_request_and_the_exact_counts(store: Store) -> None:
    params = written(store).data.params
    assert params.items() >= SOURCE.items()
    assert (params["sample"], params["schema"]) == ("1×3×8×8", "paramshare.sharing/1")
    assert params["dense"] == str(HUGE)
    assert int(written(store).data.metrics["sharing/dense"]) != HUGE


def test_a_count_without_a_source_is_named_after_its_report(store: Store) -> None:
    run = store.client.get_run(write_report(store, REPORT, {}, {}))
    assert run.info.run_name == "Net on 1×3×8×8"


def test_the_artifacts_of_a_count_are_the_report_as_json_text_and_picture_and_a_table_of_layers(store: Store) -> None:
    run = written(store)
    files = [file.path for file in store.client.list_artifacts(run.info.run_id)]
    assert files == ["layers.json", "sharing.json", "sharing.png", "sharing.txt"]
    assert artifact(store, run, "sharing.json").decode() == REPORT.to_json()
    assert artifact(store, run, "sharing.txt").decode() == f"{REPORT.table()}\n"
    assert artifact(store, run, "sharing.png").startswith(b"\x89PNG")
    table = json.loads(artifact(store, run, "layers.json"))
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [(row["layer"], row["type"], row["uses"], row["tied"]) for row in rows] == [
        ("a.conv", "Conv2d", 1, ""),
        ("a.norm", "LayerNorm", 2, "a.conv: 7"),
    ]
    assert [row["dense"] for row in rows] == [HUGE - 20, 20]
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "layers.json", "type": "table"}]


def test_the_table_and_picture_of_a_count_have_the_requested_depth_and_order(store: Store) -> None:
    run = store.client.get_run(write_report(store, REPORT, SOURCE, {}, depth=1, sort="factor"))
    assert artifact(store, run, "sharing.txt").decode() == f"{REPORT.table(1, 'factor')}\n"
    assert len(json.loads(artifact(store, run, "layers.json"))["data"]) == 2


def test_the_note_of_a_count_shows_the_picture_totals_ties_and_warnings(store: Store) -> None:
    run = written(store)
    note = run.data.tags["mlflow.note.content"]
    assert f"(get-artifact?path=sharing.png&run_uuid={run.info.run_id})" in note
    assert "| unshared | 120 | 480 B | 1.9 KiB | 120 |" in note
    assert note.startswith(
        f"**Sharing factor 10.0** (unshared / shared): 12 parameters shared, 120 unshared, {HUGE:,} "
    )
    assert "dense; 1 unused in this pass; **warnings: 1**, see below." in note
    assert "- a.conv.weight = b.conv.weight: 7 elements" in note
    assert "- a.norm calls .item(): a guess" in note


def test_a_note_that_exceeds_mlflows_limit_names_the_omitted_lines(store: Store) -> None:
    ties = tuple(Tie(tuple(f"{name}.{layer}.__weight__" * 30 for name in "abcdef"), layer) for layer in range(300))
    warnings = tuple(f"<layer> {layer} " + "guesses *_" * 50 for layer in range(300))
    long = replace(REPORT, model="N_" * 5000, input="1×" * 5000, ties=ties, warnings=warnings)
    note = written(store, long).data.tags["mlflow.note.content"]
    assert len(note) < 8000
    assert note.endswith("more in the artifact `sharing.json`")
    assert " = 2 more: 0 elements" in note
    assert r"\<layer\> 0 guesses \*\_" in note


def test_a_parameter_or_name_that_exceeds_mlflows_limit_ends_with_an_ellipsis(store: Store) -> None:
    source = {**SOURCE, "args": "x" * 7000}
    run = store.client.get_run(write_report(store, REPORT, source, {}))
    assert run.data.params["args"] == "x" * 5999 + "…"
    assert len(run.info.run_name) == 250
    assert run.info.run_name.startswith(f"{run.data.params['model']} xxx")


def test_a_count_with_an_invalid_depth_is_refused_before_anything_is_written(store: Store) -> None:
    with pytest.raises(SpecError, match="depth is 0"):
        write_report(store, REPORT, SOURCE, {}, depth=0)
    assert list(store.client.search_runs([store.experiment_id])) == []
