"""HTML from plain values: everything is escaped but what is ``Markup`` already. Knows nothing of evidence."""

from __future__ import annotations

import html
from collections.abc import Sequence


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Cell = str
"""What a table holds; ``Markup`` is taken as it is."""


def text(value: str) -> Markup:
    """Escape a value, unless it is ``Markup``."""
    return value if isinstance(value, Markup) else Markup(html.escape(value))


def join(*parts: str) -> Markup:
    """Put parts one after the other, escaping those that are plain."""
    return Markup("".join(text(part) for part in parts))


def marked(kind: str, value: str) -> Markup:
    """Return a value in a ``<span>`` of a class: ``good``, ``bad`` or ``mark``. The words must say it, too."""
    return Markup(f'<span class="{kind}">{text(value)}</span>')


def paragraph(value: str, kind: str = "") -> Markup:
    """Return a paragraph, of a class where one is named."""
    return Markup(f'<p class="{kind}">{text(value)}</p>' if kind else f"<p>{text(value)}</p>")


def section(name: str, title: str, *parts: str) -> Markup:
    """Return a section with a heading; empty where it has no parts."""
    inner = join(*parts)
    if not inner:
        return Markup("")
    return Markup(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{text(title)}</h2>'
        f"{inner}</section>\n"
    )


def heading(value: str) -> Markup:
    """Return a heading inside a section."""
    return Markup(f"<h3>{text(value)}</h3>")


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]], kinds: Sequence[str] = ()) -> Markup:
    """Return a table that scrolls by itself where it is too wide; the first column heads its row.

    Args:
        caption: what it shows.
        header: of the columns.
        rows: of cells.
        kinds: classes of the columns after the first: ``long``, ``figure``, ``hash`` or none.
    """
    if not rows:
        return Markup("")
    classes = [f' class="{kind}"' if kind else "" for kind in (*kinds, *[""] * len(header))]
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{text(row[0])}</th>'
        + "".join(f"<td{kind}>{text(cell)}</td>" for cell, kind in zip(row[1:], classes, strict=False))
        + "</tr>\n"
        for row in rows
    )
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}"><table>'
        f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n"
    )


def figure(svg: str, caption: str) -> Markup:
    """Return a drawing with what it shows."""
    return Markup(f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>\n")


def listing(values: Sequence[str], most: int) -> Markup:
    """Return a list of values, cut after ``most`` with how many are left."""
    shown = [f"<li>{text(value)}</li>" for value in values[:most]]
    shown += [f"<li>and {len(values) - most:,} more, in evidence.json</li>"] if len(values) > most else []
    return Markup(f'<ul class="items">{"".join(shown)}</ul>')
