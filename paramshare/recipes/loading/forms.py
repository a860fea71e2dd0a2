"""The form of a recipe: what a server needs to check options without the recipe's code. Plain data.

The forms of recipes are read in a process of its own, so that a recipe that hangs or ends its process is one problem:

    python -m paramshare.recipes.loading.forms OUTPUT REFERENCE ...
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from paramshare.errors import SpecError
from paramshare.recipes.describe import recipe_options
from paramshare.recipes.loading.find import find_target, recipes_of_file
from paramshare.recipes.target import Target

__all__ = ["Problem", "RecipeForm", "form_of", "main", "read_forms"]

_SECONDS: Final = 60.0  # for the imports of one recipe; torch takes seconds on a busy machine


@dataclass(frozen=True, slots=True)
class RecipeForm:
    """The part of a recipe that its form contains.

    Args:
        name: the name of the recipe.
        references: the references that name it, the fullest first.
        variants: the names of its variants.
        options: the JSON schema of each option by name, with its default and a description.
    """

    name: str
    references: tuple[str, ...]
    variants: tuple[str, ...]
    options: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Problem:
    """A recipe that has no form.

    Args:
        reference: the recipe, or its file.
        reason: one sentence.
    """

    reference: str
    reason: str


def form_of(target: Target, references: tuple[str, ...]) -> RecipeForm:
    """Return the form of a recipe whose code is known."""
    assert target.recipe is not None
    texts = {option.name: option.description for option in recipe_options(target.recipe.load().Options)}
    defaults = target.options  # a schema has no default if a function makes it
    options = {
        name: {
            "default": defaults[name],
            **{key: value for key, value in schema.items() if key != "title"},
            "description": texts[name],
        }
        for name, schema in target.option_schemas().items()
    }
    return RecipeForm(target.name, references, target.variants, options)


def read_forms(references: Sequence[str], seconds: float = _SECONDS) -> Iterator[RecipeForm | Problem]:
    """Yield the form of each recipe, or the reason why it has none. The code of the recipes runs in another process.

    Args:
        references: files, whose recipes are all read, and names of installed recipes.
        seconds: maximum time for each reference.
    """
    waiting = list(references)
    while waiting:
        with tempfile.TemporaryDirectory(prefix="paramshare-") as folder:
            output = Path(folder, "forms")
            reason = _run(output, waiting, seconds * len(waiting))
            lines = output.read_text().splitlines() if output.exists() else []
        for line in lines:
            yield from (Problem(*each) if isinstance(each, list) else _form(each) for each in json.loads(line))
        unread = waiting[len(lines) :]
        if unread:
            yield Problem(unread[0], reason)
        waiting = unread[1:]


def _run(output: Path, references: Sequence[str], seconds: float) -> str:
    """Read forms in another process, and return why it did not read all of them."""
    command = [sys.executable, "-m", __name__, str(output), *references]
    quiet = subprocess.DEVNULL
    try:
        code = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=seconds).returncode
    except subprocess.TimeoutExpired:
        return "importing it took too long"
    return f"importing it ended the process with exit code {code}"


def _form(content: Mapping[str, Any]) -> RecipeForm:
    return RecipeForm(content["name"], tuple(content["references"]), tuple(content["variants"]), content["options"])


def _forms_at(reference: str) -> Iterator[RecipeForm | Problem]:
    """Yield the form of each recipe of a file, or that of an installed recipe. The code of the recipe runs."""
    is_file = reference.endswith(".py")
    try:
        names = [f"{reference}:{name}" for name in recipes_of_file(reference)] if is_file else [reference]
    except SpecError as error:
        yield Problem(reference, str(error))
        return
    for name in names:
        try:
            short = (reference,) if is_file and len(names) == 1 else ()
            yield form_of(find_target(name), (name, *short))
        except SpecError as error:
            yield Problem(name, str(error))


def main(arguments: Sequence[str]) -> None:
    """Write a line of JSON to the first argument for each of the other arguments, when it is read."""
    output, *references = arguments
    with Path(output).open("w") as file:
        for reference in references:
            forms = [
                [form.reference, form.reason] if isinstance(form, Problem) else asdict(form)
                for form in _forms_at(reference)
            ]
            file.write(json.dumps(forms) + "\n")
            file.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
