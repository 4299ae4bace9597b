"""The page in a browser: who may read it, and how it tells of news."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping

import msgspec
import pytest

from podwall.errors import InputError
from podwall.page import Content
from podwall.page.serve import MOST_FOLLOWERS, PageServer, State
from tests.unit.page.test_html import content


def _refuse(words: Mapping[str, str]) -> object:
    raise InputError(f"there is no {words['from']}")


@pytest.fixture
def server() -> Iterator[PageServer]:
    state = State()
    state.show(content("first", live=True))
    with PageServer("127.0.0.1", 0, state, {"explain": _refuse, "echo": dict}) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        state.close()
        found.shutdown()
        thread.join()


def ask(
    server: PageServer, path: str, host: str = "", method: str = "GET"
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request(method, path, headers={"Host": host} if host else {})
    return connection.getresponse()


def test_the_page_and_its_content_are_there(server: PageServer) -> None:
    reply = ask(server, "/")
    assert reply.status == 200
    assert "connect-src 'self'" in reply.headers["Content-Security-Policy"]
    assert b"<title>first</title>" in reply.read()
    found = msgspec.json.decode(ask(server, "/content.json").read(), type=Content)
    assert found == server.state.content


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "192.0.2.1", "[2001:db8::1]", "::"]
)
def test_other_names_than_loopback_are_turned_away(server: PageServer, host: str) -> None:
    assert ask(server, "/content.json", host).status == 403


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "127.9.9.9:2", "[::1]:3"])
def test_loopback_names_are_served(server: PageServer, host: str) -> None:
    assert ask(server, "/content.json", host).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_there_is_nothing_but_reading(server: PageServer, method: str) -> None:
    assert ask(server, "/", method=method).status == 501


@pytest.mark.parametrize("path", ["/../etc/passwd", "/explain/", "/assets/page.css"])
def test_there_are_no_files(server: PageServer, path: str) -> None:
    assert ask(server, path).status == 404


def test_a_question_that_has_no_answer_says_why(server: PageServer) -> None:
    reply = ask(server, "/explain?from=nobody%2Fx")
    assert reply.status == 422
    assert json.loads(reply.read()) == {"error": "there is no nobody/x"}


def next_event(stream: http.client.HTTPResponse) -> str:
    for line in stream:
        if line.startswith(b"event: "):
            return line[7:].decode().strip()
    return "end"


def test_news_come_as_events_and_the_end_ends_them(server: PageServer) -> None:
    stream = ask(server, "/events")
    assert stream.readline() == b": hello\n"
    server.state.show(content("second", live=True))
    assert next_event(stream) == "content"
    server.state.complain("broken")
    assert next_event(stream) == "problem"
    assert server.state.content.title == "second"
    server.state.close()
    assert next_event(stream) == "end"


def test_too_many_followers_are_turned_away(server: PageServer) -> None:
    streams = [ask(server, "/events") for _ in range(MOST_FOLLOWERS)]
    assert all(stream.status == 200 for stream in streams)
    assert ask(server, "/events").status == 503


def test_it_listens_on_this_machine_only() -> None:
    with pytest.raises(InputError, match="not a loopback address"):
        PageServer("0.0.0.0", 0, State(), {})


def test_a_port_that_is_taken_is_said(server: PageServer) -> None:
    port = int(server.server_address[1])
    with pytest.raises(InputError, match=f"port {port}: Address already in use"):
        PageServer("127.0.0.1", port, State(), {})
