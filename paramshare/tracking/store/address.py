"""The address of a store of runs: an SQLite file or an MLflow server.

The user and password are removed from the address at once and passed to MLflow in the environment. So they are never
shown, logged or written.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from paramshare.errors import StoreError

__all__ = ["LOCAL_FOLDER", "StoreAddress", "check_kind", "redacted"]

LOCAL_FOLDER: Final = Path("mlruns")
"""The folder of the working directory for the embedded store, and for what is kept locally of a sweep into a server."""

_SQLITE: Final = "sqlite:///"
_SERVER: Final = re.compile(r"(https?://)(?:(.*)@)?([^@]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """The address of a store: all that another process needs to open the same store.

    Args:
        uri: `sqlite:///<path>` or an MLflow server's `http(s)://` address. The path is made absolute, and the user and
            password are removed.
        experiment: the name of the MLflow experiment.
        credential: `user:password` for the server, as in the address. Defaults to empty: no user.
    """

    uri: str
    experiment: str
    credential: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        """Remove the secret from the address and make its path absolute.

        Raises:
            StoreError: the address has an `@` that does not end a user and a password.
        """
        uri, server = self.uri, _SERVER.fullmatch(self.uri)
        if server and server[2] is not None:
            _, password_follows, password = server[2].partition(":")
            if re.search(r"[/?#\s]", server[2]) or not password_follows or not password:
                raise StoreError(
                    f"the tracking URI {redacted(uri)!r} has an @ that does not end a user and password; expected "
                    "user:password@ before the host, with / ? # and @ in them written as %2F %3F %23 %40"
                )
            object.__setattr__(self, "credential", server[2])
            uri = server[1] + server[3]
        elif uri.startswith(_SQLITE) and uri != _SQLITE:
            uri = f"{_SQLITE}{Path(uri.removeprefix(_SQLITE)).absolute()}"
        object.__setattr__(self, "uri", uri)

    @classmethod
    def of(cls, uri: str | None, experiment: str) -> "StoreAddress":
        """Return the address `uri`. Defaults to the embedded store in `mlruns/` of the working directory."""
        return cls(uri or f"{_SQLITE}{(LOCAL_FOLDER / 'mlflow.db').resolve()}", experiment)

    @property
    def database(self) -> Path | None:
        """Return the SQLite file of an embedded store; None for a server."""
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None


def check_kind(address: StoreAddress) -> None:
    """Check that the kind of a tracking URI is supported. Do not look for the store.

    Raises:
        StoreError: the kind is not supported.
    """
    shown = redacted(address.uri)
    if not address.uri.isprintable():
        raise StoreError(f"the tracking URI {shown!r} is invalid; expected printable characters")
    if address.database is None and not address.uri.startswith(("http://", "https://")):
        raise StoreError(
            f"the tracking URI {shown!r} is not supported; "
            "expected sqlite:///path/to/mlflow.db or the http(s):// address of an MLflow server"
        )


def redacted(uri: str) -> str:
    """Return `uri` without its user, password and query."""
    if uri.startswith(_SQLITE):
        return uri
    scheme, separator, rest = uri.rpartition("://") if "://" in uri else ("", "", uri)
    rest = "***@" + rest.rpartition("@")[2] if "@" in rest else rest
    return scheme + separator + re.sub(r"([?#]).*", r"\1***", rest, flags=re.DOTALL)
