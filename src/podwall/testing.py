"""Policies in tests: load manifests, ask who reaches whom, and let failures say why.

    def test_web_reaches_the_database(podwall):
        cluster = podwall.load("policies/")
        assert cluster.allowed("shop/deployment/web", "shop/statefulset/db", "5432/tcp")
        assert cluster.denied("any", "shop/statefulset/db", 22)

The fixture ``podwall`` comes with :mod:`podwall.pytest_plugin`; other test runners make a
:class:`Podwall` of their own. An answer is true or false, and its text says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from podwall.api import Cluster, read_promises
from podwall.errors import InputError
from podwall.manifest import Severity, UnusableInput
from podwall.model.flow import Verdict
from podwall.promises.decode import read_question
from podwall.promises.judging import Judge, Judgement
from podwall.promises.model import Promise
from podwall.promises.report import failure_lines, summary

__all__ = ["Answer", "LoadedCluster", "Podwall", "promises_of"]


class Answer(msgspec.Struct, frozen=True):
    """Whether something is so, for ``assert``: in a few words, and as text with all reasons."""

    holds: bool
    words: str
    text: str

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<{'yes' if self.holds else 'no'}: {self.words}>"


class LoadedCluster:
    """A cluster that tests ask.

    Ends are what expectations take: ``shop/web-0``, ``shop/deployment/web`` (every pod of it),
    ``namespace/shop``, ``node/worker-1``, ``10.0.0.0/8``, ``any``. What else there is to ask is on
    ``cluster``, a :class:`podwall.api.Cluster`.
    """

    def __init__(self, cluster: Cluster, podwall: Podwall) -> None:
        self.cluster = cluster
        self._podwall = podwall
        self._judge = Judge(cluster.snapshot, cluster.settings)

    def allowed(self, source: str, target: str, *ports: str | int) -> Answer:
        """Whether all pods of ``source`` reach all ``ports`` of all pods of ``target``.

        Without ``ports`` all of them are meant, whatever the protocol.

        Raises:
            InputError: an end or a port is not understood, or means nobody.
        """
        return self._ask(source, target, ports, Verdict.ALLOWED)

    def denied(self, source: str, target: str, *ports: str | int) -> Answer:
        """Whether no pod of ``source`` reaches any of ``ports`` of any pod of ``target``.

        Raises:
            InputError: an end or a port is not understood, or means nobody.
        """
        return self._ask(source, target, ports, Verdict.DENIED)

    def keeps(self, *paths: str | Path) -> Answer:
        """Whether the promises in files of expectations are kept, all of them.

        Raises:
            InputError: there is something wrong with the files.
        """
        promises = promises_of([self._podwall.resolve(each) for each in paths])
        judged = list(map(self.judge, promises))
        broken = [each for each in judged if not each.kept]
        words = f"{len(judged) - len(broken)} of {len(judged)} promises are kept"
        return self._podwall.note(
            Answer(not broken, words, "\n".join(map(_failure, broken)) or words)
        )

    def judge(self, promise: Promise) -> Judgement:
        """What is true of one promise."""
        return self._judge.judge(promise)

    def _ask(self, source: str, target: str, ports: Sequence[str | int], expect: Verdict) -> Answer:
        judgement = self.judge(read_question(source, target, ports, expect))
        if judgement.fault:
            raise InputError(judgement.fault)
        words = f"{judgement.promise.question}: {summary(judgement)}"
        text = words if judgement.kept else "\n".join(failure_lines(judgement))
        return self._podwall.note(Answer(judgement.kept, words, text))


class Podwall:
    """Loads manifests for tests; relative paths begin at ``base``.

    ``last`` is the last answer that a cluster gave: what a test that fails was about.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self.last: Answer | None = None

    def load(self, *paths: str | Path, **options: Any) -> LoadedCluster:
        """The cluster of some manifests; ``options`` are those of ``Cluster.load``.

        Raises:
            InputError: there is an error in them. No test passes because half of them is missing.
        """
        cluster = Cluster.load(list(map(self.resolve, paths)), **options)
        errors = [each for each in cluster.diagnostics if each.severity is Severity.ERROR]
        if errors:
            raise UnusableInput(errors)
        return LoadedCluster(cluster, self)

    def resolve(self, path: str | Path) -> str:
        """Where a path leads."""
        return str(self._base / path)

    def note(self, answer: Answer) -> Answer:
        """Remember an answer as the last one."""
        self.last = answer
        return answer


def promises_of(paths: Sequence[str]) -> tuple[Promise, ...]:
    """The promises in files of expectations.

    Raises:
        InputError: there is something wrong with them.
    """
    found = read_promises(paths)
    if found.diagnostics:
        raise UnusableInput(found.diagnostics)
    return found.promises


def _failure(judgement: Judgement) -> str:
    head = f"{judgement.promise.place}: {judgement.promise.name}"
    return "\n  ".join([head, *failure_lines(judgement)])
