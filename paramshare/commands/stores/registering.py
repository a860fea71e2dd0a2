"""`paramshare register`: give the model of a run a name in MLflow's model registry."""

from typing import TYPE_CHECKING

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from paramshare.commands.options import address_of, serve_command
from paramshare.commands.output import print_json
from paramshare.proof.spec import RunId
from paramshare.settings import StoreSettings

if TYPE_CHECKING:
    from paramshare.tracking.registry import RegisteredVersion

__all__ = ["Register"]


class Register(StoreSettings):
    """Register the model of a run in MLflow's model registry, and print the command that serves it.

    If the model has a version of this name already, no second one is created.

    paramshare register 209d02a9 digits --alias champion
    """

    model_config = SettingsConfigDict(extra="ignore")

    run_id: CliPositionalArg[RunId] = Field(description="the run's id in MLflow, or its first 8 digits or more")
    name: CliPositionalArg[str] = Field(description="the name of the registered model; created if it does not exist")
    alias: str | None = Field(None, description="a name for this version, such as champion; it moves from another one")
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of text")

    def cli_cmd(self) -> None:
        """Register the model and print its version."""
        from paramshare.tracking.registry import register

        registered = register(address_of(self), self.run_id, self.name, self.alias)
        if self.as_json:
            print_json(self._as_dict(registered))
        else:
            for line in self._lines(registered):
                print(line)  # noqa: T201 - the output itself

    def _as_dict(self, registered: "RegisteredVersion") -> dict[str, object]:
        """Return what `--json` prints."""
        from paramshare.tracking.store import redacted

        address = address_of(self)
        return {
            "store": redacted(address.uri),
            "experiment": address.experiment,
            "name": registered.name,
            "version": registered.version,
            "alias": registered.alias,
            "run_id": registered.run_id,
            "model_id": registered.model_id or None,
            "model_uri": registered.uri,
            "is_new": registered.is_new,
            "serve": serve_command(self, registered.uri),
        }

    def _lines(self, registered: "RegisteredVersion") -> list[str]:
        alias = f", alias {registered.alias}" if registered.alias else ""
        state = "" if registered.is_new else " (registered before)"
        return [
            f"{registered.name} version {registered.version}{alias}: the model of run {registered.run_id}{state}",
            f"load it:  {registered.uri}",
            f"serve it: {serve_command(self, registered.uri)}",
        ]
