"""`paramshare ui`, `relocate` and `doctor`: MLflow's pages on the store, the store after a move, and what is here."""

import sys
from contextlib import suppress

from pydantic import Field

from paramshare.commands.answer import FAILED
from paramshare.commands.store import address_of
from paramshare.errors import SettingsError
from paramshare.settings import StoreSettings, origin_of
from paramshare.tracking.views import View

__all__ = ["Doctor", "Relocate", "Ui"]


class Ui(StoreSettings):
    """Open MLflow's pages on the store in use, at this project's experiment; Ctrl-C ends them."""

    port: int = Field(5000, ge=1, le=65535, description="the port on 127.0.0.1 for an embedded store's pages")
    view: View = Field(
        "seeds",
        description="what the page opens on: every seed that was trained, every count, or the groups of a study: "
        "dynamicnet or digits",
    )
    browser: bool = Field(True, description="open a browser on the page")

    def cli_cmd(self) -> None:
        """Serve an embedded store's pages until interrupted; for a server, say where its pages are."""
        from paramshare.tracking.pages import experiment_url, served_pages, server_url
        from paramshare.tracking.store import open_store

        store = open_store(address_of(self))
        if store.address.database is None:
            base = (self.pages_url or server_url(store.address)).rstrip("/") + "/"
            _show_page(experiment_url(base, store.experiment_id, self.view), self.browser)
            return
        url = experiment_url(server_url(store.address, self.port), store.experiment_id, self.view)
        with served_pages(store, self.port) as server:
            _show_page(url, self.browser)
            print("Ctrl-C ends it.", file=sys.stderr)  # noqa: T201
            with suppress(KeyboardInterrupt):
                server.wait()


class Relocate(StoreSettings):
    """After an embedded store's folder was moved or copied: let its database name the files where they lie now.

    The database is copied first. Nothing else is written, and nothing at all where the store lies where it was made.
    """

    def cli_cmd(self) -> None:
        """Say what was changed, and where the copy is."""
        from paramshare.tracking.store import relocate_store

        address = address_of(self)
        done = relocate_store(address)
        if done is None:
            print(f"{address.database} was not moved: nothing is changed")  # noqa: T201 - the answer itself
            return
        print(  # noqa: T201 - the answer itself
            f"{address.database} now finds its runs' files beside it and no longer in {done.former} "
            f"({done.changed} addresses); the database as it was: {done.copy}"
        )


class Doctor(StoreSettings):
    """Say what is here: versions, devices and why each is there, the store and the servers."""

    def cli_cmd(self) -> None:
        """Print a line a check; exit 1 where one fails."""
        from paramshare.console import print_checks
        from paramshare.doctor import examine

        checks = [*examine(address_of(self), origin_of(self, "tracking_uri")), ("Prefect", *_check_prefect())]
        print_checks(checks)
        raise SystemExit(0 if all(well for _, _, well in checks) else FAILED)


def _check_prefect() -> tuple[str, bool]:
    """Return what flows will talk to, in words, and whether it is well."""
    try:
        from paramshare.flows.server import check_api
    except SettingsError as error:  # what Prefect reads when it is imported cannot be read
        return str(error), False
    return check_api()


def _show_page(url: str, browser: bool) -> None:
    print(url, flush=True)  # noqa: T201 - the answer itself
    if browser:
        import webbrowser

        webbrowser.open(url)
