"""Pictures of policies: what they say, what became of them, and the way through the chains.

    picture = policy_picture(snapshot, [PolicyKey("shop", "payment")])
    picture.svg()        # or .mermaid(), .dot()

A picture is made in three steps that know nothing of each other: a view says what is to be told, a
layout gives each word its place (:mod:`podwall.draw.scene`), and a writer makes SVG of it. Mermaid
and dot are written from a graph of the same view, since their programs do the layout themselves.
Equal input gives the same bytes.
"""

from podwall.draw.chains import chains_picture
from podwall.draw.picture import Picture
from podwall.draw.policy import policy_picture
from podwall.draw.theme import Theme
from podwall.draw.translation import translation_picture

__all__ = ["Picture", "Theme", "chains_picture", "policy_picture", "translation_picture"]
