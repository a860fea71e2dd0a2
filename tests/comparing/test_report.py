"""A report contains every answer, number, figure and footnote of its study, as HTML and as Markdown."""

import re
from base64 import b64decode
from html import unescape

import pytest
from comparing.test_study import HALVED, SHARED, study

from paramshare.comparing.figures import StudyFigure
from paramshare.comparing.report import html_report, markdown_report
from paramshare.comparing.study import Study
from paramshare.comparing.text import answers, contrast_table, footnotes, group_table
from paramshare.markdown import plain

FIGURES = (StudyFigure("curves", "a title", "the text <for> readers", b"one"), StudyFigure("b", "t", "a", b"two"))
COMMAND = "paramshare study --where a<b"


@pytest.fixture(scope="module")
def found() -> Study:
    return study({"shared": SHARED[:12], "untied & more": HALVED[:12]})


def test_the_page_contains_the_answers_tables_footnotes_and_command_escaped(found: Study) -> None:
    page = html_report(found, FIGURES, COMMAND)
    assert "untied & more" not in page
    text = [unescape(part) for part in re.findall(r">([^<]+)<", page)]
    cells = [cell for table in (group_table(found), contrast_table(found)) for row in table.rows for cell in row]
    assert {*cells, *answers(found), *footnotes(found), COMMAND} <= {*text}


def test_the_page_contains_every_figure_with_its_title_and_alternative_text(found: Study) -> None:
    page = html_report(found, FIGURES, COMMAND)
    images = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"><figcaption>([^<]+)<', page)
    assert [(b64decode(png), unescape(alt), title) for png, alt, title in images] == [
        (figure.png, figure.alt, figure.title) for figure in FIGURES
    ]


def test_the_page_loads_nothing(found: Study) -> None:
    page = html_report(found, FIGURES, COMMAND)
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import", page)


def test_the_markdown_contains_the_answers_figures_tables_and_footnotes(found: Study) -> None:
    text = markdown_report(found, FIGURES, COMMAND, lambda figure: f"{figure.name}.png")
    for answer in answers(found):
        assert f"**{plain(answer)}**" in text
    for figure in FIGURES:
        assert f"![{plain(figure.alt)}]({figure.name}.png)\n\n*{figure.title}*" in text
    for table in (group_table(found), contrast_table(found)):
        for row in table.rows:
            assert f"| {' | '.join(map(plain, row))} |" in text
    assert all(plain(note) in text for note in footnotes(found))
