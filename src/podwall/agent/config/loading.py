"""The configuration of an agent: a flag goes before the environment, that before the file.

What nothing sets has its default. Every text is checked, also one that another source overrules,
and an error says where it stands: ``PODWALL_CHECK_EVERY: "soon": expected a number of seconds …``.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping

import msgspec

from podwall.agent.config.fields import AUTO, BY_NAME, FIELDS, Field, Listen
from podwall.agent.config.file import nearest, read_config_file
from podwall.dataplane.iptables.mode import Mode
from podwall.errors import InputError
from podwall.model.decode import shown
from podwall.model.net import Cidr
from podwall.model.settings import DenyAction, Settings

FILE_VARIABLE = "PODWALL_CONFIG"
"""Names the configuration file where no flag does."""

NODE_VARIABLE = "NODE_NAME"
"""What manifests commonly call the node's name from the downward API."""

# A cluster tells every pod about a Service named podwall in variables like PODWALL_SERVICE_HOST and
# PODWALL_PORT_9642_TCP: these are nobody's mistake.
_SERVICE_LINK = re.compile(r"PODWALL_(.*_)?(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP|SCTP).*)?)\Z")

# What the lab tells the programs that it runs in a namespace: in which lab they are.
_LAB_VARIABLE = "PODWALL_LAB"


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an agent is told; see :data:`podwall.agent.config.fields.FIELDS`."""

    node_name: str
    kubeconfig: str = ""
    context: str = ""
    state_dir: str = "/run/podwall"
    listen: Listen | None = None
    metrics_listen: Listen | None = None
    mode: str = AUTO
    check_every: float = 5
    lock_wait: float = 10
    pod_cidrs: tuple[Cidr, ...] = ()
    deny: str = DenyAction.DROP.value
    allow_node_egress: bool = False
    open_unknown_pods: bool = False
    keep_connections: bool = False
    log_denied: bool = False
    log_group: int = Settings().log_group
    events: bool = True
    denied_events: bool = False
    unready_after: float = 30
    log_format: str = "text"
    log_level: str = "info"
    netns: str = ""
    command_prefix: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        """How the open questions of the specification are read."""
        return Settings(
            deny=DenyAction(self.deny),
            judge_node_egress=not self.allow_node_egress,
            close_unknown_pods=not self.open_unknown_pods,
            cut_connections=not self.keep_connections,
            log_denied=self.log_denied,
            log_group=self.log_group,
        )

    @property
    def iptables_mode(self) -> Mode | None:
        """The iptables mode, ``None`` to find it out."""
        return None if self.mode == AUTO else Mode(self.mode)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Words before each command that reads or changes the kernel."""
        inner = ("nsenter", f"--net={self.netns}", "--") if self.netns else ()
        return (*self.command_prefix, *inner)


class Origin(msgspec.Struct, frozen=True):
    """The text of a setting, and where it comes from: a flag, a variable, a file or ``default``."""

    field: Field
    text: str
    source: str


class Loaded(msgspec.Struct, frozen=True):
    """A configuration, the origin of each setting, and what is doubtful about it."""

    config: AgentConfig
    origins: tuple[Origin, ...]
    warnings: tuple[str, ...] = ()


def load_config(
    flags: Mapping[str, str], env: Mapping[str, str], file: str | None = None
) -> Loaded:
    """Put the configuration together.

    Args:
        flags: the texts of settings that the command line gives, by name.
        env: the environment.
        file: the configuration file that the command line names.

    Raises:
        InputError: a text cannot be used; the message says where it stands.
    """
    path = file or env.get(FILE_VARIABLE, "")
    origins = {each.name: Origin(each, each.default, "default") for each in FIELDS}
    for origin in (*_from_file(path), *_from_environment(env), *_from_flags(flags)):
        _parse(origin)
        origins[origin.field.name] = origin
    if not origins["node-name"].text:
        origins["node-name"] = _default_node_name(env)
    values = {origin.field.attribute: _parse(origin) for origin in origins.values()}
    config = AgentConfig(**values)  # type: ignore[arg-type]
    _check_together(config)
    return Loaded(config, tuple(origins.values()), tuple(_doubts(env)))


def _from_file(path: str) -> list[Origin]:
    if not path:
        return []
    return [
        Origin(BY_NAME[name], text, f"{path}: {name}")
        for name, text in read_config_file(path).items()
    ]


def _from_environment(env: Mapping[str, str]) -> list[Origin]:
    # An empty variable is how manifests write "not set".
    return [
        Origin(each, env[each.variable], each.variable) for each in FIELDS if env.get(each.variable)
    ]


def _from_flags(flags: Mapping[str, str]) -> list[Origin]:
    return [Origin(BY_NAME[name], text, f"--{name}") for name, text in flags.items()]


def _default_node_name(env: Mapping[str, str]) -> Origin:
    field = BY_NAME["node-name"]
    if env.get(NODE_VARIABLE):
        return Origin(field, env[NODE_VARIABLE], NODE_VARIABLE)
    return Origin(field, socket.gethostname().lower(), "the host name")


def _parse(origin: Origin) -> object:
    try:
        return origin.field.parse(origin.text)
    except ValueError as error:
        raise InputError(f"{origin.source}: {shown(origin.text)}: {error}") from None


def _check_together(config: AgentConfig) -> None:
    if config.listen and config.listen == config.metrics_listen and config.listen.port:
        raise InputError(
            f"metrics-listen: {config.listen} is the address of listen, which has the metrics too"
        )


def _doubts(env: Mapping[str, str]) -> Iterable[str]:
    known = {each.variable for each in FIELDS} | {FILE_VARIABLE}
    for name in sorted(env.keys() - known - {_LAB_VARIABLE}):
        if name.startswith("PODWALL_") and not _SERVICE_LINK.match(name):
            yield f"the environment variable {shown(name)} sets nothing{nearest(name, known)}"


def render_config(loaded: Loaded) -> str:
    """The configuration as a file that means the same, with a comment where each value is from."""
    lines = []
    for origin in loaded.origins:
        value = msgspec.json.encode(_plain(origin)).decode()
        lines.append(f"{origin.field.name}: {value}  # {shown(origin.source, 200)[1:-1]}")
    return "\n".join(lines) + "\n"


def config_dict(loaded: Loaded) -> dict[str, object]:
    """The configuration as plain values."""
    return {origin.field.name: _plain(origin) for origin in loaded.origins}


def _plain(origin: Origin) -> object:
    match origin.field.parse(origin.text):
        case bool() | float() as value:
            return int(value) if isinstance(value, float) and value.is_integer() else value
        case tuple() if origin.field.many:
            return [word.strip() for word in origin.text.split(",") if word.strip()]
        case _:
            return origin.text
