"""The pages for users, and their parts that tests need: blocks of code, commands, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from support import ROOT

USER_PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = (*USER_PAGES, *(ROOT / name for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")))

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_SUBSTITUTION = re.compile(r"\$\((.*?)\)")
_ASSIGNMENT = re.compile(r"[A-Z_]+=.*")
_PROGRAMS = ("paramshare", "make", "docker", "python", "prefect")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page: its language and its text."""

    language: str
    text: str


def name_of(page: Path) -> str:
    """Return the path of a page below the root."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    return [Block(*match.groups()) for match in _FENCED.finditer(page.read_text())]


def prose(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return _FENCED.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(page: Path) -> set[tuple[str, ...]]:
    """Return every command of a page, in its blocks and in its text, as words."""
    written = [block.text for block in blocks(page) if block.language == "sh"]
    said = [" ".join(code.split()) for code in _CODE.findall(prose(page))]
    written += [code for code in said if code.startswith(tuple(f"{program} " for program in _PROGRAMS))]
    return {command for text in written for command in commands_of(text)}


def commands_of(text: str) -> Iterator[tuple[str, ...]]:
    """Split a shell's text into simple commands, without assignments, redirections and comments.

    A command in `$(...)` is a command of its own.
    """
    for line in text.replace("\\\n", " ").splitlines():
        for inner in _SUBSTITUTION.findall(line):
            yield from commands_of(inner)
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        for is_end, group in groupby(words, lambda word: word in ("&&", "||", "|", ";")):
            command = [] if is_end else list(group)
            while command and _ASSIGNMENT.fullmatch(command[0]):
                del command[0]
            if command:
                yield tuple(command[: command.index(">")] if ">" in command else command)
