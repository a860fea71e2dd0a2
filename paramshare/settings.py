"""Settings: one set of names for the command line, the environment, `.env` and `paramshare.toml`, in that order.

Every option of a command is also `PARAMSHARE_<NAME>` in the environment and in `.env`, and `<name>` in
`paramshare.toml`. The first source that sets an option wins. The two variables by which MLflow's own programs find a
store and an experiment come last. The settings of a stack of servers and workers begin with `STACK_`.
Only this module reads the environment for settings.
"""

import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from paramshare.errors import SettingsError, UsageError, nearest, without_secrets
from paramshare.recipes.loading.find import find_target
from paramshare.sweep.spec import ExperimentName

__all__ = [
    "MLFLOW_VARIABLES",
    "DaskSettings",
    "Settings",
    "StackSettings",
    "StoreSettings",
    "check_names",
    "problems",
    "recipe_setting",
    "set_values",
    "without_options",
]

_PREFIX: Final = "PARAMSHARE_"
_ENV_FILE: Final = Path(".env")
_TOML_FILE: Final = Path("paramshare.toml")

MLFLOW_VARIABLES: Final = {"tracking_uri": "MLFLOW_TRACKING_URI", "experiment": "MLFLOW_EXPERIMENT_NAME"}
"""MLflow\'s own variable of each setting that has one."""

_USABLE: Final = ("http://", "https://", "sqlite:///")


class _MlflowSource(PydanticBaseSettingsSource):
    """The variables by which MLflow's own programs find a store and an experiment. An empty one counts as not set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Return the value of the field's variable, if it has one."""
        return os.environ.get(MLFLOW_VARIABLES.get(field_name, "")), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the values of the variables for fields that no other source sets.

        Raises:
            SettingsError: MLFLOW_TRACKING_URI names a kind of store that paramshare cannot use.
        """
        values = {
            name: value
            for name, field in self.settings_cls.model_fields.items()
            if name not in self.current_state and (value := self.get_field_value(field, name)[0])
        }
        if (uri := values.get("tracking_uri", _USABLE[0])) and not uri.startswith(_USABLE):
            raise SettingsError(
                f"MLFLOW_TRACKING_URI is {without_secrets(uri)!r}, which paramshare cannot use; "
                "set PARAMSHARE_TRACKING_URI, which takes precedence, to sqlite:///path or to an MLflow server's "
                "http(s):// address"
            )
        return values


def _check_pages_url(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s@]+", url):
        raise ValueError(f"--pages-url is {url!r}; expected an address without a user, such as http://127.0.0.1:5000")
    return url


def _check_scheduler(address: str) -> str:
    if not re.fullmatch(r"(tcp|tls)://[^\s/@]+:\d+", address):
        raise ValueError(
            f"--dask-scheduler is {address!r}; expected tcp:// or tls:// with a host and a port, such as "
            "tcp://10.0.0.1:8786"
        )
    return address


class Settings(BaseSettings):
    """Options that are settings, too. Each command with such options inherits this class."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_prefix_target="all",  # a field with an alias gets the prefix too
        env_file=_ENV_FILE,
        toml_file=_TOML_FILE,
        env_ignore_empty=True,
        extra="ignore",  # a setting of another command; check_names finds names that no command has
        cli_kebab_case=True,
        cli_implicit_flags=True,
        populate_by_name=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: the command line, the environment, `.env`, `paramshare.toml`, MLflow's variables."""
        toml_settings, mlflow_settings = TomlConfigSettingsSource(settings_cls), _MlflowSource(settings_cls)
        return init_settings, env_settings, dotenv_settings, toml_settings, mlflow_settings

    @classmethod
    def setting_names(cls) -> set[str]:
        """Return the names under which the fields are set: a field's alias if it has one, else its own name."""
        return {
            field.validation_alias if isinstance(field.validation_alias, str) else name
            for name, field in cls.model_fields.items()
        }


class StoreSettings(Settings):
    """The settings of the store. A command with a store adds its own fields."""

    experiment: ExperimentName = Field("paramshare", description="the MLflow experiment that holds the runs")
    tracking_uri: str | None = Field(
        None,
        description="an MLflow server's http(s):// address, or sqlite:///path/to/mlflow.db; "
        "defaults to MLFLOW_TRACKING_URI, else to mlruns/mlflow.db in this folder",
    )

    pages_url: Annotated[str, AfterValidator(_check_pages_url)] | None = Field(
        None,
        description="where browsers find MLflow's pages, such as http://127.0.0.1:5000; the tracking URI if not given",
    )


class DaskSettings(StoreSettings):
    """The settings of a sweep as a flow: the store, and the cluster that trains."""

    dask_scheduler: Annotated[str, AfterValidator(_check_scheduler)] | None = Field(
        None,
        description="the address of a Dask cluster's scheduler, such as tcp://10.0.0.1:8786; its workers train instead "
        "of processes on this machine",
    )
    checkpoint_folder: str | None = Field(
        None, min_length=1, description="the folder of checkpoints of sweeps that name none"
    )


def _check_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:  # the name of a folder, a malformed name, an unknown name
        raise ValueError(f"{name!r} is not a time zone; use a name such as UTC or Europe/Berlin") from error
    return name


