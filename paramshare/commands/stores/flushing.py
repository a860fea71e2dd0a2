"""`paramshare flush`: deliver the results in the spool to an MLflow server."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import Field

from paramshare.commands.options import address_of, flush_command
from paramshare.commands.output import FAILED, print_json
from paramshare.settings import StoreSettings

if TYPE_CHECKING:
    from paramshare.tracking.store import StoreAddress
    from paramshare.tracking.write.spool import Delivery

__all__ = ["Flush"]


class Flush(StoreSettings):
    """Write the results to an MLflow server that sweeps kept in mlruns/spool while the server did not answer.

    Exit code 0: all are written. Exit code 1: some are not, and the reason is shown. The next sweep writes them, too.

    paramshare flush --tracking-uri http://mlflow.example:5000
    """

    as_json: bool = Field(False, validation_alias="json", description="print one JSON object instead of text")

    def cli_cmd(self) -> None:
        """Deliver the results in the spool, and print how many were delivered."""
        from paramshare.tracking.store import check_kind, open_store, store_failures
        from paramshare.tracking.write.spool import SPOOL, Delivery, deliver, other_stores, spooled

        address = address_of(self)
        check_kind(address)
        before, delivery = len(spooled(address)), Delivery()
        if before:
            with store_failures(address):
                delivery = deliver(open_store(address))
        others = [
            (count, flush_command(self.model_copy(update={"tracking_uri": other.uri, "experiment": other.experiment})))
            for other, count in other_stores(address).items()
        ]
        if self.as_json:
            print_json(_as_dict(address, before, delivery, others))
        else:
            for line in _lines(address, before, delivery):
                print(line)  # noqa: T201 - the output itself
            for count, command in others:
                print(f"{count} kept in {SPOOL} for another store: {command}")  # noqa: T201
        raise SystemExit(FAILED if delivery.left else 0)


def _as_dict(
    address: "StoreAddress", before: int, delivery: "Delivery", others: Sequence[tuple[int, str]]
) -> dict[str, object]:
    """Return what `--json` prints."""
    from paramshare.tracking.store import redacted

    return {
        "store": redacted(address.uri),
        "experiment": address.experiment,
        "kept": before,
        **asdict(delivery),
        "other_stores": [{"kept": count, "command": command} for count, command in others],
    }


def _lines(address: "StoreAddress", before: int, delivery: "Delivery") -> list[str]:
    """Return the lines that report the delivery."""
    from paramshare.tracking.store import redacted
    from paramshare.tracking.write.spool import SPOOL

    shown = f"{redacted(address.uri)}, experiment {address.experiment}"
    if not before:
        return [f"nothing is kept for {shown}"]
    known = f", {delivery.known} dropped that it had already" if delivery.known else ""
    lines = [f"{delivery.written} of {before} results delivered to {shown}{known}"]
    if delivery.left:
        lines.append(f"{delivery.left} stay in {SPOOL}: {delivery.reason}")
    return lines
