"""MLflow's artifacts as an archive, for backup.sh and restore.sh, which run this where their volume is.

write   the archive to stdout
read    the archive from stdin, unpacked beside what is there
swap    what was read takes the place of what is there, which is kept
undo    what was kept takes its place again
drop    remove what was read or kept
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
END = bytes(2 * tarfile.BLOCKSIZE)  # what every whole archive ends with
SAFELY = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Debian's Python 3.11 has no filters


class Stream:
    """What is read, with its end remembered: tarfile takes an archive cut between two files for a whole one."""

    def __init__(self, source: BinaryIO) -> None:
        self.source, self.end = source, b""

    def read(self, size: int) -> bytes:
        content = self.source.read(size)
        self.end = (self.end + content)[-len(END) :]
        return content


def write() -> None:
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for path in sorted(STORE.rglob("*")):
            with suppress(FileNotFoundError):  # deleted meanwhile
                member = archive.gettarinfo(path, path.relative_to(STORE))
                if path.is_dir():
                    archive.addfile(member)
                    continue
                content = path.read_bytes()  # at once: it may be growing
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def read() -> None:
    drop()
    stream = Stream(sys.stdin.buffer)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        archive.extractall(READ, **SAFELY)  # noqa: S202 - what `write` has written
    while stream.read(tarfile.RECORDSIZE):
        pass
    if stream.end != END:
        sys.exit("the archive of the artifacts ends in the middle")
    READ.mkdir(exist_ok=True)  # of an archive with nothing in it


def swap() -> None:
    STORE.mkdir(exist_ok=True)
    STORE.rename(KEPT)
    READ.rename(STORE)


def undo() -> None:
    if KEPT.exists():
        shutil.rmtree(STORE, ignore_errors=True)
        KEPT.rename(STORE)


def drop() -> None:
    for folder in (READ, KEPT):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    {"write": write, "read": read, "swap": swap, "undo": undo, "drop": drop}[sys.argv[1]]()
