"""The pages of a store open on the right view, and missing views are added."""

import subprocess
import sys
from pathlib import Path

import pytest

from paramshare.errors import UsageError
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.target import TARGETS
from paramshare.tracking.display.views import missing_views, recipe_view_tags
from paramshare.tracking.pages import add_views, check_view, newest_seeds
from paramshare.tracking.store import Store, StoreAddress, experiment_tags, open_store, tag_experiment
from paramshare.tracking.write.kinds.seeds import write_failure
from support.specs import digits_spec, replace
from support.tracking.mlflow_server import MlflowServer


def test_missing_views_are_added_to_an_experiment_and_existing_ones_are_kept(store: Store) -> None:
    client, experiment = store.client, store.experiment_id
    mine, lost = (f"mlflow.sharedViewState.paramshare-{name}" for name in ("seeds", "sweep"))
    client.set_experiment_tag(experiment, mine, "a person's")
    client.delete_experiment_tag(experiment, lost)
    assert set(missing_views(client.get_experiment(experiment).tags)) == {lost}
    add_views(store)
    tags = client.get_experiment(experiment).tags
    assert missing_views(tags) == {}
    assert tags[mine] == "a person's"


def test_the_pages_open_on_the_seeds_of_the_newest_trained_target(store: Store) -> None:
    assert newest_seeds(store) == "seeds"
    for spec, view in ((digits_spec(seed=0), "digits-seeds"), (TrainSpec(seed=0), "seeds")):
        write_failure(store, spec, "no room", {})
        assert newest_seeds(store) == view


def test_the_pages_of_a_server_open_on_the_same_view_as_those_of_its_file(
    mlflow_server: MlflowServer, experiment: str
) -> None:
    embedded, remote = open_store(mlflow_server.embedded(experiment)), open_store(mlflow_server.remote(experiment))
    assert newest_seeds(embedded) == newest_seeds(remote) == "seeds"
    for spec, view in ((digits_spec(seed=0), "digits-seeds"), (TrainSpec(seed=0), "seeds")):
        write_failure(embedded, spec, "no room", {})
        assert newest_seeds(embedded) == newest_seeds(remote) == view


def test_missing_views_are_added_by_a_server(mlflow_server: MlflowServer, experiment: str) -> None:
    remote = open_store(mlflow_server.remote(experiment))
    remote.client.delete_experiment_tag(remote.experiment_id, "mlflow.sharedViewState.paramshare-sweep")
    assert missing_views(experiment_tags(remote))
    add_views(remote)
    assert missing_views(experiment_tags(remote)) == {}


def test_the_view_of_an_embedded_store_is_found_without_mlflow(address: StoreAddress) -> None:
    """Its import takes longer than all else that the command does before it starts the server."""
    write_failure(open_store(address), digits_spec(seed=0), "no room", {})
    program = (
        "import sys\nfrom paramshare.tracking.pages import add_views, check_view, newest_seeds\n"
        "from paramshare.tracking.store import StoreAddress, open_store, store_failures\n"
        "address = StoreAddress(*sys.argv[1:])\n"
        "with store_failures(address):\n"
        "    check_view(address, 'counts')\n    store = open_store(address)\n    add_views(store)\n"
        "    print(newest_seeds(store), 'mlflow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", program, address.uri, address.experiment]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "digits-seeds False\n"


def test_the_views_of_a_recipe_are_known_after_its_first_sweep(address: StoreAddress, tmp_path: Path) -> None:
    missing = StoreAddress.of(f"sqlite:///{tmp_path}/missing/mlflow.db", "paramshare")
    with pytest.raises(UsageError, match=r"--view is 'toy-seeds'; expected 'seeds', .*'counts'"):
        check_view(missing, "toy-seeds")
    assert not (tmp_path / "missing").exists()
    store = open_store(address)
    tag_experiment(store, recipe_view_tags(replace(TARGETS["digits"], name="toy", title="Toy")))
    check_view(address, "toy-seeds")
    with pytest.raises(UsageError, match=r"did you mean toy-seeds\?"):
        check_view(address, "toy-sedes")
