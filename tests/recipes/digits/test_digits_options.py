"""A spec of digits refuses what cannot be trained, its key is its identity, and the offsets that
training sees and the others are apart.
"""

from typing import Any

import pytest

from paramshare.errors import DeviceError, SpecError
from paramshare.recipes.digits.dataset import DIGIT_SIZE
from support.specs import digits_spec, replace

OTHER: dict[str, Any] = {
    "seed": 1, "variant": "local", "device": "mps", "placement": "plain", "examples": 999, "channels": 15,
    "batch_size": 49, "steps": 4999, "stop_loss": 0.02, "learning_rate": 0.01, "momentum": 0.8,
}  # fmt: skip


def test_the_key_of_the_default_digits_run_is_unchanged() -> None:
    """A store's runs are found by it: whoever changes it on purpose raises `version` and changes this line."""
    assert digits_spec(seed=0).key() == "66485c7ff2be643fa009d1c591d5f8a3"


def test_every_field_of_a_digits_spec_is_part_of_its_key() -> None:
    spec = digits_spec(seed=0)
    assert set(spec.as_dict()) == {*OTHER, "arithmetic"}  # which has one value
    keys = {spec.key(), *(replace(spec, **{name: value}).key() for name, value in OTHER.items())}
    assert len(keys) == len(OTHER) + 1


def test_equal_digits_specs_have_one_key_for_each_spelling() -> None:
    assert digits_spec(seed=0, momentum=0).key() == digits_spec(seed=0, momentum=0.0).key()
    assert digits_spec(seed=0, stop_loss=1).key() == digits_spec(seed=0, stop_loss=1.0).key()
    assert digits_spec(seed=0, device="cuda").key() == digits_spec(seed=0, device="cuda:0").key()


def test_a_digits_spec_can_be_rebuilt_from_its_dict_with_the_same_key() -> None:
    spec = digits_spec(seed=3, variant="dense", placement="plain", stop_loss=0)
    assert digits_spec(**spec.as_dict()) == spec  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1), ("seed", 2**63), ("seed", True), ("seed", 1.5), ("variant", "shared"), ("placement", "rotated"),
        ("examples", 0), ("examples", 1797), ("channels", 0), ("channels", 16.0), ("batch_size", 0),
        ("batch_size", 1001), ("steps", 0), ("steps", "3"), ("stop_loss", -0.1), ("stop_loss", float("nan")),
        ("stop_loss", float("inf")), ("learning_rate", 0), ("learning_rate", float("nan")),
        ("learning_rate", float("inf")), ("momentum", 1), ("momentum", -0.1), ("arithmetic", "gram"),
    ],
)  # fmt: skip
def test_an_invalid_field_of_a_digits_spec_is_refused_with_the_expected_values(field: str, value: object) -> None:
    with pytest.raises(SpecError, match=rf"^({field} is .*; |there is no variant .*; )expected "):
        digits_spec(**{"seed": 0, field: value})  # type: ignore[arg-type]


def test_an_unknown_device_of_a_digits_spec_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"expected cpu, cuda, cuda:N or mps"):
        digits_spec(seed=0, device="gpu")


def test_digits_are_moved_to_25_offsets_of_which_training_sees_9() -> None:
    recipe = digits_spec(seed=0).instance()
    seen, unseen = set(recipe.seen_offsets), set(recipe.unseen_offsets)
    assert (recipe.canvas, len(seen), len(unseen)) == (12, 9, 16)
    assert not seen & unseen
    assert seen | unseen == {(row, column) for row in range(5) for column in range(5)}


def test_plain_digits_have_one_offset_and_no_unseen_one() -> None:
    recipe = digits_spec(seed=0, placement="plain").instance()
    assert (recipe.canvas, recipe.seen_offsets, recipe.unseen_offsets) == (8, ((0, 0),), ())


@pytest.mark.parametrize("placement", ["moved", "plain"])
def test_a_digit_fits_on_the_canvas_at_every_offset(placement: Any) -> None:
    recipe = digits_spec(seed=0, placement=placement).instance()
    offsets = (*recipe.seen_offsets, *recipe.unseen_offsets)
    assert max(max(offset) for offset in offsets) + DIGIT_SIZE == recipe.canvas
