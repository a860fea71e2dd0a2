"""The address of a store of runs: an SQLite file's or an MLflow server's.

The user and password of a server's address are taken out of it at once and given to MLflow where it looks for them: so
they are in nothing that is shown, logged or written.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from paramshare.errors import StoreError

__all__ = ["StoreAddress", "check_kind", "redacted"]

_FOLDER: Final = Path("mlruns")
_SQLITE: Final = "sqlite:///"
_SERVER: Final = re.compile(r"(https?://)(?:(.*)@)?([^@]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where runs are kept: enough for another process to open the same store.

    Args:
        uri: `sqlite:///<path>` or an MLflow server's `http(s)://` address. Kept with an absolute path, and without the
            user and password that were in it.
        experiment: the MLflow experiment's name.
        credential: `user:password` for the server, as they stood in its address; empty where none did.
    """

    uri: str
    experiment: str
    credential: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Take out what is secret, and let the address hold wherever it is read.

        Raises:
            StoreError: the address has an `@` that does not end a user and a password.
        """
        uri, server = self.uri, _SERVER.fullmatch(self.uri)
        if server and server[2] is not None:
            _, password_follows, password = server[2].partition(":")
            if re.search(r"[/?#\s]", server[2]) or not password_follows or not password:
                raise StoreError(
                    f"the tracking URI {redacted(uri)!r} has an @ that does not end a user and password; expected "
                    "user:password@ before the host, with a / ? # or @ of theirs written as %2F %3F %23 %40"
                )
            object.__setattr__(self, "credential", server[2])
            uri = server[1] + server[3]
        elif uri.startswith(_SQLITE) and uri != _SQLITE:
            uri = f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
        object.__setattr__(self, "uri", uri)

    @classmethod
    def of(cls, uri: str | None, experiment: str) -> "StoreAddress":
        """The store at `uri`; where there is none, the embedded one in `mlruns/` of the working directory."""
        return cls(uri or f"{_SQLITE}{(_FOLDER / 'mlflow.db').resolve()}", experiment)

    @property
    def database(self) -> Path | None:
        """The SQLite file of an embedded store; None for a server."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None


def check_kind(address: StoreAddress) -> None:
    """Check that a tracking URI is of a kind that can be used, without looking for the store.

    Raises:
        StoreError: it is not.
    """
    shown = redacted(address.uri)
    if not address.uri.isprintable():
        raise StoreError(f"the tracking URI {shown!r} is not one; expected printable characters")
    if address.database is None and not address.uri.startswith(("http://", "https://")):
        raise StoreError(
            f"the tracking URI {shown!r} is of a kind that is not supported; "
            "expected sqlite:///path/to/mlflow.db or the http(s):// address of an MLflow server"
        )


def redacted(uri: str) -> str:
    """`uri` without the user, the password and the query that may stand in it."""
    if uri.startswith(_SQLITE):
        return uri
    scheme, found, rest = uri.rpartition("://") if "://" in uri else ("", "", uri)
    rest = "***@" + rest.rpartition("@")[2] if "@" in rest else rest
    return scheme + found + re.sub(r"([?#]).*", r"\1***", rest, flags=re.DOTALL)
