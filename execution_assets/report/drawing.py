"""Pictures as SVG that takes the page's colours: light, dark and printed from one drawing.

Text stays text (found, read aloud, scaled), nothing is fetched, and the same figures are the same bytes.
Matplotlib is used without pyplot, which would keep state from picture to picture.
"""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, ROW, FRAME = 4.7, 0.31, 0.75  # inches: of a picture, of a row in it, of its axis with the label
# Colours that stand for those of the style sheet: Matplotlib knows no variables. None of them is really drawn.
INK, MUTED, GRID, SURFACE = "#010101", "#010102", "#010103", "#010104"
ACCENT, SOFT, BAD, WARN = "#010105", "#010106", "#010107", "#010108"
SERIES = ("#010111", "#010112", "#010113", "#010114", "#010115", "#010116")
AGES = ("#010121", "#010122", "#010123", "#010124")
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", SURFACE: "--surface", ACCENT: "--accent", SOFT: "--soft",
    BAD: "--bad", WARN: "--warn",
    **{color: f"--series-{n}" for n, color in enumerate(SERIES, 1)},
    **{color: f"--age-{n}" for n, color in enumerate(AGES, 1)},
}  # fmt: skip
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "execution-agent",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib: the same widths on every machine
    "font.size": 9,
    "text.parse_math": False,  # a symbol with two $ is no formula
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "xtick.labelcolor": MUTED,
    "ytick.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
}
_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(?<=url\(#)([^)]+)(?=\))|(?<=href="#)([^"]+)(?=")')
_FONT = re.compile(r"font: ([0-9.]+)px [^;\"]*")


def draw(identity: str, title: str, described: str, rows: float, plot: Callable[[Any, Any], None]) -> str:
    """Draw a picture of ``rows`` rows and give it as an ``svg`` element, ids prefixed with ``identity``.

    ``plot`` gets the figure and its axes. ``title`` and ``described`` are what is read instead of looked at.
    """
    import matplotlib as mpl  # noqa: PLC0415  0.5 s that loading the definitions must not cost
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    buffer = io.StringIO()
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # a symbol in a script that the measuring font lacks is still text, drawn by the reader's font
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(WIDTH, ROW * rows + FRAME), layout="constrained")
        FigureCanvasSVG(figure)
        plot(figure, figure.subplots())
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _own(buffer.getvalue(), identity, title, described)


def _own(svg: str, identity: str, title: str, described: str) -> str:
    """Make a file an element of the page: no prologue, ids of its own, the page's colours and font, a text."""
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]+)"', body)
    assert box is not None, "Matplotlib gives a viewBox"
    body = body[body.index(">") + 1 :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = _ID.sub(lambda m: f'id="{identity}-{m[1]}"', body)
    body = _REFERENCE.sub(lambda m: f"{identity}-{m[0]}", body)
    body = body.replace("xlink:href", "href")
    body = _FONT.sub(lambda m: f"font-size: {m[1]}px", body)
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var({variable})")
    from markupsafe import escape  # noqa: PLC0415  comes with jinja2

    return (
        f'<svg role="img" viewBox="{box[1]}" xmlns="http://www.w3.org/2000/svg" '
        f'aria-labelledby="{identity}-title {identity}-text">'
        f'<title id="{identity}-title">{escape(title)}</title>'
        f'<desc id="{identity}-text">{escape(described)}</desc>{body.rstrip()}'
    )
