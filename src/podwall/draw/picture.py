"""A finished picture, in whatever form it is wanted."""

from __future__ import annotations

import msgspec

from podwall.draw.dot import render_dot
from podwall.draw.graph import Graph
from podwall.draw.mermaid import render_mermaid
from podwall.draw.scene import Scene
from podwall.draw.svg import render_svg
from podwall.draw.theme import Theme


class Picture(msgspec.Struct, frozen=True):
    """A picture.

    Attributes:
        title: what it shows, in a few words.
        description: what it says, for those who cannot see it.
        scene: what is where.
        graph: the same as nodes and edges.
    """

    title: str
    description: str
    scene: Scene
    graph: Graph

    def svg(self, theme: Theme | str = Theme.AUTO, prefix: str = "pw") -> str:
        """An SVG document that can also stand inside HTML.

        All its ids and classes begin with ``prefix``: give each picture of a page its own.

        Raises:
            ValueError: there is no such theme, or the prefix is not letters, digits and ``-`` after
                a letter.
        """
        return render_svg(self.scene, self.title, self.description, Theme(theme), prefix)

    def mermaid(self) -> str:
        """A Mermaid flowchart, ready to stand between the fences of a Markdown file."""
        return render_mermaid(self.graph)

    def dot(self) -> str:
        """A graph for Graphviz."""
        return render_dot(self.graph, self.title)
