"""``podwall draw``: pictures of policies, of what became of them, and of the chains.

One picture goes to one file, or to standard output where that is not a terminal. Many go to a
directory, one file for each, with a page that shows them all.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

import msgspec

from podwall.api import Cluster
from podwall.cli import options, source
from podwall.cli.drawing import FORMATS, Format, counters_of, node_of_agent, written
from podwall.cli.output import Status, print_note
from podwall.draw import Picture, Theme, chains_picture, policy_picture, translation_picture
from podwall.errors import InputError
from podwall.model.decode import escaped
from podwall.model.net import Family
from podwall.model.policy import PolicyKey
from podwall.ruleset.ir import Ruleset
from podwall.ruleset.names import digest, readable

_KINDS = ("policy", "translation", "chains")
_INDEX = "index.html"


def add_draw(parser: argparse.ArgumentParser) -> None:
    """Options of ``podwall draw``."""
    source.add_source(parser)
    group = parser.add_argument_group("what is drawn")
    group.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="NS/NAME",
        help="only this policy; may be repeated (default: all)",
    )
    group.add_argument(
        "-n",
        "--namespace",
        action="append",
        default=[],
        metavar="NS",
        help="only the policies of this namespace; may be repeated",
    )
    group.add_argument(
        "--kind",
        choices=(*_KINDS, "all"),
        help="who may come in and where they may go (policy), what became of each part of a policy "
        "in the kernel (translation), or the way of a packet through the chains (default: policy; "
        "all with a directory)",
    )
    group.add_argument(
        "--node",
        metavar="NAME",
        help="whose kernel (default: the first node with a pod that a policy selects)",
    )
    group.add_argument(
        "--family",
        type=int,
        choices=[each.value for each in Family],
        help="draw the rules of IPv4 or of IPv6 (default: 4, or 6 where pods have only that)",
    )
    group = parser.add_argument_group("how it is drawn")
    group.add_argument(
        "--format",
        choices=FORMATS,
        help="default: what the name of the file says, else svg",
    )
    group.add_argument(
        "--theme",
        choices=[each.value for each in Theme],
        default=Theme.AUTO.value,
        help="auto follows what the reader prefers; a png is light then (%(default)s)",
    )
    group.add_argument(
        "-o",
        "--output",
        metavar="FILE|DIR/",
        help="where to: a file, a directory for a picture of everything, or - for standard output "
        "(default: podwall.svg; standard output where that is no terminal)",
    )


RulesetOf = Callable[[str], Ruleset]
"""The ruleset of a node by name; asked again it is not compiled again."""


class _Named(msgspec.Struct, frozen=True):
    """A picture and what its file is called, without ending."""

    name: str
    picture: Picture


def run(args: argparse.Namespace) -> Status:
    """Draw what was asked for."""
    into = _directory(args.output)
    form = _format(args, into)
    cluster = source.cluster_of(args)
    keys = _chosen(args, cluster)
    kind = args.kind or ("all" if into else "policy")
    theme = Theme(args.theme)
    ruleset_of = functools.cache(cluster.ruleset)
    if into is not None:
        pictures = list(_many(args, cluster, keys, kind, ruleset_of))
        _write_all(into, form, theme, pictures)
        print_note(f"wrote {len(pictures)} pictures and {_INDEX} to {into}")
    else:
        _write_one(args.output, form, theme, _one(args, cluster, keys, kind, ruleset_of))
    return options.input_status(cluster)


def _directory(output: str | None) -> Path | None:
    if output and output != "-" and (output.endswith("/") or Path(output).is_dir()):
        return Path(output)
    return None


def _format(args: argparse.Namespace, into: Path | None) -> Format:
    """The format that is asked for, or that the file's name says."""
    if args.format:
        return FORMATS[args.format]
    if args.output and args.output != "-" and into is None:
        ending = Path(args.output).suffix.lower()
        for each in FORMATS.values():
            if ending in each.endings:
                return each
        known = ", ".join(ending for each in FORMATS.values() for ending in each.endings)
        raise InputError(
            f"-o {args.output}: its name does not say a format ({known}): add --format, or end it "
            "with / for a directory"
        )
    return FORMATS["svg"]


def _chosen(args: argparse.Namespace, cluster: Cluster) -> list[PolicyKey]:
    """The policies that are meant, in order."""
    policies = cluster.snapshot.policies
    named: list[PolicyKey] = []
    for text in args.policy:
        namespace, _, name = text.partition("/")
        key = PolicyKey(namespace, name)
        if key not in policies:
            raise InputError(f"--policy {escaped(text)}: there is no such policy{_known(policies)}")
        named.append(key)
    for namespace in args.namespace:
        of_it = [each for each in policies if each.namespace == namespace]
        if not of_it:
            raise InputError(
                f"--namespace {escaped(namespace)}: it has no policy{_known(policies)}"
            )
        named += of_it
    if not policies:
        raise InputError("there is no policy to draw")
    return sorted(set(named)) if named else list(policies)


def _known(policies: Iterable[PolicyKey]) -> str:
    names = [escaped(str(each)) for each in policies]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"; known: {', '.join(names[:5])}{more}" if names else ""