class StackSettings(BaseSettings):
    """The settings with which the deployments of a stack are registered."""

    model_config = SettingsConfigDict(env_prefix="STACK_", env_file=_ENV_FILE, env_ignore_empty=True, extra="ignore")

    schedules: Literal["paused", "active"] = Field("paused", description="whether schedules start runs")
    timezone: Annotated[str, AfterValidator(_check_timezone)] = Field("UTC", description="the time zone of schedules")

    @property
    def active(self) -> bool:
        """Return whether schedules start runs."""
        return self.schedules == "active"

    @classmethod
    def read(cls) -> "StackSettings":
        """Read the settings of the environment and `.env`.

        Raises:
            SettingsError: a setting has an invalid value.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            raise SettingsError(f"STACK_{str(first['loc'][0]).upper()}: {first['msg']}") from error


def check_names(options: Collection[str] = ()) -> None:
    """Refuse a setting that no command has: it would be ignored, and whoever wrote it would never know.

    Args:
        options: the options of the recipe that the command trains.

    Raises:
        SettingsError: a name in the environment, `.env` or `paramshare.toml` is unknown, or a file cannot be read.
    """
    for problem in problems(options):
        raise SettingsError(problem)


def recipe_setting() -> str | None:
    """Return the recipe that the settings name; None if they name none or cannot be read."""
    try:
        value = set_values().get("target", ("", None))[1]
    except SettingsError:
        return None
    return value if isinstance(value, str) else None


def without_options() -> StoreSettings:
    """Return the settings of the store that the environment and the files have, without the command line."""
    try:
        return StoreSettings()
    except SettingsError:  # MLFLOW_TRACKING_URI cannot be used; an option names the store instead
        return StoreSettings(tracking_uri=None)


def set_values() -> dict[str, tuple[str, object]]:
    """Return the source and the value of each setting that the environment or a file sets, by name.

    Raises:
        SettingsError: a file cannot be read.
    """
    values: dict[str, tuple[str, object]] = {
        name: (variable, os.environ[variable])
        for name, variable in MLFLOW_VARIABLES.items()
        if os.environ.get(variable)
    }
    values |= {name: (f"{name} in {_TOML_FILE}", value) for name, value in _toml().items()}
    for variables, source in ((_env_file(), f" in {_ENV_FILE}"), (os.environ, "")):
        for variable, value in variables.items():
            if value and variable.upper().startswith(_PREFIX):
                name = variable.upper().removeprefix(_PREFIX).lower()
                values[name] = (f"{_variable(name)}{source}", value)
    return values


def problems(options: Collection[str] = ()) -> Iterator[str]:
    """Return each setting that no command has, and each settings file that cannot be read.

    Args:
        options: the options of the recipe that the command trains. Those of the recipe that the settings name are
            known, too; its code runs only if a name is not known otherwise.
    """
    known = {name for command in _commands(Settings) for name in command.setting_names()} | set(options)
    sources: tuple[tuple[str, Callable[[], Iterable[str]], Callable[[str], str]], ...] = (
        (_TOML_FILE.name, _toml, str),
        (_ENV_FILE.name, lambda: _prefixed(_env_file()), _variable),
        ("the environment", lambda: _prefixed(os.environ), _variable),
    )
    for source, names, shown in sources:
        try:
            unknown = sorted(set(names()) - known)
        except SettingsError as error:
            yield str(error)
            continue
        if unknown:
            known |= _options_of(recipe_setting())
        for name in filter(lambda name: name not in known, unknown):
            close = nearest(name, known)
            expected = f"did you mean {shown(close)}?" if close else f"expected one of {', '.join(sorted(known))}"
            expected += "" if close or recipe_setting() else "; for an option of your recipe, set target to the recipe"
            yield f"there is no setting called {shown(name)} (found in {source}); {expected}"


def _options_of(reference: str | None) -> set[str]:
    """Return the options of a recipe; none if there is no such recipe."""
    try:
        return set(find_target(reference).options) if reference else set()
    except UsageError:  # commands that train it report the error
        return set()


def _commands(settings: type[Settings]) -> Iterator[type[Settings]]:
    """Return a class of settings and all classes that add to it: the commands that are imported."""
    yield settings
    for command in settings.__subclasses__():
        yield from _commands(command)


def _variable(name: str) -> str:
    return _PREFIX + name.upper()


def _prefixed(environment: Iterable[str]) -> set[str]:
    upper = (name.upper() for name in environment)
    return {name.removeprefix(_PREFIX).lower() for name in upper if name.startswith(_PREFIX)}


def _env_file() -> Mapping[str, str | None]:
    try:
        return dotenv_values(_ENV_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{_ENV_FILE} cannot be read: {error}; expected lines in UTF-8 such as {_PREFIX}SEEDS=0:100"
        ) from error


def _toml() -> dict[str, Any]:
    if not _TOML_FILE.exists():
        return {}
    try:
        return tomllib.loads(_TOML_FILE.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            f"{_TOML_FILE.name} cannot be read: {error}; expected TOML such as seeds = '0:100'"
        ) from error
