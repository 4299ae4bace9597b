"""Promises as values: who, whom, on which ports, and what is expected."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from podwall.explain.ends import Service
from podwall.model.flow import Verdict
from podwall.model.net import Cidr
from podwall.model.objects import PodKey
from podwall.model.selector import Selector


class OnePod(msgspec.Struct, frozen=True):
    """A pod by its name."""

    key: PodKey

    def __str__(self) -> str:
        return f"pod {self.key}"


class Workload(msgspec.Struct, frozen=True):
    """All pods of a workload; ``kind`` is in lower case."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.kind}/{self.name}"


class LabelledPods(msgspec.Struct, frozen=True):
    """Pods by label, in one namespace or in those that a selector over their labels means."""

    namespaces: Selector | str
    pods: Selector

    def __str__(self) -> str:
        pods = "pods" if not self.pods.requirements else f"pods {self.pods}"
        if isinstance(self.namespaces, str):
            return f"{pods} in namespace {self.namespaces}"
        if not self.namespaces.requirements:
            return f"{pods} in any namespace"
        return f"{pods} in namespaces {self.namespaces}"


class OneNode(msgspec.Struct, frozen=True):
    """A node by its name: every address it owns."""

    name: str

    def __str__(self) -> str:
        return f"node/{self.name}"


class Block(msgspec.Struct, frozen=True):
    """Every address of a block, whoever has it."""

    cidr: Cidr

    def __str__(self) -> str:
        alone = self.cidr.prefix == self.cidr.family.bits
        return str(self.cidr).partition("/")[0] if alone else str(self.cidr)


class Anyone(msgspec.Struct, frozen=True):
    """Every address there is."""

    def __str__(self) -> str:
        return "any"


Who: TypeAlias = OnePod | Workload | LabelledPods | OneNode | Block | Anyone
"""One end of a promise."""


class Place(msgspec.Struct, frozen=True, order=True):
    """Where a promise is written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Promise(msgspec.Struct, frozen=True):
    """From every pod or address that ``source`` means to each that ``target`` means: ``expect``.

    Without ``services`` every protocol and port is meant. ``name`` is never empty.
    """

    name: str
    source: Who
    target: Who
    expect: Verdict
    services: tuple[Service, ...]
    place: Place

    @property
    def question(self) -> str:
        """Who, whom and what, in one line."""
        services = " " + ", ".join(map(str, self.services)) if self.services else ", any port"
        return f"{self.source} → {self.target}{services}"
