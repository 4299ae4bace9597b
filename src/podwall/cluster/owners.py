"""Which pod an address stands for, kept up to date pod by pod.

Addresses are re-used, and the news arrive in any order: for a while two pods can claim one address.
The book remembers every claim, so that when the owner goes or steps back the address falls to the
next claimant, not to nobody. Its answers equal those of
:func:`podwall.cluster.snapshot.address_owners` over the same pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from podwall.cluster.snapshot import claim_rank, claimed_addresses
from podwall.model.net import Address
from podwall.model.objects import Pod, PodKey


class AddressBook:
    """Claims on addresses and who wins them; an update costs as much as the pod has addresses."""

    def __init__(self) -> None:
        self._owners: dict[Address, Pod] = {}
        # Only addresses that several pods claim, which is rare; the owner is among them.
        self._rivals: dict[Address, dict[PodKey, Pod]] = {}

    def owner(self, address: Address) -> PodKey | None:
        """The pod that ``address`` stands for, if any."""
        owner = self._owners.get(address)
        return None if owner is None else owner.key

    def update(self, old: Pod | None, new: Pod | None) -> set[Address]:
        """Take ``new`` in place of ``old``, both of one key.

        Returns the addresses that now have another owner than before. ``None`` stands for a pod
        that did not exist before, or does not exist any more.
        """
        pod = new if old is None else old
        if pod is None:
            return set()
        return self.move(pod.key, claimed_addresses(old), claimed_addresses(new), new)

    def move(
        self, key: PodKey, before: Sequence[Address], after: Sequence[Address], new: Pod | None
    ) -> set[Address]:
        """The same for a pod that claimed ``before`` and claims ``after``, which is known."""
        moved: set[Address] = set()
        for address in {*before, *after}:
            owner = self._owners.get(address)
            if new is not None and address in after:
                self._claim(address, new)
            else:
                self._withdraw(address, key)
            now = self._owners.get(address)
            if (owner and owner.key) != (now and now.key):
                moved.add(address)
        return moved

    def owners(self, pods: Iterable[Pod]) -> Mapping[Address, PodKey]:
        """All owners, in the order of ``pods``, which are all the pods that the book knows."""
        # The order is that of address_owners(), so that text made from a snapshot does not depend
        # on the way in which the snapshot came about.
        return {
            address: self._owners[address].key for pod in pods for address in claimed_addresses(pod)
        }

    def _claim(self, address: Address, pod: Pod) -> None:
        holder = self._owners.get(address)
        rivals = self._rivals.get(address)
        if rivals is None:
            if holder is None or holder.key == pod.key:
                self._owners[address] = pod
                return
            rivals = self._rivals[address] = {holder.key: holder}
        rivals[pod.key] = pod
        self._owners[address] = max(rivals.values(), key=claim_rank)

    def _withdraw(self, address: Address, key: PodKey) -> None:
        rivals = self._rivals.get(address)
        if rivals is None:
            del self._owners[address]
            return
        del rivals[key]
        self._owners[address] = max(rivals.values(), key=claim_rank)
        if len(rivals) == 1:
            del self._rivals[address]
