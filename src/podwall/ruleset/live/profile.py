"""A profile that pods of a node use at the moment."""

from __future__ import annotations

from collections.abc import Mapping

from podwall.model.policy import RuleId
from podwall.policy.resolve import EndpointPolicy
from podwall.ruleset.comments import rule_comment
from podwall.ruleset.ir import Chain
from podwall.ruleset.live.sets import LiveSet


class LiveProfile:
    """A profile's chain, the sets that it names, and how many pods it is for."""

    __slots__ = ("chain", "origins", "policy", "sets", "users")

    def __init__(self, policy: EndpointPolicy, chain: Chain, sets: tuple[LiveSet, ...]) -> None:
        self.policy = policy
        self.chain = chain
        self.sets = sets
        self.users = 0
        self.origins: Mapping[str, RuleId] = {
            rule_comment(each.id): each.id for each in policy.rules
        }
