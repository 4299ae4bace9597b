"""The plugin that pytest finds: the fixture ``podwall``, and expectation files as tests.

Every run of pytest imports this where podwall is installed, so what it stands on
(:mod:`podwall.testing`) is imported when a test wants it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from podwall.promises.judging import Judgement
    from podwall.promises.model import Promise
    from podwall.testing import LoadedCluster, Podwall

MANIFESTS = "podwall_manifests"
"""The option that names the manifests which expectation files are about."""

SUFFIXES = ("expectations.yaml", "expectations.yml")
"""Files whose names end so are tests where manifests are configured."""

_loader = pytest.StashKey["Podwall"]()
_cluster = pytest.StashKey["LoadedCluster"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the configuration file."""
    parser.addini(
        MANIFESTS,
        "manifests that files called *expectations.yaml are about; these are tests then",
        type="paths",
        default=[],
    )


@pytest.fixture(scope="session")
def podwall(pytestconfig: pytest.Config) -> Podwall:
    """Loads manifests: ``podwall.load("policies/")``; relative paths begin at the root directory.

    What it gives answers ``allowed(FROM, TO, PORT)``, ``denied(FROM, TO)`` and ``keeps(FILE)``.
    """
    return _podwall_of(pytestconfig)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what the last answer before it was, with all its reasons."""
    report = yield
    loader = item.config.stash.get(_loader, None)
    if loader is not None and loader.last is not None:
        if report.failed:
            report.sections.append(("podwall answered", str(loader.last)))
        loader.last = None
    return report


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ExpectationsFile | None:
    """Take files of expectations, if it is known which manifests they are about."""
    if not file_path.name.endswith(SUFFIXES) or not parent.config.getini(MANIFESTS):
        return None
    collector: ExpectationsFile = ExpectationsFile.from_parent(parent, path=file_path)
    return collector


class ExpectationsFile(pytest.File):
    """A file of expectations; each promise is a test."""

    def collect(self) -> Iterator[PromiseItem]:
        """The promises of the file, in order."""
        from podwall.errors import InputError  # noqa: PLC0415
        from podwall.testing import promises_of  # noqa: PLC0415

        try:
            promises = promises_of([str(self.path)])
        except InputError as error:
            raise self.CollectError(str(error)) from error
        for promise in promises:
            item: PromiseItem = PromiseItem.from_parent(self, name=promise.name, promise=promise)
            yield item


class PromiseItem(pytest.Item):
    """One promise: it passes if the policies keep it."""

    def __init__(self, *, promise: Promise, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type]
        self._promise = promise

    def runtest(self) -> None:
        """Ask the oracle about every pair that the promise means."""
        judgement = _loaded(self.config).judge(self._promise)
        if not judgement.kept:
            raise BrokenPromise(judgement)

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str:
        """What was promised, what is so, and why."""
        from podwall.errors import InputError  # noqa: PLC0415
        from podwall.promises.report import failure_lines  # noqa: PLC0415

        if isinstance(excinfo.value, BrokenPromise):
            return "\n".join(failure_lines(excinfo.value.judgement))
        if isinstance(excinfo.value, InputError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo, style))  # type: ignore[arg-type]

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the promise is written; pytest counts lines from 0."""
        return self.path, self._promise.place.line - 1, self.name


class BrokenPromise(Exception):
    """Policies do not keep a promise."""

    def __init__(self, judgement: Judgement) -> None:
        super().__init__(judgement.promise.name)
        self.judgement = judgement


def _loaded(config: pytest.Config) -> LoadedCluster:
    """The cluster of the configured manifests, loaded once."""
    if _cluster not in config.stash:
        config.stash[_cluster] = _podwall_of(config).load(*config.getini(MANIFESTS))
    return config.stash[_cluster]


def _podwall_of(config: pytest.Config) -> Podwall:
    from podwall.testing import Podwall  # noqa: PLC0415

    if _loader not in config.stash:
        config.stash[_loader] = Podwall(config.rootpath)
    return config.stash[_loader]
