"""The data docs of a day open from a disk without a network, and say what failed."""

import re
from pathlib import Path

import pytest

from execution_assets.checks.executions import execution_suite
from execution_assets.expectations import build_data_docs, evaluate
from execution_assets.standalone import POLICY, standalone
from tests.unit.execution_assets.test_expectations import executions

# what makes a browser ask somebody for something when it opens a page
FETCHES = re.compile(r"<script|<link|<img|<iframe|@import|@font-face|url\(|\ssrc\s*=|\son\w+\s*=", re.IGNORECASE)


@pytest.mark.slow  # Great Expectations takes 7-13 s to import
def test_the_pages_fetch_nothing_and_are_complete(tmp_path: Path) -> None:
    hostile = "LastQty 0 <script src='https://example.com/x.js'></script>"
    frame = executions(quantity=[None, hostile, None])
    evaluate(frame, execution_suite, "execution_id", name="executions_are_sound", folder=tmp_path)
    index = build_data_docs(tmp_path)
    pages = sorted(index.parent.rglob("*"))
    assert {page.suffix for page in pages if page.is_file()} == {".html"}
    whole = {page: page.read_text("utf-8") for page in pages if page.is_file()}
    assert len(whole) == 3
    for page, text in whole.items():
        assert FETCHES.findall(text) == [], page
        assert f'content="{POLICY}"' in text
        links = [link for link in re.findall(r'href="([^"#:]+)[^"]*"', text) if not link.startswith("http")]
        assert [link for link in links if not (page.parent / link).is_file()] == []
    [result] = [page for page in whole if "validations" in page.parts]
    assert f'href="{result.relative_to(index.parent)}"' in whole[index]
    assert "ge-failed-icon" in whole[index]
    assert "LastQty 0" in whole[result]


def test_a_page_loses_what_it_would_fetch_and_nothing_else() -> None:
    page = """<html><head><link rel="stylesheet" href="https://example.com/a.css">
<style>b { background: url('https://example.com/b.png') }</style><script src="https://example.com/c.js"></script></head>
<body><img src="https://example.com/d.png"/><table
  id="t" class="x"
>
</table><script>$('#t').bootstrapTable(Object.assign({
        columns: [{'field': 'a', 'title': 'A'}],
        data: [{'a': "it's", '_table_row_link_path': 'e.html'}],
        toolbar: '' }, {}));</script><button onclick="f('x')">B</button>
<a href="https://example.com/told">told</a></body></html>"""
    text = standalone(page, "p { margin: 0 }")
    assert FETCHES.findall(text) == []
    assert "p { margin: 0 }" in text
    assert '<tr><td><a href="e.html">it\'s</a></td></tr>' in text
    assert '<a href="https://example.com/told">told</a>' in text  # followed by who wants to
    assert len(FETCHES.findall(page)) == 8  # the test can tell
