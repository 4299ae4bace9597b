"""``podwall report`` and ``podwall ui``: the page, as a file and in a browser."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from podwall.api import Cluster
from podwall.check.registry import check
from podwall.cli import options, source
from podwall.cli.check import remarks
from podwall.cli.output import Status, out, print_note, progress
from podwall.cli.outside import outside_ends
from podwall.draw import Picture, policy_picture, translation_picture
from podwall.errors import InputError, PodwallError
from podwall.explain.ends import parse_service
from podwall.manifest import Severity
from podwall.model.policy import PolicyKey
from podwall.page import Drawing, Subject, build, render_html
from podwall.page.serve import PageServer, State
from podwall.page.told import plain
from podwall.page.watching import Watched, fingerprint
from podwall.ruleset.ir import Ruleset

_STDOUT = "-"


def add_report(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall report``."""
    source.add_source(parser)
    parser.add_argument(
        "-o",
        "--output",
        default="report.html",
        metavar="FILE",
        help="where the page goes; - for standard output (%(default)s)",
    )
    parser.add_argument("--title", default="", help="the heading (default: the source)")


def add_ui(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall ui``."""
    source.add_source(parser)
    parser.add_argument("--title", default="", help="the heading (default: the source)")
    parser.add_argument(
        "--listen",
        default="127.0.0.1:0",
        metavar="ADDRESS:PORT",
        help="a loopback address; port 0 is any that is free (%(default)s)",
    )
    parser.add_argument("--open", action="store_true", help="open it in this desktop's browser")


def report(args: argparse.Namespace) -> Status:
    """Write the page as one file."""
    cluster = source.cluster_of(args)
    subject = _subject(args, cluster)
    with progress("building the page") as tell:
        page = render_html(build(subject, progress=tell)).encode()
    if args.output == _STDOUT:
        sys.stdout.buffer.write(page)
        sys.stdout.buffer.flush()
    else:
        _write(Path(args.output), page)
        print_note(f"wrote {args.output}")
    return options.input_status(cluster)


def ui(args: argparse.Namespace) -> Status:
    """Serve the page until it is interrupted, and follow what changes."""
    if _STDOUT in args.files:
        raise InputError("standard input is read once and cannot be followed: name files")
    host, port = _listen(args.listen)
    following = _Following(args)
    with PageServer(host, port, following.state, following.questions) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        out().print(server.url, soft_wrap=True)
        print_note(f"shows {following.title} and follows its changes; Ctrl-C ends it")
        sys.stdout.flush()
        if args.open:
            webbrowser.open(server.url)
        try:
            following.run()
        finally:
            following.state.close()
            server.shutdown()
    return Status.OK


class _Following:
    """The state of a page, and the thread of the command that keeps it up to date."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.state = State()
        self.title = source.source_title(args)
        self.questions = {"explain": self._explain, "pictures": self._pictures}
        self._watched = Watched(args.files, is_far=not args.files)
        self._mark = self._watched.mark()
        self._cluster = source.cluster_of(args)
        self._print = fingerprint(self._cluster.snapshot, self._problems(self._cluster))
        self._show()

    def run(self) -> None:
        """Look for changes, for ever."""
        while True:
            time.sleep(self._watched.pause)
            mark = self._watched.mark()
            if mark == self._mark and not self._watched.is_far:
                continue
            self._mark = mark
            self._look()

    def _look(self) -> None:
        start = time.monotonic()
        try:
            with _silence():
                cluster = source.cluster_of(self._args)
        except PodwallError as error:
            self.state.complain(str(error) or "It cannot be read.")
            return
        finally:
            self._watched.took(time.monotonic() - start)
        if cluster.manifests.has_errors and not self._cluster.manifests.has_errors:
            # A file that is broken for a moment would take its policies off the page.
            self.state.complain(_errors(cluster))
            return
        found = fingerprint(cluster.snapshot, self._problems(cluster))
        if found != self._print or self.state.is_troubled:
            self._cluster, self._print = cluster, found
            self._show()

    def _show(self) -> None:
        subject = _subject(self._args, self._cluster)
        self.state.show(build(subject, live=True, picture_bytes=0))

    def _problems(self, cluster: Cluster) -> tuple[str, ...]:
        return tuple(map(str, cluster.diagnostics))

    def _explain(self, words: Mapping[str, str]) -> object:
        cluster = self._cluster
        asked = (words.get("from", ""), words.get("to", ""), words.get("port", ""))
        parse_service(asked[2])
        return [plain(each) for each in cluster.explain(*asked)]

    def _pictures(self, words: Mapping[str, str]) -> object:
        key = PolicyKey(words.get("namespace", ""), words.get("name", ""))
        if key not in self._cluster.snapshot.policies:
            raise InputError(f"there is no policy {key}")
        return list(_draw(self._cluster, key, self._cluster.ruleset))


def _errors(cluster: Cluster) -> str:
    """The first error, and how many others there are."""
    first, *others = [each for each in cluster.diagnostics if each.severity is Severity.ERROR]
    more = f" (and {len(others)} more)" if others else ""
    return f"{first}{more}."


def _subject(args: argparse.Namespace, cluster: Cluster) -> Subject:
    rulesets: dict[str, Ruleset] = {}

    def ruleset_of(node: str) -> Ruleset:
        if node not in rulesets:
            rulesets[node] = cluster.ruleset(node)
        return rulesets[node]

    title = source.source_title(args)
    return Subject(
        title=args.title or f"Network policies: {title}",
        source=title,
        snapshot=cluster.snapshot,
        settings=cluster.settings,
        ruleset_of=ruleset_of,
        findings=tuple(check(cluster.snapshot, remarks(cluster.diagnostics))),
        problems=tuple(map(str, cluster.diagnostics)),
        outside=tuple(outside_ends(cluster.snapshot)),
        draw=lambda key: _draw(cluster, key, ruleset_of),
    )


def _draw(
    cluster: Cluster, key: PolicyKey, ruleset_of: Callable[[str], Ruleset]
) -> Iterator[Drawing]:
    """What a policy says, and what became of it on a node that has a pod of it."""
    snapshot = cluster.snapshot
    yield _drawing("policy", policy_picture(snapshot, [key]))
    policy = snapshot.policies[key]
    nodes = (
        pod.node
        for pod in snapshot.pods.values()
        if pod.key.namespace == key.namespace and policy.subject.matches(pod.labels)
    )
    node = next((each for each in nodes if each in snapshot.nodes), None)
    if node is not None:
        picture = translation_picture(snapshot, ruleset_of(node), key, where=node)
        yield _drawing("translation", picture)


def _drawing(kind: str, picture: Picture) -> Drawing:
    return Drawing(kind, picture.title, picture.description, picture.svg())


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = {"localhost": "127.0.0.1", "": "127.0.0.1"}.get(host, host.strip("[]"))
    if not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--listen {text}: expected ADDRESS:PORT, as in 127.0.0.1:8080")
    return host, int(port)


def _write(path: Path, page: bytes) -> None:
    """Write beside the old page and put it in its place: who reads it sees one or the other."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(page)
            return
        beside.write_bytes(page)
        beside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _silence() -> Iterator[None]:
    """What is wrong with the input stands on the page; on the terminal it was said once."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        yield
