"""The browser of the tests of pages. Their modules give the fixture `pages`, with its address as `base`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from support.chromium import Page, find_chromium, running_chromium


class Served(Protocol):
    """Pages that a server shows."""

    base: str


@pytest.fixture(scope="session")
def tab() -> Iterator[Page]:
    """Open a tab of the one browser of a session."""
    program = find_chromium()
    assert program is not None
    with running_chromium(program) as browser, browser.page() as page:
        yield page


@pytest.fixture
def page(tab: Page, pages: Served) -> Iterator[Page]:
    """Return the tab in the state of a first visit; no script may fail in it during a test.

    It is tall enough that every chart is in view: those below it would not be drawn.
    """
    tab.ask("Page.navigate", url="about:blank")
    tab.resize(1600, 3000)
    tab.ask("Storage.clearDataForOrigin", origin=pages.base, storageTypes="all")
    tab.errors.clear()
    yield tab
    tab.evaluate("0")  # takes in what the last scripts have said
    assert tab.errors == []
    tab.ask("Page.navigate", url="about:blank")  # MLflow's pages go on asking, and the tab stays for the whole session
