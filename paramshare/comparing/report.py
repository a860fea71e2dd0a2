"""A study as a page: one self-contained HTML file that needs no network, and its Markdown twin."""

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from paramshare.comparing.figures import Drawn
from paramshare.comparing.study import Study
from paramshare.comparing.text import Table, answers, contrast_table, footnotes, group_table, title
from paramshare.markdown import plain, table
from paramshare.plots import inline_picture
from paramshare.provenance import provenance

__all__ = ["html_report", "markdown_figures", "markdown_report"]

_GROUPS: Final = "The groups"
_CONTRASTS: Final = "Against each other"
_ORIGIN: Final = "What all runs have in common"
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


def html_report(study: Study, figures: Sequence[Drawn], command: str) -> str:
    """The whole study as one page.

    Args:
        command: that made it.
    """
    shown = "".join(
        f'<figure><img src="{inline_picture(one.png)}" alt="{escape(one.words)}">'
        f"<figcaption>{escape(one.title)}</figcaption></figure>\n"
        for one in figures
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
{shown}</div>
<h2>{_GROUPS}</h2>
{_html_table(group_table(study))}
{contrasts}
<p class="notes">{notes}</p>
<h2>{_ORIGIN}</h2>
<p>{escape(_common(study))}</p>
<p class="notes">Made by <code>{escape(command)}</code>; {escape(_origin())}.</p>
</body>
</html>
"""


def markdown_report(
    study: Study, figures: Sequence[Drawn], command: str, address: Callable[[Drawn], str] | None = None
) -> str:
    """The same in Markdown.

    Args:
        command: that made it.
        address: where each figure lies; in the text itself unless given.
    """
    place = address or (lambda one: inline_picture(one.png))
    contrasts = f"### {_CONTRASTS}\n\n{_markdown_table(contrast_table(study))}" if study.contrasts else ""
    parts = (
        *(f"**{plain(answer)}**" for answer in answers(study)),
        *markdown_figures(figures, place),
        f"### {_GROUPS}\n\n{_markdown_table(group_table(study))}",
        contrasts,
        "  \n".join(map(plain, footnotes(study))),
        f"{_ORIGIN}: {plain(_common(study))}.",
        f"Made by `{command}`; {plain(_origin())}.",
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def markdown_figures(figures: Sequence[Drawn], address: Callable[[Drawn], str]) -> Iterator[str]:
    """Return each figure as an image with its title below, as Markdown has no captions.

    Args:
        address: where each lies.
    """
    return (f"![{plain(one.words)}]({address(one)})\n\n*{plain(one.title)}*" for one in figures)


def _html_table(given: Table) -> str:
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in given.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>\n'
        for name, *cells in given.rows
    )
    # A table wider than the page is scrolled by itself; so that this can be done without a mouse, it can be focused.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(given.head[0])}"><table><thead><tr>{head}'
        f"</tr></thead><tbody>\n{rows}</tbody></table></div>"
    )


def _markdown_table(given: Table) -> str:
    return table([plain(cell) for cell in given.head], ([plain(cell) for cell in row] for row in given.rows))


def _common(study: Study) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in study.grouped.common.items())


def _origin() -> str:
    found = provenance()
    commit = found.get("git.commit", "unknown")[:12]
    dirty = " with changes" if found.get("git.dirty") == "true" else ""
    return f"paramshare {found.get('version.paramshare', 'unknown')}, commit {commit}{dirty}"
