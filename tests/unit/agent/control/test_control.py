"""The control socket: who may ask, what is refused, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import msgspec
import pytest

from podwall.agent.control.client import ask, conversation
from podwall.agent.control.server import MOST_AT_ONCE, MOST_FOLLOWERS, ControlServer, Stream
from podwall.agent.control.words import MAX_REQUEST, Answer, AskExplain, AskStatus, Request
from podwall.agent.lock import agent_lock, make_state_dir, running_agent
from podwall.errors import AgentError, InputError

ENDED: list[int] = []
"""How many lines those streams told that have ended."""


async def counted(most: int) -> AsyncGenerator[bytes, None]:
    told = 0
    try:
        while told < most:
            told += 1
            yield b'"%d%s"' % (told, b"x" * 10_000)
            await asyncio.sleep(0)
    finally:
        ENDED.append(told)


async def silence() -> AsyncGenerator[bytes, None]:
    try:
        await asyncio.Event().wait()
        yield b""
    finally:
        ENDED.append(0)


async def echo(request: Request) -> object:
    match request:
        case AskExplain("nobody"):
            raise InputError("'nobody' is no pod")
        case AskExplain("broken"):
            raise AgentError("the kernel failed")
        case AskExplain("defect"):
            raise ZeroDivisionError
        case AskExplain("slow"):
            await asyncio.Event().wait()
        case AskExplain("counted", number):
            return Stream("so many", counted(int(number)))
        case AskExplain("endless"):
            return Stream("endless", counted(10**9), longest=None)
        case AskExplain("silent"):
            return Stream("silent", silence(), longest=None)
        case AskExplain("long"):
            return Stream("long", counted(10**9))
        case AskExplain("short"):
            return Stream("short", counted(10**9), longest=0.2)
    return msgspec.to_builtins(request)


@contextlib.asynccontextmanager
async def serving(path: Path, patience: float = 5) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, echo, patience)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def say(path: Path, said: bytes) -> Answer:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(said)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
        writer.write_eof()
    async with asyncio.timeout(20):
        answer = await reader.read()
    await close(writer)
    return msgspec.json.decode(answer, type=Answer)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def flood(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(20):
        while True:
            writer.write(b"x" * MAX_REQUEST)
            await writer.drain()


async def asked(directory: Path, request: Request) -> dict[str, str]:
    return await asyncio.to_thread(ask, str(directory), request, dict[str, str])


async def test_a_question_is_answered(tmp_path: Path) -> None:
    async with serving(tmp_path / "agent.sock"):
        assert await asked(tmp_path, AskExplain("a", "b")) == {
            "ask": "explain",
            "source": "a",
            "target": "b",
            "service": "80/tcp",
        }


async def test_errors_keep_their_kind_on_the_way(tmp_path: Path) -> None:
    async with serving(tmp_path / "agent.sock"):
        with pytest.raises(InputError, match="'nobody' is no pod"):
            await asked(tmp_path, AskExplain("nobody", "b"))
        with pytest.raises(AgentError, match="the kernel failed"):
            await asked(tmp_path, AskExplain("broken", "b"))
        with pytest.raises(AgentError, match="see its log"):
            await asked(tmp_path, AskExplain("defect", "b"))


def take(directory: Path, request: Request, most: int) -> tuple[str, list[bytes]]:
    with conversation(str(directory), request, str) as (head, lines):
        return head, list(itertools.islice(lines, most))


async def test_an_answer_can_go_on_line_by_line(tmp_path: Path) -> None:
    async with serving(tmp_path / "agent.sock"):
        head, lines = await asyncio.to_thread(take, tmp_path, AskExplain("counted", "40"), 100)
    assert head == "so many"
    assert [int(each[1:3].strip(b"x")) for each in lines] == list(range(1, 41))


async def test_a_stream_ends_when_its_reader_goes(tmp_path: Path) -> None:
    ENDED.clear()
    async with serving(tmp_path / "agent.sock"):
        head, lines = await asyncio.to_thread(take, tmp_path, AskExplain("endless", ""), 3)
        assert (head, len(lines)) == ("endless", 3)
        async with asyncio.timeout(20):
            while not ENDED:
                await asyncio.sleep(0.01)


async def test_a_stream_ends_when_its_reader_goes_also_if_there_is_nothing_to_tell(
    tmp_path: Path,
) -> None:
    ENDED.clear()
    async with serving(tmp_path / "agent.sock"):
        assert await asyncio.to_thread(take, tmp_path, AskExplain("silent", ""), 0) == (
            "silent",
            [],
        )
        async with asyncio.timeout(20):
            while not ENDED:
                await asyncio.sleep(0.01)


async def test_followers_are_few_and_leave_room_for_others(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    line = msgspec.json.encode(AskExplain("silent", "")) + b"\n"
    async with serving(path):
        following = [await asyncio.open_unix_connection(str(path)) for _ in range(MOST_FOLLOWERS)]
        async with asyncio.timeout(20):
            for reader, writer in following:
                writer.write(line)
                assert b"silent" in await reader.readline()
        answer = await say(path, line)
        assert answer.error == f"{MOST_FOLLOWERS} others are following already"
        for _ in range(MOST_AT_ONCE):
            assert (await asked(tmp_path, AskStatus()))["ask"] == "status"
        for _, writer in following:
            await close(writer)


async def test_a_stream_is_broken_off_that_takes_too_long(tmp_path: Path) -> None:
    async with serving(tmp_path / "agent.sock"):
        head, lines = await asyncio.to_thread(take, tmp_path, AskExplain("short", ""), 10**9)
    assert head == "short"
    assert lines


async def test_who_reads_nothing_of_a_stream_holds_it_for_a_while_only(tmp_path: Path) -> None:
    ENDED.clear()
    async with serving(tmp_path / "agent.sock", patience=0.2):
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "agent.sock"), limit=1024)
        writer.write(msgspec.json.encode(AskExplain("long", "")) + b"\n")
        async with asyncio.timeout(20):
            while not ENDED:
                await asyncio.sleep(0.01)
        await close(writer)


async def test_a_follower_that_reads_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    ENDED.clear()
    async with serving(tmp_path / "agent.sock"):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "agent.sock"), limit=9)
        writer.write(msgspec.json.encode(AskExplain("endless", "")) + b"\n")
        async with asyncio.timeout(20):
            await reader.read(1)
    assert len(ENDED) == 1
    await close(writer)


async def test_only_the_owner_can_open_the_socket(tmp_path: Path) -> None:
    async with serving(tmp_path / "agent.sock"):
        assert stat.S_IMODE((tmp_path / "agent.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}\n",
        b'{"ask":"status"}',
        b"\xff\n",
        b"[" * 5000 + b"\n",
        b'{"ask":"stop"}\n',
        b'{"ask":"status","x":' + b"[" * 50_000 + b"\n",
    ],
)
async def test_nonsense_is_refused_and_the_next_question_answered(
    tmp_path: Path, said: bytes
) -> None:
    async with serving(tmp_path / "agent.sock"):
        answer = await say(tmp_path / "agent.sock", said)
        assert answer.error
        assert answer.input
        assert (await asked(tmp_path, AskStatus()))["ask"] == "status"


async def test_an_endless_request_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path / "agent.sock"):
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "agent.sock"))
        with pytest.raises(ConnectionError):
            await flood(writer)
        await close(writer)
        assert (await asked(tmp_path, AskStatus()))["ask"] == "status"


async def test_who_says_nothing_is_sent_away(tmp_path: Path) -> None:
    async with serving(tmp_path / "agent.sock", patience=0.05):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "agent.sock"))
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        await close(writer)


async def test_too_many_at_once_are_told_so(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    async with serving(path):
        line = msgspec.json.encode(AskExplain("slow", "b")) + b"\n"
        waiting = [await asyncio.open_unix_connection(str(path)) for _ in range(MOST_AT_ONCE)]
        for _, writer in waiting:
            writer.write(line)
            await writer.drain()
        answer = await say(path, line)
        assert "others are asking" in answer.error
        for _, writer in waiting:
            await close(writer)


async def test_the_socket_of_a_dead_agent_is_replaced_and_ones_own_removed(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    async with serving(path):
        assert (await asked(tmp_path, AskStatus()))["ask"] == "status"
    assert not path.exists()


async def test_a_path_that_is_too_long_for_a_socket_is_an_error(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    with pytest.raises(InputError, match=r"control socket .* too long"):
        await ControlServer(directory / "agent.sock", echo).start()


def test_without_an_agent_the_error_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"no agent runs on this host: nothing listens on .*sock"):
        ask(str(tmp_path), AskStatus(), dict[str, str])


def test_an_agent_that_does_not_listen_yet_is_told_from_none(tmp_path: Path) -> None:
    with (
        agent_lock(tmp_path),
        pytest.raises(AgentError, match=rf"an agent runs here \(process {os.getpid()}\)"),
    ):
        ask(str(tmp_path), AskStatus(), dict[str, str])


def test_a_second_agent_is_refused_and_told_which_the_first_is(tmp_path: Path) -> None:
    pauses: list[float] = []
    with (
        agent_lock(tmp_path),
        pytest.raises(AgentError, match=f"another agent runs .* process {os.getpid()} holds"),
        agent_lock(tmp_path, pauses.append),
    ):
        pass
    assert 0.5 < sum(pauses) < 5
    with agent_lock(tmp_path):
        assert running_agent(tmp_path) == str(os.getpid())
    assert running_agent(tmp_path) is None


def test_the_state_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    make_state_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_state_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(InputError, match="others can write to it"):
        make_state_dir(tmp_path)
