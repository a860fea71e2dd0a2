"""`paramshare recipes` and `init`: what can be trained, and a recipe to start from."""

import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field
from pydantic_settings import CliPositionalArg

from paramshare.commands.output import check_file, print_json, write_file
from paramshare.errors import UsageError
from paramshare.recipes.describe import RecipeInfo, recipe_info
from paramshare.recipes.loading.find import find_target, installed_recipes
from paramshare.recipes.target import TARGETS

__all__ = ["Init", "Recipes"]

_TEMPLATE: Final = "paramshare.recipes.template"
_TEMPLATE_FILE: Final = "my_recipe.py"  # the name in the text of the template
_CLASS: Final = "Spirals"


class Recipes(BaseModel):
    """List the recipes that can be trained, or the options, variants and metrics of one.

    paramshare recipes
    paramshare recipes digits
    """

    recipe: CliPositionalArg[str | None] = Field(
        None, description="the recipe to show: path/to/file.py:Class, or a name of the list"
    )
    as_json: bool = Field(False, alias="json", description="print one JSON object instead of text")

    def cli_cmd(self) -> None:
        """Print the list, or the recipe."""
        from paramshare.console_recipes import print_recipe, print_recipes

        if self.recipe is not None:
            info = recipe_info(find_target(self.recipe))
            if self.as_json:
                print_json(info.as_dict())
            else:
                print_recipe(info, self.recipe)
            return
        infos = {name: _known(name) for name in [*TARGETS, *installed_recipes()]}
        if self.as_json:
            listed = [
                info.as_dict() if isinstance(info, RecipeInfo) else {"name": name, "error": info}
                for name, info in infos.items()
            ]
            print_json({"recipes": listed})
        else:
            print_recipes({name: info if isinstance(info, str) else info.line for name, info in infos.items()})


class Init(BaseModel):
    """Write a recipe to start from: a small net that runs as it is, with comments.

    paramshare init my_recipe.py
    """

    file: CliPositionalArg[Path] = Field(description="the file to write; it must not exist")
    as_json: bool = Field(False, alias="json", description="print one JSON object instead of text")

    def cli_cmd(self) -> None:
        """Write the file and print the commands that continue with it."""
        if self.file.suffix != ".py":
            raise UsageError(f"{self.file} is not a Python file; expected a name that ends in .py")
        check_file(self.file)
        if self.file.exists():
            raise UsageError(f"{self.file} exists already; choose another name, or remove the file")
        reference = shlex.quote(f"{self.file}:{_CLASS}")
        template = find_spec(_TEMPLATE)
        assert template is not None
        assert template.origin is not None
        text = Path(template.origin).read_text(encoding="utf-8").replace(f"{_TEMPLATE_FILE}:{_CLASS}", reference)
        write_file(self.file, text.encode())
        commands = [f"paramshare {words}" for words in (f"check {reference}", f"study {reference} --seeds 0:10")]
        if self.as_json:
            print_json({"file": str(self.file), "recipe": f"{self.file}:{_CLASS}", "commands": commands})
        else:
            print("\n".join([f"{self.file} is written. Next:", *(f"  {command}" for command in commands)]))  # noqa: T201


def _known(name: str) -> RecipeInfo | str:
    """Return what the list shows of a recipe; a reason if it cannot be imported."""
    try:
        return recipe_info(find_target(name))
    except UsageError as error:
        return str(error)