def _one(
    args: argparse.Namespace,
    cluster: Cluster,
    keys: Sequence[PolicyKey],
    kind: str,
    ruleset_of: RulesetOf,
) -> Picture:
    """The picture that goes to one file."""
    if kind == "all":
        raise InputError("--kind all is many pictures: name a directory, as in -o pictures/")
    if kind == "policy":
        return policy_picture(cluster.snapshot, keys)
    if kind == "translation" and len(keys) > 1:
        raise InputError(
            "a translation is of one policy: name it by --policy, or a directory for all, as in "
            "-o pictures/"
        )
    node = _node(args, cluster, keys)
    return _of_node(args, cluster, node, None if kind == "chains" else keys[0], ruleset_of)


def _of_node(
    args: argparse.Namespace,
    cluster: Cluster,
    node: str,
    key: PolicyKey | None,
    ruleset_of: RulesetOf,
) -> Picture:
    """A translation, or without ``key`` the chains of a node."""
    family = Family(args.family) if args.family else None
    ruleset = ruleset_of(node)
    if key is not None:
        return translation_picture(cluster.snapshot, ruleset, key, family=family, where=node)
    chosen = family or _family(cluster, node)
    counters = counters_of(args, node, chosen)
    return chains_picture(ruleset, counters, family=chosen, where=node)


def _family(cluster: Cluster, node: str) -> Family:
    """IPv4, but for a node whose pods have IPv6 only."""
    addresses = (
        each.family
        for pod in cluster.snapshot.pods.values()
        if pod.node == node
        for each in pod.addresses
    )
    found = set(addresses)
    return Family.V6 if found == {Family.V6} else Family.V4


def _node(
    args: argparse.Namespace, cluster: Cluster, keys: Sequence[PolicyKey], *, quiet: bool = False
) -> str:
    """The node whose kernel is drawn."""
    nodes = list(cluster.snapshot.nodes)
    if args.node is not None:
        if args.node not in nodes:
            known = ", ".join(map(escaped, nodes[:8])) or "none"
            raise InputError(f"there is no node {escaped(args.node)}; known: {known}")
        return str(args.node)
    if args.live:
        return node_of_agent(args)
    if not nodes:
        raise InputError("there is no node whose kernel could be drawn")
    chosen = _node_of(cluster, keys, nodes)
    if len(nodes) > 1 and not quiet:
        print_note(f"drawn for node {chosen}, one of {len(nodes)}; --node chooses another")
    return chosen


def _node_of(cluster: Cluster, keys: Sequence[PolicyKey], nodes: Sequence[str]) -> str:
    """The first node with a pod that one of the policies selects."""
    policies = [cluster.snapshot.policies[key] for key in keys]
    found = {
        pod.node
        for pod in cluster.snapshot.pods.values()
        for each in policies
        if each.key.namespace == pod.key.namespace and each.subject.matches(pod.labels)
    }
    return next((each for each in nodes if each in found), nodes[0])


def _many(
    args: argparse.Namespace,
    cluster: Cluster,
    keys: Sequence[PolicyKey],
    kind: str,
    ruleset_of: RulesetOf,
) -> Iterator[_Named]:
    """One picture for each policy and kind; each namespace and each node has one as well."""
    kinds = _KINDS if kind == "all" else (kind,)
    if "policy" in kinds:
        for namespace in sorted({each.namespace for each in keys}):
            of_it = [each for each in keys if each.namespace == namespace]
            if len(of_it) > 1:
                name = _file_name("namespace", namespace)
                yield _Named(name, policy_picture(cluster.snapshot, of_it))
    for key in keys:
        if "policy" in kinds:
            name = _file_name("policy", key.namespace, key.name)
            yield _Named(name, policy_picture(cluster.snapshot, [key]))
        if "translation" in kinds:
            node = _node(args, cluster, [key], quiet=True)
            name = _file_name("translation", key.namespace, key.name)
            yield _Named(name, _of_node(args, cluster, node, key, ruleset_of))
    if "chains" in kinds:
        nodes = [_node(args, cluster, keys)] if args.node or args.live else cluster.snapshot.nodes
        for node in nodes:
            picture = _of_node(args, cluster, node, None, ruleset_of)
            yield _Named(_file_name("chains", node), picture)


def _file_name(*words: str) -> str:
    """A name that any file system takes: names are users' words, and some only differ by those."""
    parts = [readable(each, 60) for each in words]
    mark = [] if list(words) == parts else [digest(words)]
    return "_".join([*parts, *mark])


def _write_one(output: str | None, form: Format, theme: Theme, picture: Picture) -> None:
    content = written(picture, form, theme)
    if output == "-" or (output is None and not sys.stdout.isatty()):
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return
    path = Path(output or f"podwall{form.endings[0]}")
    _write(path, content)
    print_note(f"wrote {path}")


def _write_all(into: Path, form: Format, theme: Theme, pictures: Sequence[_Named]) -> None:
    items: list[str] = []
    for each in pictures:
        file = each.name + form.endings[0]
        _write(into / file, written(each.picture, form, theme))
        title = escape(escaped(each.picture.title))
        shown = title
        if form.is_image:
            alt = escape(escaped(each.picture.description))
            shown = f'{title}<br><img src="{file}" alt="{alt}" loading="lazy">'
        items.append(f'<li><a href="{file}">{shown}</a></li>\n')
    head = (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>policies</title>\n'
        "<style>:root { color-scheme: light dark } body { font-family: sans-serif } "
        "img { max-width: 100%; margin: 0.5em 0 1.5em } li { list-style: none }</style>\n"
    )
    page = f"{head}<h1>Policies</h1>\n<ul>\n{''.join(items)}</ul>\n</html>\n"
    _write(into / _INDEX, page.encode())


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"-o {path}: {error.strerror}") from error
