"""Commands that train: a class for each recipe, whose options are those of the recipe and of the command."""

from typing import Any, ClassVar, Final, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from paramshare.errors import SpecError
from paramshare.recipes.describe import recipe_info
from paramshare.recipes.recipe import Recipe
from paramshare.recipes.target import TARGETS, Target
from paramshare.settings import Settings
from paramshare.sweep.spec import SweepSpec
from paramshare.validation import sentences_of_options

__all__ = ["DEFAULT", "TrainingCommand", "command_for"]

DEFAULT: Final = "dynamicnet"
_BUILT_IN_OPTIONS: Final = {name for target in TARGETS.values() for name in target.options}
_NOT_OWN: Final = {"target", "options"}

Command = TypeVar("Command", bound="TrainingCommand")


class TrainingCommand(Settings):
    """The recipe of a command that trains. `command_for` adds the options of the recipe and of the command."""

    model_config = SettingsConfigDict(extra="ignore", allow_inf_nan=False)

    options_from: ClassVar[type[BaseModel]] = SweepSpec
    trained: ClassVar[Target | None] = None

    target: CliPositionalArg[str] = Field(
        DEFAULT,
        description=f"the recipe to train: {', '.join(TARGETS)}, path/to/file.py:Class, or the name of an installed "
        f"recipe; defaults to {DEFAULT}. `paramshare recipes` lists the recipes; their options: RECIPE --help",
    )

    @model_validator(mode="after")
    def _is_valid(self) -> Self:
        """Check the values together, such as the variants, which are those of the recipe."""
        self.spec()
        return self

    def spec(self) -> object:
        """Return what the options make.

        Raises:
            SpecError: the options do not fit together.
        """
        raise NotImplementedError

    def recipe_options(self) -> dict[str, Any]:
        """Return the options of the recipe that are set, by name.

        Raises:
            SpecError: a validator of the recipe refuses a value.
        """
        target = self.trained or TARGETS[DEFAULT]
        given = {name: getattr(self, name) for name in target.options if name in self.model_fields_set}
        try:
            _class_of(target).Options(**given)
        except ValidationError as error:
            raise SpecError(sentences_of_options(error)) from error
        return given

    def sweep_values(self) -> dict[str, Any]:
        """Return the fields of the command's spec by name."""
        values = {name: getattr(self, name) for name in _own_fields(self.options_from)}
        return {"target": self.target, **values, "options": self.recipe_options()}

    @classmethod
    def setting_names(cls) -> set[str]:
        """Return the names of the command's own settings and of the options of the built-in recipes."""
        if cls.trained is not None:  # made for one recipe, whose options are settings of no other command
            return set()
        return {*super().setting_names(), *_own_fields(cls.options_from), "target", *_BUILT_IN_OPTIONS}


def command_for(command: type[Command], target: Target, *others: Target, reference: str = "") -> type[Command]:
    """Return the class of a command that trains a recipe.

    Args:
        target: the recipe.
        others: recipes whose options the command has, too. Only the script of completion needs them.
        reference: the default of the recipe's argument. Defaults to the name of the target.
    """
    fields: dict[str, Any] = {
        "target": (CliPositionalArg[str], _changed(command.model_fields["target"], default=reference or target.name)),
        **{name: (field.annotation, field) for name, field in _own_fields(command.options_from).items()},
    }
    for each in reversed((target, *others)):
        fields |= _option_fields(each)
    if "variant" in fields:
        fields["variant"] = (str | None, _variant_field(command.options_from, target))
    command_class = create_model(
        command.__name__, __base__=command, __doc__=command.__doc__, __module__=__name__, **fields
    )
    command_class.trained = target
    return command_class


def _own_fields(spec: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a spec that are options of every recipe, such as `seeds`."""
    return {name: field for name, field in spec.model_fields.items() if name not in _NOT_OWN}


def _option_fields(target: Target) -> dict[str, tuple[Any, FieldInfo]]:
    """Return the options of a recipe as fields of a command."""
    fields = _class_of(target).Options.model_fields
    return {
        option.name: (
            fields[option.name].annotation,
            _changed(fields[option.name], default=option.default, description=option.help),
        )
        for option in recipe_info(target).options
    }


def _class_of(target: Target) -> type[Recipe]:
    assert target.recipe is not None
    return target.recipe.load()


def _variant_field(spec: type[BaseModel], target: Target) -> FieldInfo:
    """Return the option `variant` with the variants of one recipe in its help."""
    names = ", ".join(target.variants)
    default = target.variants[0] if spec is SweepSpec else "all of them"
    text = f"the variants to train: {names}, or a list such as {','.join(target.variants[:2])}; defaults to {default}"
    return _changed(spec.model_fields["variant"], description=text)


def _changed(field: FieldInfo, **values: Any) -> FieldInfo:
    """Return a copy of a field with another default or description."""
    return FieldInfo.merge_field_infos(field, **values)
