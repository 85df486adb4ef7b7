"""One HTML page that holds everything it shows: pictures inside, no scripts, nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from clipdrive.reporting.findings import Finding
from clipdrive.reporting.tables import Rows

MEDIA = {".png": "image/png", ".gif": "image/gif", ".svg": "image/svg+xml"}

STYLE = """
:root {
  --ink: #1b2430; --soft: #5b6675; --line: #e1e5eb; --link: #1f5fbf;
  --good: #2e7d32; --note: #9a6700; --bad: #b3261e;
}
* { box-sizing: border-box; }
body {
  margin: 0; background: #f5f6f8; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
}
header, nav, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 36px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 1.3rem; margin: 0 0 4px; }
.lead { color: var(--soft); margin: 0 0 16px; }
nav { display: flex; flex-wrap: wrap; gap: 2px 18px; padding-bottom: 12px; font-size: .92rem; }
nav a, summary { color: var(--link); text-decoration: none; }
nav a:hover { text-decoration: underline; }
section {
  background: #fff; border: 1px solid var(--line); border-radius: 10px;
  padding: 20px 22px; margin: 0 0 18px;
}
section > p { color: var(--soft); margin: 0 0 14px; max-width: 78ch; }
.findings { list-style: none; margin: 10px 0 0; padding: 0; }
.findings li {
  padding: 7px 12px; margin: 6px 0; background: #f8f9fb; border-left: 5px solid; border-radius: 4px;
}
.findings b { text-transform: uppercase; font-size: .74rem; letter-spacing: .06em; margin-right: 8px; }
.findings li.bad { background: #fdf1f0; font-weight: 600; }
li.good, .card.good { border-color: var(--good); } .good b { color: var(--good); }
li.note, .card.note { border-color: var(--note); } .note b { color: var(--note); }
li.bad, .card.bad { border-color: var(--bad); } .bad b, .bad strong { color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-top: 16px; }
.card { border: 1px solid; border-top-width: 4px; border-radius: 8px; padding: 10px 14px; }
.card strong { display: block; font-size: 1.55rem; line-height: 1.25; }
.card span { color: var(--soft); font-size: .86rem; }
.beside { display: flex; flex-wrap: wrap; gap: 8px 28px; align-items: flex-start; margin-bottom: 14px; }
.beside > .scroll { max-width: 100%; }
.beside > figure { flex: 1 1 min(440px, 100%); max-width: 684px; }
.figures { display: grid; gap: 14px 20px; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); }
figure { margin: 0; }
figure.wide { grid-column: 1 / -1; }
figure img { width: 100%; height: auto; display: block; }
figure.wide img { width: auto; max-width: 100%; }
figcaption { color: var(--soft); font-size: .88rem; margin-top: 4px; max-width: 90ch; }
.scroll { overflow-x: auto; margin: 8px 0 14px; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 14px 4px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
td:first-child, th:first-child, table.words td, table.words th { text-align: left; }
table.words td:last-child { white-space: normal; }
summary { cursor: pointer; }
footer { color: var(--soft); font-size: .88rem; padding-bottom: 40px; }
"""


def page(title: str, lead: str, parts: Sequence[tuple[str, str, str]]) -> str:
    """The whole document; each part is (anchor, heading, inner HTML)."""
    links = "".join(f'<a href="#{anchor}">{escape(heading)}</a>' for anchor, heading, _ in parts)
    sections = "".join(
        f'<section id="{anchor}"><h2>{escape(heading)}</h2>{inner}</section>\n' for anchor, heading, inner in parts
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>"
        f'<header><h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p></header>'
        f"<nav>{links}</nav>\n<main>{sections}</main>"
        "<footer>Made by <code>dvc repro</code> from the files of this run alone. "
        "Every metric with its unit and formula: docs/metrics.md.</footer></body></html>\n"
    )


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def finding_list(found: Sequence[Finding]) -> str:
    words = {"bad": "wrong", "note": "note", "good": "fine"}
    items = (f'<li class="{f.level}"><b>{words[f.level]}</b>{escape(f.text)}</li>' for f in found)
    return f'<ul class="findings">{"".join(items)}</ul>'


def cards(items: Sequence[tuple[str, str, str]]) -> str:
    """Headline numbers; each is (level, number, words)."""
    inner = (
        f'<div class="card {level}"><strong>{escape(number)}</strong><span>{escape(words)}</span></div>'
        for level, number, words in items
    )
    return f'<div class="cards">{"".join(inner)}</div>'


def table(rows: Rows, words: bool = False) -> str:
    """A table whose first row is its head; `words` aligns everything to the left."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows[1:])
    kind = ' class="words"' if words else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def details(summary: str, inner: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>"


def figures(*items: str) -> str:
    return f'<div class="figures">{"".join(items)}</div>'


def beside(*items: str) -> str:
    """Things side by side where the window is wide enough."""
    return f'<div class="beside">{"".join(items)}</div>'


def figure(path: Path | None, caption: str, kind: str = "") -> str:
    """A picture inside the page; nothing where there is no picture."""
    if path is None or not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:{MEDIA[path.suffix]};base64,{data}"
    css = f' class="{kind}"' if kind else ""
    text = escape(caption)
    return f'<figure{css}><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>'
