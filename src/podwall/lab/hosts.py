"""Which hosts outside the cluster a lab needs to show what the policies' ipBlocks do.

For every ``ipBlock`` there is one address inside it, one inside each ``except`` and one outside of
the block, just past its end, since off-by-one is where blocks go wrong. An address that serves
several blocks is used for all of them; once there are many hosts, any known one outside a block has
to do for it. The choice depends on nothing but the policies and the addresses that the cluster
already uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from podwall.cluster.snapshot import Snapshot
from podwall.model.net import Address, Cidr, Family, parse_cidr
from podwall.model.policy import IPBlock
from podwall.model.spans import Span, merged, without

_UNUSABLE = tuple(
    map(
        parse_cidr,
        (
            "0.0.0.0/8",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "224.0.0.0/3",
            "::/16",
            "64:ff9b::/96",
            "fe80::/9",
            "ff00::/8",
        ),
    )
)
"""Never the address of a host: unspecified, loopback, link-local, multicast, mapped, reserved."""

_EVERYWHERE = (parse_cidr("203.0.113.0/24"), parse_cidr("2001:db8:ffff::/48"))
"""Documentation ranges: where the host lives that stands for "anywhere else"."""


class OutsideHost(msgspec.Struct, frozen=True):
    """An address outside the cluster and, in words, what it is an example of."""

    address: Address
    title: str


_MANY = 16
"""From this number of hosts on, no more are added only to be near the end of a block."""


def outside_hosts(
    snapshot: Snapshot, families: Sequence[Family], reserved: Iterable[Address] = ()
) -> tuple[OutsideHost, ...]:
    """The hosts for all blocks of all policies, and one per family that is anywhere else.

    ``reserved`` addresses are not used, nor are those of pods, nodes and the nodes' pod ranges. A
    block without a free address (that of a single pod, say) has no host.
    """
    chosen: dict[Address, list[str]] = {}
    for family in families:
        taken = merged(_taken(snapshot, family, reserved))
        mine: list[Address] = []
        for wanted, title, exactly in _wishes(snapshot, family):
            free = without(wanted, taken)
            near = _first(family, free)
            if near is None:
                continue
            reuse = not exactly or len(mine) >= _MANY
            address = (_known_in(mine, free) if reuse else None) or near
            if address not in chosen:
                mine.append(address)
            titles = chosen.setdefault(address, [])
            if title not in titles:
                titles.append(title)
    return tuple(OutsideHost(address, "; ".join(chosen[address])) for address in sorted(chosen))


def _wishes(snapshot: Snapshot, family: Family) -> Iterator[tuple[Sequence[Span], str, bool]]:
    """Address ranges of which one address each is wanted, why, and whether exactly the first."""
    blocks = sorted({block for block in _blocks(snapshot) if block.cidr.family is family})
    for block in blocks:
        excepts = merged(_span(each) for each in block.excepts)
        yield without([_span(block.cidr)], excepts), f"in {block}", False
    for cidr in sorted({each for block in blocks for each in block.excepts}):
        yield [_span(cidr)], f"in except {cidr}", False
    top = (1 << family.bits) - 1
    for cidr in sorted({block.cidr for block in blocks}):
        yield [(cidr.last + 1, top), (0, cidr.first - 1)], f"outside {cidr}", True
    everywhere = next(each for each in _EVERYWHERE if each.family is family)
    yield [_span(everywhere)], "anywhere else", False


def _blocks(snapshot: Snapshot) -> Iterator[IPBlock]:
    for policy in snapshot.policies.values():
        for rule in (*policy.ingress, *policy.egress):
            yield from (peer for peer in rule.peers if isinstance(peer, IPBlock))


def _taken(snapshot: Snapshot, family: Family, reserved: Iterable[Address]) -> Iterator[Span]:
    addresses = [*reserved]
    cidrs: list[Cidr] = [*_UNUSABLE]
    for pod in snapshot.pods.values():
        addresses.extend(pod.addresses)
    for node in snapshot.nodes.values():
        addresses.extend(node.addresses)
        cidrs.extend(node.pod_cidrs)
    yield from ((each.value, each.value) for each in addresses if each.family is family)
    yield from (_span(each) for each in cidrs if each.family is family)


def _span(cidr: Cidr) -> Span:
    return cidr.first, cidr.last


def _known_in(chosen: Iterable[Address], free: Sequence[Span]) -> Address | None:
    for address in chosen:
        if any(first <= address.value <= last for first, last in free):
            return address
    return None


def _first(family: Family, free: Sequence[Span]) -> Address | None:
    """The lowest free address, but not one that ends in 0 where there is another."""
    for first, last in free:
        return Address(family, first + 1 if first % 256 == 0 and first < last else first)
    return None
