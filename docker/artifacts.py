"""Archive and restore MLflow's artifacts. backup.sh and restore.sh run this program in a container with the volume.

write   write the archive of the artifacts to stdout
read    unpack an archive from stdin beside the artifacts
swap    replace the artifacts by the unpacked ones, and keep the former ones
undo    put the former artifacts back
drop    delete the unpacked and the former artifacts
"""

import io
import shutil
import sys
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

STORE = Path("/data/artifacts")
READ = STORE.with_name("read")
KEPT = STORE.with_name("kept")
END = bytes(2 * tarfile.BLOCKSIZE)  # the end of every complete archive
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Debian's Python 3.11 has no filters


class Stream:
    """A stream that remembers its last bytes, since tarfile accepts an archive that is truncated between two files."""

    def __init__(self, source: BinaryIO) -> None:
        self.source, self.end = source, b""

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes."""
        content = self.source.read(size)
        self.end = (self.end + content)[-len(END) :]
        return content


def write() -> None:
    """Write the archive of the artifacts to stdout."""
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for path in sorted(STORE.rglob("*")):
            with suppress(FileNotFoundError):  # deleted since it was listed
                member = archive.gettarinfo(path, path.relative_to(STORE))
                if path.is_dir():
                    archive.addfile(member)
                    continue
                content = path.read_bytes()  # whole, since the file can grow
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def read() -> None:
    """Unpack the archive on stdin beside the artifacts. Exit with an error if it is truncated."""
    drop()
    stream = Stream(sys.stdin.buffer)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        archive.extractall(READ, **SAFELY)  # noqa: S202 - an archive of `write`
    while stream.read(tarfile.RECORDSIZE):
        pass
    if stream.end != END:
        sys.exit("the archive of the artifacts is truncated; restore another backup")
    READ.mkdir(exist_ok=True)  # an empty archive creates no folder


def swap() -> None:
    """Replace the artifacts by the unpacked ones, and keep the former ones."""
    STORE.mkdir(exist_ok=True)
    STORE.rename(KEPT)
    READ.rename(STORE)


def undo() -> None:
    """Put the former artifacts back, if there are any."""
    if KEPT.exists():
        shutil.rmtree(STORE, ignore_errors=True)
        KEPT.rename(STORE)


def drop() -> None:
    """Delete the unpacked and the former artifacts."""
    for folder in (READ, KEPT):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    {"write": write, "read": read, "swap": swap, "undo": undo, "drop": drop}[sys.argv[1]]()
