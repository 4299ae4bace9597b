"""The image's build file: what can be told of it without a builder and a registry."""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from podwall.dataplane.command import PACKAGES
from tests.deploy.rendered import DEPLOY, ROOT

TEXT = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

IMAGE = {"python_version": "3.11", "python_full_version": "3.11.2", "sys_platform": "linux"}

# What the agent starts on a node; nsenter and the like are the lab's.
PROGRAMS = ("iptables", "ip6tables", "ipset", "ip")


def _instructions() -> Iterator[tuple[str, str]]:
    """Instructions and what follows them, continued lines joined."""
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, rest = line.split(maxsplit=1)
            yield word, rest


INSTRUCTIONS = tuple(_instructions())


def _all(word: str) -> list[str]:
    return [rest for each, rest in INSTRUCTIONS if each == word]


def test_both_stages_start_from_the_base_that_can_be_chosen() -> None:
    assert INSTRUCTIONS[0] == ("ARG", "BASE=docker.io/library/python:3.11-slim-bookworm")
    assert _all("FROM") == ["${BASE} AS build", "${BASE}"]
    assert "3.11" in SpecifierSet(PROJECT["requires-python"])


def test_what_is_copied_is_there_and_is_let_into_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = [line[1:] for line in rules if line.startswith("!")]
    sources = [
        source
        for copy in _all("COPY")
        if not copy.startswith("--from=")
        for source in copy.split()[:-1]
    ]
    assert sorted(sources) == sorted(let_in)
    for source in sources:
        assert (ROOT / source).exists()
    # What the build of the package reads has to be among them.
    assert {PROJECT["readme"], "pyproject.toml", "src", "LICENSE"} <= set(sources)
    assert not any(fnmatch.fnmatch(source, "**/__pycache__") for source in sources)


def test_python_packages_are_installed_by_their_hashes() -> None:
    installs = re.findall(r"pip install(.*?)(?:&&|$)", "\n".join(_all("RUN")), re.MULTILINE)
    assert len(installs) == 2
    locked, own = installs
    assert "--require-hashes" in locked
    assert "--only-binary :all:" in locked
    assert "--no-index" in own
    assert "--no-deps" in own


def test_what_only_builds_is_removed_and_what_runs_is_not() -> None:
    [removed] = re.findall(r"pip uninstall --yes (.*)", "\n".join(_all("RUN")))
    lock = (ROOT / "requirements" / "agent.txt").read_text(encoding="utf-8")
    locked = {canonicalize_name(each) for each in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    needed = _closure("podwall", "agent") - {"podwall"}
    assert needed <= locked
    assert set(removed.split()) == locked - needed | {"pip", "setuptools"}


def _closure(name: str, *extras: str) -> set[str]:
    """What a package needs to run, and what that needs in turn."""
    found = {canonicalize_name(name)}
    for text in requires(name) or ():
        wanted = Requirement(text)
        chosen = [{**IMAGE, "extra": each} for each in (*extras, "")]
        if wanted.marker is None or any(map(wanted.marker.evaluate, chosen)):
            found |= _closure(wanted.name, *wanted.extras)
    return found


def test_the_image_has_the_programs_that_the_agent_starts() -> None:
    [install] = re.findall(r"apt-get install --yes --no-install-recommends ([a-z0-9 -]+)", TEXT)
    packages = install.split()
    # netbase: see the test of privileges, which cuts a connection.
    assert packages == sorted({PACKAGES[each] for each in PROGRAMS} | {"netbase"})
    [path] = re.findall(r"PATH=(\S+)", "\n".join(_all("ENV")))
    assert path.split(":")[0] == "/opt/podwall/bin"
    assert {"/usr/sbin", "/sbin", "/usr/bin", "/bin"} <= set(path.split(":"))


def test_it_starts_without_a_shell() -> None:
    [entry], [words] = _all("ENTRYPOINT"), _all("CMD")
    assert json.loads(entry) == ["/opt/podwall/bin/podwall"]
    assert json.loads(words) == ["agent"]
    assert "podwall" in PROJECT["scripts"]


def test_nothing_secret_is_asked_for_and_nothing_comes_from_elsewhere() -> None:
    assert not _all("ADD")
    assert len(_all("ARG")) == 1
    assert "curl" not in TEXT
    assert "wget" not in TEXT
