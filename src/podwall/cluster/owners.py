"""Which pod an address stands for, kept up to date pod by pod.

Addresses are re-used, and the news arrive in any order: for a while two pods can claim one address.
The book remembers every claim, so that when the owner goes or steps back the address falls to the
next claimant, not to nobody. Its answers equal those of
:func:`podwall.cluster.snapshot.address_owners` over the same pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from podwall.cluster.snapshot import claim_rank, claimed_addresses
from podwall.model.net import Address
from podwall.model.objects import Pod, PodKey


class AddressBook:
    """Claims on addresses and who wins them; an update costs as much as the pod has addresses."""

    def __init__(self) -> None:
        self._claims: dict[Address, dict[PodKey, Pod]] = {}
        self._owners: dict[Address, PodKey] = {}

    def owner(self, address: Address) -> PodKey | None:
        """The pod that ``address`` stands for, if any."""
        return self._owners.get(address)

    def update(self, old: Pod | None, new: Pod | None) -> set[Address]:
        """Take ``new`` in place of ``old``, both of one key.

        Returns the addresses that now have another owner than before. ``None`` stands for a pod
        that did not exist before, or does not exist any more.
        """
        before, after = set(claimed_addresses(old)), set(claimed_addresses(new))
        if old is not None:
            for address in before - after:
                self._withdraw(address, old.key)
        if new is not None:
            for address in after:
                self._claims.setdefault(address, {})[new.key] = new
        return {address for address in before | after if self._settle(address)}

    def owners(self, pods: Iterable[Pod]) -> Mapping[Address, PodKey]:
        """All owners, in the order of ``pods``, which are all the pods that the book knows."""
        # The order is that of address_owners(), so that text made from a snapshot does not depend
        # on the way in which the snapshot came about.
        return {
            address: self._owners[address] for pod in pods for address in claimed_addresses(pod)
        }

    def _withdraw(self, address: Address, key: PodKey) -> None:
        claims = self._claims[address]
        del claims[key]
        if not claims:
            del self._claims[address]

    def _settle(self, address: Address) -> bool:
        """Decide anew who owns ``address``; says whether the answer changed."""
        before = self._owners.get(address)
        claims = self._claims.get(address)
        if claims is None:
            self._owners.pop(address, None)
            return before is not None
        owner = max(claims.values(), key=claim_rank).key
        self._owners[address] = owner
        return owner != before
