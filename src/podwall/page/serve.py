"""The page in a browser, kept up to date: a small HTTP server on the loopback interface.

It answers reads, from this machine, to those who asked for it by a loopback name: a page of
somebody else's cannot read it by giving its own name this machine's address. Browsers wait on an
event stream for news and fetch the content again.
"""

from __future__ import annotations

import contextlib
import http.server
import ipaddress
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from podwall.errors import InputError, PodwallError
from podwall.page.content import Content
from podwall.page.html import render_html, security_policy

MOST_FOLLOWERS = 32
"""So many browsers can follow at a time."""

PING_EVERY = 15.0
"""Seconds after which a follower that has gone is noticed."""

REQUEST_PATIENCE = 10.0
"""Seconds that a request may take to be sent."""

Question = Callable[[Mapping[str, str]], object]


class State:
    """What is shown, and who waits for more. Any thread may ask, one thread shows."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._number = 0
        self._content: Content | None = None
        self._problem = ""
        self._closed = False

    def show(self, content: Content) -> None:
        """From now on this is shown."""
        with self._changed:
            self._content, self._problem = content, ""
            self._news()

    def complain(self, problem: str) -> None:
        """What is shown stays, and this is said of it."""
        with self._changed:
            if problem != self._problem:
                self._problem = problem
                self._news()

    def close(self) -> None:
        """Nothing comes any more."""
        with self._changed:
            self._closed = True
            self._news()

    @property
    def content(self) -> Content:
        """What is shown.

        Raises:
            LookupError: nothing was shown yet.
        """
        if self._content is None:
            raise LookupError("nothing was shown yet")
        return self._content

    @property
    def is_troubled(self) -> bool:
        """Whether something is said of what is shown."""
        return bool(self._problem)

    def wait(self, number: int, seconds: float) -> tuple[int, str, bool]:
        """Wait for news after ``number``: the number now, the problem, whether it goes on."""
        with self._changed:
            self._changed.wait_for(lambda: self._number != number or self._closed, seconds)
            return self.now()

    def now(self) -> tuple[int, str, bool]:
        """The same without waiting; the number grows with everything new."""
        with self._changed:
            return self._number, self._problem, not self._closed

    def _news(self) -> None:
        self._number += 1
        self._changed.notify_all()


class PageServer(http.server.ThreadingHTTPServer):
    """Serves a :class:`State` at ``host`` and ``port``; 0 is any port.

    ``questions`` answer what a page asks for later, by path; they raise :class:`PodwallError` for
    what they cannot answer.

    Raises:
        InputError: the address is none of the loopback interface, or is taken.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, host: str, port: int, state: State, questions: Mapping[str, Question]
    ) -> None:
        if not ipaddress.ip_address(host).is_loopback:
            raise InputError(f"{host} is not a loopback address: the page would be for everybody")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.state = state
        self.questions = questions
        self.followers = threading.BoundedSemaphore(MOST_FOLLOWERS)
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise InputError(f"{host} port {port}: {error.strerror}") from error

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        name = f"[{host!s}]" if self.address_family == socket.AF_INET6 else str(host)
        return f"http://{name}:{port}/"

    def is_own_name(self, host: str) -> bool:
        """Whether a Host header names this server by a loopback name."""
        name = urlsplit(f"//{host}").hostname or ""
        if name == "localhost":
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: PageServer
    timeout = REQUEST_PATIENCE
    server_version = "podwall"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a read."""
        if not self.server.is_own_name(self.headers.get("Host", "")):
            self._say(403, "text/plain", b"ask for it by a loopback name\n")
            return
        asked = urlsplit(self.path)
        match asked.path:
            case "/":
                page = render_html(self.server.state.content)
                self._say(200, "text/html; charset=utf-8", page.encode())
            case "/content.json":
                self._say_json(200, self.server.state.content)
            case "/events":
                self._follow()
            case path if path[1:] in self.server.questions:
                words = {name: each[0] for name, each in parse_qs(asked.query).items()}
                self._ask(self.server.questions[path[1:]], words)
            case _:
                self._say(404, "text/plain", b"there is nothing here\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's word
        """Requests are not logged: they are one person's clicks."""

    def _ask(self, question: Question, words: Mapping[str, str]) -> None:
        try:
            self._say_json(200, question(words))
        except PodwallError as error:
            self._say_json(422, {"error": str(error)})

    def _follow(self) -> None:
        if not self.server.followers.acquire(blocking=False):
            self._say(503, "text/plain", b"too many pages follow already\n")
            return
        try:
            self._head(200, "text/event-stream")
            self.end_headers()
            self._tell_news()
        except OSError:
            pass  # The browser has gone.
        finally:
            self.server.followers.release()

    def _tell_news(self) -> None:
        state = self.server.state
        number, problem, _ = state.now()
        self._write(b": hello\n\n")
        if problem:
            self._write_problem(problem)
        while True:
            now, problem, goes_on = state.wait(number, PING_EVERY)
            if not goes_on:
                break
            if now == number:
                self._write(b": still here\n\n")
            elif problem:
                self._write_problem(problem)
            else:
                self._write(b"event: content\ndata: {}\n\n")
            number = now

    def _write_problem(self, problem: str) -> None:
        self._write(b"event: problem\ndata: " + msgspec.json.encode(problem) + b"\n\n")

    def _write(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()

    def _say_json(self, status: int, value: object) -> None:
        self._say(status, "application/json", msgspec.json.encode(value))

    def _say(self, status: int, kind: str, body: bytes) -> None:
        self._head(status, kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def _head(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", security_policy(True))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
