"""The sets of the fake kernel: what ``ipset restore`` and ``ipset save`` do to them.

Lines take effect one by one; those before a refused line stay. The refusals are those of ipset 7
and of the kernel, in their words.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from podwall.dataplane.memory.errors import Refused
from podwall.dataplane.refusal import IN_USE
from podwall.errors import AddressError
from podwall.model.net import Family, host_cidr, parse_address, parse_cidr

NAME_LIMIT = 31
DEFAULT_MAX_MEMBERS = 65536
TYPES = ("hash:ip", "hash:net", "hash:ip,port", "hash:ip,port,ip", "hash:net,net", "bitmap:port")
PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "icmpv6", "udplite", "gre", "esp")


class MemorySet:
    """One set: its kind, and its members as ipset prints them, with the options of each."""

    def __init__(
        self, kind: str, family: Family, max_members: int, timeout: int | None, hash_size: int
    ) -> None:
        self.kind = kind
        self.family = family
        self.max_members = max_members
        self.timeout = timeout
        self.hash_size = hash_size
        self.members: dict[str, str] = {}

    def same_kind(self, other: MemorySet) -> bool:
        """Whether creating ``other`` under this one's name succeeds with ``-exist``."""
        return (self.kind, self.family, self.max_members, self.timeout) == (
            other.kind,
            other.family,
            other.max_members,
            other.timeout,
        )

    def header(self) -> str:
        """What stands after the name in ``create``."""
        timeout = "" if self.timeout is None else f" timeout {self.timeout}"
        return (
            f"{self.kind} family {self.family.ipset_name} hashsize {self.hash_size} "
            f"maxelem {self.max_members}{timeout} bucketsize 12 initval 0x2e9cc32c"
        )


class Sets:
    """All sets of a kernel. ``in_use`` tells whether a rule names a set."""

    def __init__(self, in_use: Callable[[str], bool]) -> None:
        self.by_name: dict[str, MemorySet] = {}
        self._in_use = in_use

    def save(self, only: str | None = None) -> str:
        """What ``ipset save`` prints, of all sets or of one."""
        lines = []
        for name, ipset in self.by_name.items():
            if only not in (None, name):
                continue
            lines.append(f"create {name} {ipset.header()}")
            lines += [f"add {name} {each}{more}" for each, more in ipset.members.items()]
        return "".join(f"{line}\n" for line in lines)

    def restore(self, text: str, before_line: Callable[[int, str], None]) -> None:
        """Take a batch.

        Raises:
            Refused: a line is refused; the lines before it stay.
        """
        for number, line in enumerate(text.split("\n"), start=1):
            if not line or line.startswith("#"):
                continue
            before_line(number, line)
            verb, *words = line.split()
            exist = "-exist" in words
            words = [word for word in words if word != "-exist"]
            match verb, words:
                case "create", [name, kind, *options]:
                    self._create(number, name, kind, options, exist)
                case (("add" | "del"), [name, member, *options]):
                    self._change(number, verb, name, member, options, exist)
                case "flush", [name] if name in self.by_name:
                    self.by_name[name].members.clear()
                case "destroy", [name]:
                    self._destroy(number, name, exist)
                case _:
                    raise Refused(number, f"unknown argument {line}")

    def _create(self, number: int, name: str, kind: str, options: list[str], exist: bool) -> None:
        if len(name) > NAME_LIMIT:
            raise Refused(number, f"Syntax error: setname '{name}' is longer than 31 characters")
        if kind not in TYPES:
            raise Refused(number, f"Syntax error: unknown settype {kind}")
        values = dict(itertools.pairwise(options))
        family = Family.V6 if values.get("family") == "inet6" else Family.V4
        timeout = values.get("timeout")
        made = MemorySet(
            kind,
            family,
            int(values.get("maxelem", DEFAULT_MAX_MEMBERS)),
            None if timeout is None else int(timeout),
            int(values.get("hashsize", 1024)),
        )
        if name not in self.by_name:
            self.by_name[name] = made
        elif not exist or not self.by_name[name].same_kind(made):
            raise Refused(number, "Set cannot be created: set with the same name already exists")

    def _change(
        self, number: int, verb: str, name: str, member: str, options: list[str], exist: bool
    ) -> None:
        ipset = self.by_name.get(name)
        if ipset is None:
            raise Refused(number, "The set with the given name does not exist")
        key = _canonical(number, ipset, member)
        present = key in ipset.members
        if verb == "del":
            if not present and not exist:
                raise Refused(number, "Element cannot be deleted from the set: it's not added")
            ipset.members.pop(key, None)
            return
        if present and not exist:
            raise Refused(number, "Element cannot be added to the set: it's already added")
        if not present and len(ipset.members) >= ipset.max_members:
            raise Refused(number, "Hash is full, cannot add more elements")
        timeout = "" if ipset.timeout is None else f" timeout {ipset.timeout}"
        ipset.members[key] = f"{timeout}{' nomatch' if 'nomatch' in options else ''}"

    def _destroy(self, number: int, name: str, exist: bool) -> None:
        if name not in self.by_name:
            if not exist:
                raise Refused(number, "The set with the given name does not exist")
        elif self._in_use(name):
            raise Refused(number, f"Set cannot be destroyed: it is {IN_USE}")
        else:
            del self.by_name[name]


def _canonical(number: int, ipset: MemorySet, member: str) -> str:
    """A member as ipset prints it.

    Raises:
        Refused: the set cannot hold it.
    """
    try:
        if ipset.kind == "hash:net":
            return _net(number, ipset.family, member)
        if ipset.kind == "bitmap:port":
            return member
        parts = member.split(",")
        words = [_address(number, ipset.family, parts[0])]
        if len(parts) > 1:
            words.append(_port(number, parts[1]))
        words += [_address(number, ipset.family, each) for each in parts[2:]]
        if len(words) != len(ipset.kind.split(",")):
            raise Refused(number, f"Syntax error: {member} does not fit {ipset.kind}")
        if words[0] in ("0.0.0.0", "::") and len(words) < 3:  # noqa: S104  # compared, not bound
            raise Refused(number, "Null-valued element, cannot be stored in a hash type of set")
        return ",".join(words)
    except AddressError as error:
        raise Refused(number, f"Syntax error: cannot parse {member}: {error}") from error


def _net(number: int, family: Family, member: str) -> str:
    cidr = parse_cidr(member) if "/" in member else host_cidr(parse_address(member))
    if cidr.family is not family:
        raise _wrong_family(number, family, member)
    if cidr.prefix == 0:
        raise Refused(number, "The value of the CIDR parameter of the IP address is invalid")
    text = str(cidr)
    return text.partition("/")[0] if cidr.prefix == family.bits else text


def _address(number: int, family: Family, text: str) -> str:
    address = parse_address(text)
    if address.family is not family:
        raise _wrong_family(number, family, text)
    return str(address)


def _wrong_family(number: int, family: Family, text: str) -> Refused:
    return Refused(
        number,
        f"Syntax error: cannot parse {text}: resolving to IPv{family.value} address failed",
    )


def _port(number: int, text: str) -> str:
    protocol, _, port = text.partition(":")
    if protocol not in PROTOCOLS or not port.isdecimal() or int(port) > 65535:
        raise Refused(number, f"Syntax error: '{text}' is no port")
    return f"{protocol}:{int(port)}"
