"""One address family of a node's ruleset, kept up to date: profiles, their sets, and dispatch.

Profiles are counted by the pods that use them and compiled once. What the kernel was told last is
remembered for those things only that changed since: :meth:`LiveFamily.pending` says what to tell it
now, and :meth:`LiveFamily.settle` takes it for told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from podwall.cluster.state import ClusterState
from podwall.model.net import Family
from podwall.model.policy import Direction
from podwall.model.settings import Settings
from podwall.policy.resolve import EndpointPolicy, Peers
from podwall.ruleset.compile import audit_rules, fixed_rules
from podwall.ruleset.ir import Chain, FamilyRules
from podwall.ruleset.live.change import LiveCounts
from podwall.ruleset.live.dispatch import LiveDispatch
from podwall.ruleset.live.peers import PeerAddresses
from podwall.ruleset.live.pending import Pending
from podwall.ruleset.live.profile import LiveProfile
from podwall.ruleset.live.sets import LiveSets
from podwall.ruleset.names import Namer
from podwall.ruleset.profile import PeerSet, ProfileCompiler


class LiveFamily:
    """The half of a ruleset that one address family is about."""

    def __init__(
        self, family: Family, state: ClusterState, peers: PeerAddresses, settings: Settings
    ) -> None:
        self.family = family
        self.dispatch = {each: LiveDispatch(each, family) for each in Direction}
        self.sets = LiveSets(family, state, peers)
        self._namer = Namer()
        self._compiler = ProfileCompiler(family, self._namer)
        self._fixed = fixed_rules(family, settings)
        self._audit = audit_rules(family, settings)
        self._profiles: dict[EndpointPolicy, LiveProfile] = {}
        self._auditing: set[str] = set()
        self._fresh: dict[str, Chain] = {}
        self._gone: dict[str, Chain] = {}
        self._idle: dict[str, LiveProfile] = {}
        self._rules: FamilyRules | None = None

    def enter(self, policy: EndpointPolicy) -> LiveProfile:
        """The profile of ``policy``, for one pod more."""
        profile = self._profiles.get(policy)
        if profile is None:
            compiled = self._compiler.compile_profile(policy)
            wanted = [*compiled.sets, *self._audit_sets(policy)]
            sets = tuple(self.sets.acquire(each, policy.direction) for each in wanted)
            profile = LiveProfile(policy, compiled.chain, sets)
            self._profiles[policy] = profile
            self._add(profile.chain)
            if not policy.isolates:
                self._begin_auditing(profile.chain.name)
        profile.users += 1
        return profile

    def leave(self, profile: LiveProfile) -> None:
        """One pod less uses the profile; without any it goes with the next :meth:`sweep`."""
        profile.users -= 1
        if profile.users == 0:
            self._idle[profile.chain.name] = profile

    def sweep(self) -> None:
        """Let go of the profiles that no pod uses, and of the sets that none names then."""
        for name, profile in self._idle.items():
            if profile.users:
                continue
            del self._profiles[profile.policy]
            self._namer.forget(name)
            for live in profile.sets:
                if self.sets.release(live, profile.policy.direction):
                    self._namer.forget(live.name)
            self._remove(profile.chain)
            if name in self._auditing:
                self._end_auditing(name)
        self._idle = {}

    def _audit_sets(self, policy: EndpointPolicy) -> Iterator[PeerSet]:
        """The sets that a profile of audited policies needs besides its own."""
        if not policy.isolates:
            for ipset in self._audit.sets.values():
                yield PeerSet(ipset, Peers())

    def _begin_auditing(self, profile: str) -> None:
        """The first profile of audited policies brings the chains that they lead to."""
        if not self._auditing:
            for chain in self._audit.chains.values():
                self._add(chain)
        self._auditing.add(profile)

    def _end_auditing(self, profile: str) -> None:
        self._auditing.remove(profile)
        if not self._auditing:
            for chain in self._audit.chains.values():
                self._remove(chain)

    def _add(self, chain: Chain) -> None:
        self._fresh[chain.name] = chain

    def _remove(self, chain: Chain) -> None:
        if self._fresh.pop(chain.name, None) is None:
            self._gone[chain.name] = chain

    @property
    def profiles(self) -> Iterator[LiveProfile]:
        """The profiles that pods use."""
        return (each for each in self._profiles.values() if each.users)

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to tell the kernel, nor anything to sweep."""
        return not (
            self._fresh
            or self._gone
            or self._idle
            or self.sets.fresh
            or self.sets.gone
            or self.sets.touched
            or not all(each.is_quiet for each in self.dispatch.values())
        )

    def counts(self) -> LiveCounts:
        """The family in numbers, those of its pods left out."""
        chains = [
            *self._fixed.chains.values(),
            *self._audit_chains().values(),
            *(each.chain for each in self.profiles),
            *(chain for half in self.dispatch.values() for chain in half.chains().values()),
        ]
        return LiveCounts(
            profiles=sum(1 for _ in self.profiles),
            chains=len(chains),
            rules=sum(len(each.rules) for each in chains),
            sets=len(self._fixed.sets) + len(self.sets),
            members=self.sets.member_count,
        )

    def rules(self) -> FamilyRules:
        """Everything as it is now, told to the kernel or not; once settled, asking is cheap."""
        if self._rules is not None and self.is_quiet:
            return self._rules
        used = {live.name: live for profile in self.profiles for live in profile.sets}
        sets = {
            **self._fixed.sets,
            **{name: live.ipset() for name, live in used.items()},
        }
        chains = {
            **self._fixed.chains,
            **self._audit_chains(),
            **{each.chain.name: each.chain for each in self.profiles},
            **{
                name: each
                for half in self.dispatch.values()
                for name, each in half.chains().items()
            },
        }
        rules = FamilyRules(
            family=self.family,
            sets={name: sets[name] for name in sorted(sets)},
            chains={name: chains[name] for name in sorted(chains)},
            hooks=self._fixed.hooks,
        )
        self._rules = rules if self.is_quiet else None
        return rules

    def _audit_chains(self) -> Mapping[str, Chain]:
        audits = any(not each.policy.isolates for each in self.profiles)
        return self._audit.chains if audits else {}

    def pending(self) -> Pending:
        """What the kernel was not told yet; only right after a :meth:`sweep`."""
        return Pending(self.family, self._fresh, self._gone, self.sets, self.dispatch)

    def settle(self) -> None:
        """Take the kernel for told."""
        if not self.is_quiet:
            self._rules = None
        self._fresh, self._gone = {}, {}
        self.sets.settle()
        for each in self.dispatch.values():
            each.settle()
