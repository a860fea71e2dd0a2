"""A recipe in the working directory."""

from pathlib import Path
from uuid import uuid4

import pytest

from support.toy_recipe import NEIGHBOUR, RECIPE

DESCRIBED = (
    'width: int = Field(3, ge=1, description="channels of the convolution")\n        kind: Literal["a", "b"] = "a"'
)
IMPORTS = "from typing import Literal\n\nfrom pydantic import Field\n"


@pytest.fixture
def recipe() -> str:
    """Return the reference of a recipe whose import leaves the file `imported` behind. No other test imports it."""
    Path("noise.py").write_text(NEIGHBOUR)
    text = RECIPE.replace("width: int = 3", DESCRIBED).replace("Toy(ps.Recipe):", 'Toy(ps.Recipe):\n    """A toy."""\n')
    Path("toy.py").write_text(
        f"{IMPORTS}{text}\nopen('imported', 'w').close()\nprint('noise on stdout')\n# {uuid4()}\n"
    )
    return "toy.py:Toy"
