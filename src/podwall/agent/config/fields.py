"""The settings of an agent, one by one: name, how to read a text as its value, default, meaning.

A setting is written as a flag (``--check-every``), an environment variable
(``PODWALL_CHECK_EVERY``) or a key of the configuration file (``check-every``); its text means the
same everywhere. :mod:`podwall.agent.config.loading` finds the texts and says which one counts.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable

import msgspec

from podwall.dataplane.iptables.mode import Mode
from podwall.errors import AddressError
from podwall.model.net import Cidr, parse_address, parse_cidr
from podwall.model.settings import DenyAction, Settings

AUTO = "auto"
OFF = "off"

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z", re.ASCII)
_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


class Listen(msgspec.Struct, frozen=True):
    """Where to listen for HTTP; an empty host is every address, port 0 a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Field(msgspec.Struct, frozen=True):
    """A setting.

    ``parse`` makes its value of a text and raises ValueError with what is wanted; ``default`` is
    such a text. A ``flag`` takes no value on the command line.
    """

    name: str
    parse: Callable[[str], object]
    default: str
    help: str
    metavar: str = "VALUE"
    choices: tuple[str, ...] = ()
    flag: bool = False
    many: bool = False
    group: str = "agent"

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "PODWALL_" + self.name.upper().replace("-", "_")

    @property
    def attribute(self) -> str:
        """Its attribute of :class:`~podwall.agent.config.loading.AgentConfig`."""
        return self.name.replace("-", "_")


def _text(text: str) -> str:
    if not text.isprintable() or len(text) > 4096:
        raise ValueError("expected a printable text of at most 4096 characters")
    return text


def _node_name(text: str) -> str:
    if text and not _NAME.match(text):
        raise ValueError(
            "expected the name of a node: lower case letters, digits, '-' and '.', at most 253"
        )
    return text


def _path(text: str) -> str:
    if _text(text) and not text.startswith("/"):
        raise ValueError("expected an absolute path")
    return text


def _truth(text: str) -> bool:
    try:
        return _WORDS[text.strip().lower()]
    except KeyError:
        raise ValueError("expected true or false") from None


def _seconds(least: float, most: float) -> Callable[[str], float]:
    wanted = f"expected a number of seconds from {least:g} to {most:g}"

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ValueError(wanted) from None
        if not least <= number <= most:
            raise ValueError(wanted)
        return number

    return parse


def _group(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 5 or int(text) > 65535:
        raise ValueError("expected a number from 0 to 65535")
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}")
        return text

    return parse


def _cidrs(text: str) -> tuple[Cidr, ...]:
    found = []
    for word in filter(None, map(str.strip, text.split(","))):
        try:
            found.append(parse_cidr(word))
        except AddressError as error:
            raise ValueError(f"expected ranges as in 10.244.1.0/24,fd00:1::/64: {error}") from None
    return tuple(found)


def _listen(text: str) -> Listen | None:
    if text in ("", OFF):
        return None
    wanted = "expected ADDRESS:PORT, as in 127.0.0.1:9642, [::]:9642 or :9642, or off"
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise ValueError(wanted)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            parse_address(host)
        except AddressError:
            raise ValueError(wanted) from None
    elif host and not _HOST.match(host):
        raise ValueError(wanted)
    return Listen(host, int(port))


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(_text(text)))
    except ValueError as error:
        raise ValueError(f"expected words as a shell reads them: {error}") from None


MODES = (AUTO, *(each.value for each in Mode))
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
_DENY = tuple(each.value for each in DenyAction)
_LOG_GROUP = str(Settings().log_group)

FIELDS: tuple[Field, ...] = (
    Field(
        "node-name",
        _node_name,
        "",
        "the node that this host is (default: $NODE_NAME, else the host name in lower case)",
        "NODE",
    ),
    Field(
        "kubeconfig",
        _text,
        "",
        "how to reach the API server (default: as a pod of the cluster; outside of one, "
        "$KUBECONFIG or ~/.kube/config)",
        "FILE",
    ),
    Field("context", _text, "", "the context of the kubeconfig (default: its current one)", "NAME"),
    Field(
        "state-dir",
        _path,
        "/run/podwall",
        "directory of the control socket and of the lock that keeps a second agent off",
        "DIR",
    ),
    Field(
        "listen",
        _listen,
        "127.0.0.1:9642",
        "address and port for /livez, /readyz and /metrics, or off",
        "ADDRESS",
    ),
    Field(
        "metrics-listen",
        _listen,
        OFF,
        "one more address and port, for /metrics alone: the node's own address, if metrics are "
        "collected from elsewhere",
        "ADDRESS",
    ),
    Field(
        "mode",
        _one_of(*MODES),
        AUTO,
        "iptables mode; auto is what the other components of this host use",
        choices=MODES,
        group="kernel",
    ),
    Field(
        "check-every",
        _seconds(0.5, 3600),
        "5",
        "seconds between two looks whether the kernel still holds what it shall",
        "SECONDS",
        group="kernel",
    ),
    Field(
        "lock-wait",
        _seconds(0, 600),
        "10",
        "seconds to wait for the xtables lock before trying again later",
        "SECONDS",
        group="kernel",
    ),
    Field(
        "pod-cidrs",
        _cidrs,
        "",
        "address ranges of this node's pods, where the CNI does not put them into "
        "spec.podCIDRs of the Node",
        "RANGES",
        many=True,
        group="kernel",
    ),
    Field(
        "deny",
        _one_of(*_DENY),
        DenyAction.DROP.value,
        "what happens to denied packets",
        choices=_DENY,
        group="switches",
    ),
    Field(
        "allow-node-egress",
        _truth,
        "false",
        "let pods reach their own node whatever their egress policies say",
        flag=True,
        group="switches",
    ),
    Field(
        "open-unknown-pods",
        _truth,
        "false",
        "let addresses of the node's pod range through that no known pod has",
        flag=True,
        group="switches",
    ),
    Field(
        "keep-connections",
        _truth,
        "false",
        "do not cut connections that a change no longer allows",
        flag=True,
        group="switches",
    ),
    Field(
        "log-denied",
        _truth,
        "false",
        "tell denied packets by name: podwall drops, metrics; audited policies tell in any case",
        flag=True,
        group="switches",
    ),
    Field(
        "log-group",
        _group,
        _LOG_GROUP,
        "the NFLOG group over which the kernel hands denied packets to the agent",
        "NUMBER",
        group="kernel",
    ),
    Field(
        "events",
        _truth,
        "true",
        "write Kubernetes Events on policies that are not enforced as written",
        flag=True,
    ),
    Field(
        "denied-events",
        _truth,
        "false",
        "write Kubernetes Events on policies that deny what was tried, or would deny it",
        flag=True,
    ),
    Field(
        "unready-after",
        _seconds(0, 3600),
        "30",
        "seconds without news from the API server after which the agent is not ready",
        "SECONDS",
    ),
    Field("log-format", _one_of(*FORMATS), "text", "how log lines look", choices=FORMATS),
    Field("log-level", _one_of(*LEVELS), "info", "which log lines appear", choices=LEVELS),
    Field(
        "netns",
        _path,
        "",
        "program this network namespace instead of the agent's own",
        "PATH",
        group="lab",
    ),
    Field(
        "command-prefix",
        _words,
        "",
        "words before each command that reads or changes the kernel, such as "
        '"nsenter --target=4711 --net --"',
        "WORDS",
        group="lab",
    ),
)

BY_NAME = {each.name: each for each in FIELDS}
