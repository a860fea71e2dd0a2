"""The pages of a store open on the right view, and missing views are added."""

from pathlib import Path

import pytest

from paramshare.errors import UsageError
from paramshare.recipes.dynamicnet.recipe import TrainSpec
from paramshare.recipes.target import TARGETS
from paramshare.tracking.display.views import missing_views, recipe_view_tags
from paramshare.tracking.pages import add_views, check_view, newest_seeds
from paramshare.tracking.store import Store, StoreAddress, open_store, tag_experiment
from paramshare.tracking.write.kinds.seeds import write_failure
from support.specs import digits_spec, replace


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
