"""What can happen to a cluster, as values.

An API server's watch and a directory of manifests both come down to a few events: an object is as
follows, an object is gone, these are all objects of a kind, and of a kind only these are left (a
list that came in pages, whose objects were applied as they came). Events may arrive twice, and the
news that an object is gone may arrive after the news of its successor;
:class:`podwall.cluster.state.ClusterState` is equal to the task. No event is ever invalid.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from podwall.model.objects import Namespace, Node, Pod, PodKey
from podwall.model.policy import Policy, PolicyKey


class Kind(enum.Enum):
    """The kinds of objects that enforcement depends on; the value is the API's word."""

    POD = "Pod"
    NAMESPACE = "Namespace"
    NODE = "Node"
    POLICY = "NetworkPolicy"


class NamespaceKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Name of a Namespace, in a type of its own so that it is not taken for a node's."""

    name: str


class NodeKey(msgspec.Struct, frozen=True, order=True, gc=False):
    """Name of a Node."""

    name: str


ClusterObject: TypeAlias = Pod | Namespace | Node | Policy
ObjectKey: TypeAlias = PodKey | NamespaceKey | NodeKey | PolicyKey


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The object exists and is now as follows: created, modified, or the same once more."""

    object: ClusterObject


class Deleted(msgspec.Struct, frozen=True, gc=False):
    """The object is gone.

    ``uid`` tells which pod of that name went, so that a late event does not take its successor away
    (S22); empty means whichever there is. Only pods have one here.
    """

    key: ObjectKey
    uid: str = ""


class Replaced(msgspec.Struct, frozen=True, gc=False):
    """``objects`` are all that exist of ``kind``: a list, as a watch begins or begins anew.

    Of objects with equal keys the last counts. One of another kind is taken as if it were applied.
    """

    kind: Kind
    objects: tuple[ClusterObject, ...] = ()


class Remaining(msgspec.Struct, frozen=True, gc=False):
    """Of ``kind`` only the objects named by ``keys`` exist; the others are gone.

    The end of a list whose objects were each :class:`Applied`: a cluster that is listed anew never
    has to be held twice.
    """

    kind: Kind
    keys: frozenset[ObjectKey] = frozenset()


Event: TypeAlias = Applied | Deleted | Replaced | Remaining
