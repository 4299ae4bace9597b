"""The page: one self-contained HTML file that shows a cluster, its policies and every verdict.

:mod:`~podwall.page.build` makes the content out of a cluster, :mod:`~podwall.page.html` one file
out of the content and the assets, :mod:`~podwall.page.serve` keeps one open in browsers.
"""

from podwall.page.build import Subject, build
from podwall.page.content import Content, Drawing
from podwall.page.html import render_html

__all__ = ["Content", "Drawing", "Subject", "build", "render_html"]
