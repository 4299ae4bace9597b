"""The ruleset of one node, kept up to date event by event."""

from podwall.ruleset.live.change import LiveChange, LiveCounts
from podwall.ruleset.live.node import LiveNode

__all__ = ["LiveChange", "LiveCounts", "LiveNode"]
