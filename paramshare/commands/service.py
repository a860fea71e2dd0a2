"""`paramshare ui`, `relocate` and `doctor`: MLflow's pages, a store that was moved, and a check of the installation."""

import sys
from contextlib import suppress

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from paramshare.commands.options import address_of
from paramshare.commands.output import FAILED, print_json
from paramshare.errors import SettingsError
from paramshare.settings import StoreSettings
from paramshare.validation import sentences

__all__ = ["Doctor", "Relocate", "Ui"]


class Ui(StoreSettings):
    """Open MLflow's pages on the store, at the experiment. Ctrl-C ends them."""

    port: int = Field(5000, ge=1, le=65535, description="the port on 127.0.0.1 for an embedded store's pages")
    view: str | None = Field(
        None,
        description="what the page opens on: every seed of DynamicNet (seeds) or digits (digits-seeds), their variants "
        "as groups (dynamicnet, digits), the median curves of their last sweep (sweep, digits-sweep), all counts "
        "(counts), or of another recipe NAME-seeds, NAME or NAME-sweep; "
        "if not given, the seeds trained last",
    )
    browser: bool = Field(True, description="open a browser on the page")
    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of the address")

    def cli_cmd(self) -> None:
        """Serve the pages of an embedded store until interrupted; for a server, print the address of its pages."""
        from paramshare.tracking.display.urls import experiment_url
        from paramshare.tracking.pages import add_views, check_view, newest_seeds, served_pages, server_url
        from paramshare.tracking.store import open_store, store_failures

        address = address_of(self)
        with store_failures(address):
            if self.view:
                check_view(address, self.view)
            store = open_store(address)
            add_views(store)
            view = self.view or newest_seeds(store)
        if store.address.database is None:
            base = (self.pages_url or server_url(store.address)).rstrip("/") + "/"
            self._show(experiment_url(base, store.experiment_id, view))
            return
        url = experiment_url(server_url(store.address, self.port), store.experiment_id, view)
        with served_pages(store, self.port) as server, suppress(KeyboardInterrupt):
            self._show(url)
            print("Ctrl-C ends it.", file=sys.stderr)  # noqa: T201
            server.wait()

    def _show(self, url: str) -> None:
        if self.as_json:
            print_json({"url": url})
        else:
            print(url, flush=True)  # noqa: T201 - the output itself
        if self.browser:
            import webbrowser

            webbrowser.open(url)


class Relocate(StoreSettings):
    """Correct the addresses of files in an embedded store's database after its folder was moved or copied.

    The database is copied first. If the folder was not moved, nothing is written.
    """

    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of text")

    def cli_cmd(self) -> None:
        """Correct the database, and print what was changed and where the copy is."""
        from paramshare.tracking.store import relocate_store

        address = address_of(self)
        relocation = relocate_store(address)
        if self.as_json:
            moved = (
                {"former": str(relocation.former), "copy": str(relocation.copy), "changed": relocation.changed}
                if relocation
                else None
            )
            print_json({"database": str(address.database), "moved": moved})
        elif relocation is None:
            print(f"{address.database} was not moved: nothing is changed")  # noqa: T201 - the output itself
        else:
            print(  # noqa: T201 - the output itself
                f"{address.database} now finds its runs' files beside it and no longer in {relocation.former} "
                f"({relocation.changed} addresses); the database as it was: {relocation.copy}"
            )


class Doctor(StoreSettings):
    """Show the versions, the devices, the settings, the store and the Prefect server, and whether they work.

    Exit code 0: all is well. Exit code 1: a line that begins with !! names a problem.
    """

    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of lines")

    model_config = SettingsConfigDict(env_file=None, toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *others: PydanticBaseSettingsSource,  # noqa: ARG003
        **named: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the command line alone: the checks read the other sources, and report the ones that cannot be read."""
        return (init_settings,)

    def cli_cmd(self) -> None:
        """Print a line for each check; exit with 1 if one fails."""
        from paramshare.console import print_checks
        from paramshare.doctor import examine

        given = self.model_dump(include=self.model_fields_set & set(StoreSettings.model_fields))
        checks = [*examine(given), ("Prefect", *_check_prefect())]
        if self.as_json:
            print_json({"checks": [{"name": name, "found": found, "ok": ok} for name, found, ok in checks]})
        else:
            print_checks(checks)
        raise SystemExit(0 if all(ok for _, _, ok in checks) else FAILED)


def _check_prefect() -> tuple[str, bool]:
    """Return a line about the Prefect API that flows will use, and whether it works."""
    try:
        from paramshare.flows.api.server import check_api

        return check_api()
    except SettingsError as error:  # a file that Prefect reads when it is imported cannot be read
        return str(error), False
    except ValidationError as error:
        return f"a setting of Prefect (PREFECT_...) is not valid: {sentences(error)}", False
    except (OSError, UnicodeDecodeError) as error:
        return f"Prefect cannot read its settings: {error}", False
