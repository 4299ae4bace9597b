"""The cluster as an agent tells it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from podwall.agent.control.client import ask_cluster
from podwall.agent.control.explaining import REFUSED
from podwall.agent.control.server import ControlServer, Stream
from podwall.agent.control.telling import gather, tell
from podwall.agent.control.words import AskCluster, Request
from podwall.agent.reconcile.picture import Picture
from podwall.api import Cluster
from podwall.cluster.snapshot import Snapshot
from podwall.errors import AgentError
from podwall.model.net import Family
from podwall.model.settings import Settings
from tests.builders import pod
from tests.unit.agent.reconcile.rig import NODE, Rig
from tests.unit.dataplane.scenario import BAD, GOOD, cluster

SETTINGS = Settings(judge_node_egress=False)


@contextlib.asynccontextmanager
async def telling(rig: Rig, directory: Path) -> AsyncIterator[None]:
    async def answer(request: Request) -> object:
        assert isinstance(request, AskCluster)
        picture = Picture(NODE, SETTINGS, rig.keeper.live, rig.keeper.dataplane)
        gathered = gather(picture, request.known)
        return Stream(gathered.head, tell(gathered))

    server = ControlServer(directory / "agent.sock", answer)
    await server.start()
    try:
        yield
    finally:
        await server.stop()


async def told(directory: Path, known: str = "") -> tuple[str, Snapshot | None]:
    head, snapshot = await asyncio.to_thread(ask_cluster, str(directory), known)
    return head.known, snapshot


async def test_the_cluster_is_told_with_the_switches_of_the_agent(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.sync(cluster())
    assert rig.keeper.live is not None
    async with telling(rig, tmp_path):
        found = await asyncio.to_thread(Cluster.of_agent, str(tmp_path))
    assert found.settings == SETTINGS
    assert found.snapshot == rig.keeper.live.state.snapshot()


async def test_before_everything_was_seen_there_is_no_cluster_to_tell(tmp_path: Path) -> None:
    async with telling(Rig(tmp_path), tmp_path):
        with pytest.raises(AgentError, match="has not seen the whole cluster"):
            await told(tmp_path)


async def test_who_knows_the_cluster_is_not_told_it_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.sync(cluster())
    async with telling(rig, tmp_path):
        known, _ = await told(tmp_path)
        assert await told(tmp_path, known) == (known, None)
        rig.give(pod("dev/web", "10.0.0.10", node=NODE, app="new"))
        newer, snapshot = await told(tmp_path, known)
    assert newer != known
    assert snapshot is not None


async def test_a_policy_that_the_kernel_refuses_is_told_as_it_is_enforced(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for family in Family:
        rig.kernel.tables[rig.mode, family].refuses = lambda spec: "dev/bad" in spec
    rig.sync(cluster())
    picture = Picture(NODE, SETTINGS, rig.keeper.live, None)
    told_of = {each.key: each for each in gather(picture).parts.policies}
    assert told_of[BAD].problems == (REFUSED,)
    assert not told_of[BAD].ingress
    assert told_of[GOOD].ingress


async def test_an_answer_that_was_cut_off_is_no_cluster(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.sync(cluster())

    async def half(_request: Request) -> object:
        gathered = gather(Picture(NODE, SETTINGS, rig.keeper.live, None))
        parts = msgspec.structs.replace(gathered.parts, pods=())
        return Stream(gathered.head, tell(msgspec.structs.replace(gathered, parts=parts)))

    server = ControlServer(tmp_path / "agent.sock", half)
    await server.start()
    with pytest.raises(AgentError, match="ended before it had answered"):
        await told(tmp_path)
    await server.stop()
