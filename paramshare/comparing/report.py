"""Write a study as a report: a self-contained HTML page that needs no network, and the same in Markdown."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from paramshare.comparing.figures import StudyFigure
from paramshare.comparing.study import Study
from paramshare.comparing.text import Table, answers, contrast_table, footnotes, group_table, title
from paramshare.markdown import plain, table
from paramshare.plots import inline_picture
from paramshare.provenance import provenance

__all__ = ["html_report", "markdown_figures", "markdown_report"]

_GROUPS: Final = "Groups"
_CONTRASTS: Final = "Pairwise comparisons"
_COMMON: Final = "Common to all runs"
_STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1rem; }
body { color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.answer { font-size: 1.1rem; border-left: 4px solid #0072B2; padding-left: .75rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th:first-child { text-align: left; font-weight: normal; }
thead th { border-bottom: 2px solid #1a1a1a; font-weight: bold; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; } img { width: 100%; max-width: 32.5rem; height: auto; } figcaption { font-size: .95rem; }
.notes { font-size: .875rem; color: #444; }
"""


def html_report(study: Study, figures: Sequence[StudyFigure], command: str) -> str:
    """Return the report as an HTML page that contains its figures.

    Args:
        study: the comparison.
        figures: the figures of the study.
        command: the command that made the study; the report quotes it.
    """
    images = "".join(
        f'<figure><img src="{inline_picture(figure.png)}" alt="{escape(figure.alt)}">'
        f"<figcaption>{escape(figure.title)}</figcaption></figure>\n"
        for figure in figures
    )
    notes = "".join(f"<div>{escape(note)}</div>" for note in footnotes(study))
    contrasts = f"<h2>{_CONTRASTS}</h2>\n{_html_table(contrast_table(study))}" if study.contrasts else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{escape(title(study))}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title(study))}</h1>
{"".join(f'<p class="answer">{escape(answer)}</p>' for answer in answers(study))}
<div class="figures">
{images}</div>
<h2>{_GROUPS}</h2>
{_html_table(group_table(study))}
{contrasts}
<p class="notes">{notes}</p>
<h2>{_COMMON}</h2>
<p>{escape(_common(study))}</p>
<p class="notes">Made by <code>{escape(command)}</code>; {escape(_origin())}.</p>
</body>
</html>
"""


def markdown_report(
    study: Study, figures: Sequence[StudyFigure], command: str, address: Callable[[StudyFigure], str] | None = None
) -> str:
    """Return the report in Markdown.

    Args:
        study, figures, command: see `html_report`.
        address: a function that returns the address of a figure. Defaults to addresses that contain the picture.
    """
    place = address or (lambda figure: inline_picture(figure.png))
    contrasts = f"### {_CONTRASTS}\n\n{_markdown_table(contrast_table(study))}" if study.contrasts else ""
    parts = (
        *(f"**{plain(answer)}**" for answer in answers(study)),
        *markdown_figures(figures, place),
        f"### {_GROUPS}\n\n{_markdown_table(group_table(study))}",
        contrasts,
        "  \n".join(map(plain, footnotes(study))),
        f"{_COMMON}: {plain(_common(study))}.",
        f"Made by `{command}`; {plain(_origin())}.",
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def markdown_figures(figures: Sequence[StudyFigure], address: Callable[[StudyFigure], str]) -> Iterator[str]:
    """Yield each figure as an image with its title below, since Markdown has no captions.

    Args:
        figures: the figures.
        address: a function that returns the address of a figure.
    """
    return (f"![{plain(figure.alt)}]({address(figure)})\n\n*{plain(figure.title)}*" for figure in figures)


def _html_table(content: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in content.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>\n'
        for name, *cells in content.rows
    )
    # A table wider than the page scrolls inside its own box. The box can be focused, to scroll it without a mouse.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(content.head[0])}"><table><thead>'
        f"<tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>"
    )


def _markdown_table(content: Table) -> str:
    return table([plain(cell) for cell in content.head], ([plain(cell) for cell in row] for row in content.rows))


def _common(study: Study) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in study.grouped.common.items())


def _origin() -> str:
    origin = provenance()
    commit = origin.get("git.commit", "unknown")[:12]
    dirty = " with uncommitted changes" if origin.get("git.dirty") == "true" else ""
    return f"paramshare {origin.get('version.paramshare', 'unknown')}, commit {commit}{dirty}"
