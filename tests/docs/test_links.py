"""The links of the pages resolve, the README leads to each page, and it stays short."""

import re
from pathlib import Path

import pytest

from support import ROOT
from support.user_pages import PAGES, USER_PAGES, anchors, links, name_of

OURS = [page for page in PAGES if page.exists()]  # CONTRIBUTING.md may come
SOURCES = [
    *(file for folder in ("paramshare", "flows", "docker", "benchmarks") for file in (ROOT / folder).rglob("*.*")),
    *(ROOT / name for name in ("Makefile", "compose.yaml", "prefect.yaml", "pyproject.toml")),
]


@pytest.mark.parametrize("page", OURS, ids=name_of)
def test_every_relative_link_and_anchor_of_a_page_resolves(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        assert not anchor or anchor in anchors(target), f"{link}: {name_of(target)} has {sorted(anchors(target))}"


def test_every_page_named_in_the_sources_exists() -> None:
    named = {
        name
        for file in SOURCES
        if file.suffix in (".py", ".yaml", ".toml", "") and file.is_file()
        for name in re.findall(r"docs/[\w-]+\.(?:md|json|png)", file.read_text())
    }
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_readme_has_at_most_120_lines_and_links_to_every_page() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 120
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links(readme)}
    assert [name_of(page) for page in USER_PAGES if page != readme and page not in linked] == []


@pytest.mark.parametrize("page", USER_PAGES[1:], ids=name_of)
def test_a_page_begins_with_its_title_and_its_reader(page: Path) -> None:
    title, empty, first = page.read_text().splitlines()[:3]
    assert (title[:2], empty) == ("# ", "")
    assert first.startswith("For a reader who")
