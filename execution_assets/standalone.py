"""GX's pages made whole: what they would fetch from the network is taken out, or put in.

GX leaves style, fonts and icons to servers of others, and the tables of its first page to scripts from there: on a
machine without the network they are bare, and on one with it somebody else learns who looks at which day. Here the
tables are written out, a style of our own is put in, scripts go, and a policy forbids the page to fetch anything.
"""

from __future__ import annotations

import ast
import re
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL)
_LINK, _IMAGE = re.compile(r"<link\b[^>]*>"), re.compile(r"<img\b[^>]*>")
_STYLE = re.compile(r"<style\b.*?</style>", re.DOTALL)
_FOOTER = re.compile(r"<footer\b.*?</footer>", re.DOTALL)
_HANDLER = re.compile(r"""\son\w+=("[^"]*"|'[^']*')""")
_FILLED = re.compile(
    r"\$\('#(?P<table>[^']+)'\)\.bootstrapTable\(.*?columns: (?P<columns>\[.*?\]),\n\s*data: (?P<data>\[.*?\]),\n",
    re.DOTALL,
)


def make_standalone(pages: Path) -> None:
    """Rewrite every page of a folder."""
    style = files(__package__).joinpath("data_docs.css").read_text("utf-8")
    for page in sorted(pages.rglob("*.html")):
        page.write_text(standalone(page.read_text("utf-8"), style), "utf-8")


def standalone(page: str, style: str) -> str:
    """Give a page that needs nothing but itself."""
    for filled in _FILLED.finditer(page):
        whole = re.compile(rf'(<table\s+id="{re.escape(filled["table"])}"[^>]*>).*?(</table>)', re.DOTALL)
        rows = _rows(ast.literal_eval(filled["columns"]), ast.literal_eval(filled["data"]))
        page = whole.sub(lambda table, rows=rows: table[1] + rows + table[2], page, count=1)  # type: ignore[misc]
    for pattern in (_SCRIPT, _LINK, _STYLE, _FOOTER, _HANDLER):
        page = pattern.sub("", page)
    page = _IMAGE.sub("Great Expectations", page)
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{style}</style>'
    return page.replace("<head>", f"<head>{head}", 1)


def _rows(columns: list[dict[str, object]], data: list[dict[str, object]]) -> str:
    """Write a table out; its cells are markup already, and a row leads to a page of its own."""
    shown = [(str(column["field"]), str(column["title"])) for column in columns]
    lines = ["<thead><tr>", *(f"<th>{title}</th>" for _, title in shown), "</tr></thead><tbody>"]
    for row in data:
        cells = [str(row.get(field, "")) for field, _ in shown]
        path = row.get("_table_row_link_path")
        if path:
            cells[0] = f'<a href="{path}">{cells[0]}</a>'
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "\n".join([*lines, "</tbody>"])
