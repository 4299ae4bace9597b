"""Every way to say who we are, on a server with TLS that wants to know."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podwall.agent.watch.client import ApiClient
from podwall.agent.watch.credentials import Access, load_access
from podwall.agent.watch.identity import Identity
from podwall.dataplane.command import Runner, SystemRunner
from podwall.errors import ApiGarbled, ApiUnauthorized, ApiUnreachable, InputError
from podwall.lab.apiserver.server import Server
from tests.unit.agent.watch.secured import (
    PODS,
    Authority,
    InProcess,
    Json,
    b64,
    config,
    execution,
    plugin,
    pods_by,
    saying,
    secured,
    written,
)
from tests.unit.agent.watch.watching import QUICK

TOKEN = "let-me-in"
NOWHERE = Path("/nonexistent")


class Clock:
    """Seconds since the epoch, as a test has them."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def authority() -> Authority:
    """One CA for all; making one is slow."""
    return Authority()


@pytest.fixture
async def server(authority: Authority) -> AsyncIterator[Server]:
    """A server that lets in bearers of one token."""
    async with secured(authority, TOKEN) as found:
        yield found


async def access_by(path: Path, runner: Runner | None = None, clock: Clock | None = None) -> Access:
    """The access that a kubeconfig gives."""
    return await load_access(
        path,
        None,
        env={},
        runner=runner or InProcess(),
        service_account=NOWHERE,
        clock=clock or Clock(),
    )


# Kubeconfigs


async def test_a_token_and_a_ca_written_out(
    authority: Authority, server: Server, tmp_path: Path
) -> None:
    """As agents do it: in a process of its own."""
    cluster = {"certificate-authority-data": b64(authority.pem)}
    path = written(tmp_path, config(server.url, cluster, {"token": TOKEN}))
    assert await pods_by(await access_by(path, SystemRunner())) == []


async def test_a_token_and_a_ca_in_files_next_to_the_kubeconfig(
    authority: Authority, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text(authority.pem, encoding="ascii")
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="ascii")
    cluster, user = {"certificate-authority": "ca.pem"}, {"tokenFile": "token"}
    path = written(tmp_path, config(server.url, cluster, user))
    assert await pods_by(await access_by(path)) == []


@pytest.mark.parametrize("in_files", [True, False])
async def test_a_client_certificate(
    authority: Authority, server: Server, tmp_path: Path, in_files: bool
) -> None:
    certificate, key = authority.client()
    user = {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}
    if in_files:
        (tmp_path / "me.pem").write_text(certificate, encoding="ascii")
        (tmp_path / "me.key").write_text(key, encoding="ascii")
        user = {"client-certificate": "me.pem", "client-key": "me.key"}
    cluster = {"certificate-authority-data": b64(authority.pem)}
    path = written(tmp_path, config(server.url, cluster, user))
    assert await pods_by(await access_by(path)) == []


async def test_a_user_without_credentials_is_nobody(
    authority: Authority, server: Server, tmp_path: Path
) -> None:
    cluster = {"certificate-authority-data": b64(authority.pem)}
    access = await access_by(written(tmp_path, config(server.url, cluster)))
    with pytest.raises(ApiUnauthorized):
        await pods_by(access)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_an_exec_plugin_gives_a_token(
    authority: Authority, server: Server, tmp_path: Path, version: str
) -> None:
    """In a process of its own, started where the kubeconfig is, with what this gives it."""
    body = 'info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])\n'
    body += (
        f'assert info["apiVersion"].endswith("/{version}") and not info["spec"]["interactive"]\n'
    )
    body += saying(version, '{"token": sys.argv[1] + os.environ["SECOND"]}')
    plugin(tmp_path, body)
    user = execution(version, "./plugin", args=["let-me"], env=[{"name": "SECOND", "value": "-in"}])
    cluster = {"certificate-authority-data": b64(authority.pem)}
    path = written(tmp_path, config(server.url, cluster, user))
    assert await pods_by(await access_by(path, SystemRunner())) == []


async def test_an_exec_plugin_gives_a_client_certificate(
    authority: Authority, server: Server, tmp_path: Path
) -> None:
    certificate, key = authority.client()
    status = {"clientCertificateData": certificate, "clientKeyData": key}
    program = plugin(tmp_path, saying("v1", repr(status)))
    cluster = {"certificate-authority-data": b64(authority.pem)}
    path = written(tmp_path, config(server.url, cluster, execution("v1", str(program))))
    assert await pods_by(await access_by(path)) == []


async def test_an_exec_plugin_that_fails_says_why(tmp_path: Path) -> None:
    program = plugin(tmp_path, 'sys.exit("log in first")')
    path = written(tmp_path, config("https://lab", None, execution("v1", str(program))))
    with pytest.raises(InputError, match=r"config: exec: process returned 1. log in first"):
        await access_by(path, SystemRunner())


async def test_a_certificate_for_another_name(authority: Authority, tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": b64(authority.pem)}
    async with secured(authority, TOKEN, names=("kube.example",)) as server:
        path = written(tmp_path, config(server.url, cluster, {"token": TOKEN}))
        with pytest.raises(ApiUnreachable, match=r"mismatch|doesn't match"):
            await pods_by(await access_by(path))
        named = {**cluster, "tls-server-name": "kube.example"}
        path = written(tmp_path, config(server.url, named, {"token": TOKEN}))
        assert await pods_by(await access_by(path)) == []


async def test_a_server_of_another_ca_gets_no_token(server: Server, tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": b64(Authority().pem)}
    path = written(tmp_path, config(server.url, cluster, {"token": TOKEN}))
    with pytest.raises(ApiUnreachable, match="certificate verify failed"):
        await pods_by(await access_by(path))
    path = written(tmp_path, config(server.url, None, {"token": TOKEN}))
    with pytest.raises(ApiUnreachable, match="certificate verify failed"):
        await pods_by(await access_by(path))
    assert server.asked == ()


async def test_any_certificate_will_do_if_the_kubeconfig_says_so(
    server: Server, tmp_path: Path
) -> None:
    cluster = {"insecure-skip-tls-verify": True}
    path = written(tmp_path, config(server.url, cluster, {"token": TOKEN}))
    assert await pods_by(await access_by(path)) == []


async def test_a_proxy_on_the_way(authority: Authority, server: Server, tmp_path: Path) -> None:
    tunnels: list[bytes] = []

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        tunnels.append(await client.readuntil(b"\r\n\r\n"))
        there, onward = await asyncio.open_connection("127.0.0.1", int(server.url.split(":")[-1]))
        back.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(copy(client, onward))
            group.create_task(copy(there, back))

    async with await asyncio.start_server(serve, "127.0.0.1") as proxy:
        port = proxy.sockets[0].getsockname()[1]
        cluster = {
            "certificate-authority-data": b64(authority.pem),
            "proxy-url": f"http://user:word@127.0.0.1:{port}",
            "tls-server-name": "127.0.0.1",
        }
        user = {"token": TOKEN}
        path = written(tmp_path, config("https://kube.invalid:6443", cluster, user))
        assert await pods_by(await access_by(path)) == []
    assert tunnels[0].startswith(b"CONNECT kube.invalid:6443 HTTP/1.1")
    assert b"Proxy-Authorization: Basic" in tunnels[0]
    assert TOKEN.encode() not in tunnels[0]


async def test_a_proxy_that_refuses_us_is_told_without_its_password(
    authority: Authority, tmp_path: Path
) -> None:
    async def serve(client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await client.readuntil(b"\r\n\r\n")
        back.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        back.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as proxy:
        port = proxy.sockets[0].getsockname()[1]
        cluster = {
            "certificate-authority-data": b64(authority.pem),
            "proxy-url": f"http://user:word@127.0.0.1:{port}",
        }
        path = written(tmp_path, config("https://kube.invalid:6443", cluster, {"token": TOKEN}))
        with pytest.raises(ApiGarbled, match="407 Proxy Authentication Required") as refused:
            await pods_by(await access_by(path))
    assert "word" not in str(refused.value)


async def test_words_between_certificates_may_be_of_any_language(
    authority: Authority, server: Server, tmp_path: Path
) -> None:
    pem = f"# Österreich, 日本\n{authority.pem}"
    cluster = {"certificate-authority-data": b64(pem)}
    path = written(tmp_path, config(server.url, cluster, {"token": TOKEN}))
    assert await pods_by(await access_by(path)) == []


@pytest.mark.parametrize("token", ["two\nlines", "schlüssel", "nul\0"])
async def test_a_token_that_no_header_can_hold_is_refused_and_not_shown(
    token: str, tmp_path: Path
) -> None:
    path = written(tmp_path, config("http://127.0.0.1:1", {}, {"token": token}))
    with pytest.raises(InputError, match="the token holds what no HTTP header can") as refused:
        await access_by(path)
    assert token not in str(refused.value)


async def test_a_user_in_the_url_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, config("http://user:word@127.0.0.1:1", {}, {"token": TOKEN}))
    with pytest.raises(InputError, match="a user in the server's URL is not supported") as refused:
        await access_by(path)
    assert "word" not in str(refused.value)


async def test_another_context_than_the_current_one(
    authority: Authority, server: Server, tmp_path: Path
) -> None:
    content = config("https://elsewhere.invalid", None, {"token": "other"})
    content["clusters"].append(
        {
            "name": "b",
            "cluster": {
                "server": server.url,
                "certificate-authority-data": b64(authority.pem),
            },
        }
    )
    content["users"].append({"name": "b", "user": {"token": TOKEN}})
    content["contexts"].append({"name": "b", "context": {"cluster": "b", "user": "b"}})
    path = written(tmp_path, content)
    access = await load_access(path, "b", env={}, runner=InProcess(), service_account=NOWHERE)
    assert await pods_by(access) == []


async def test_without_a_kubeconfig_it_is_kubectls(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    at_home = written(tmp_path, config("https://home"), ".kube/config")
    one = written(tmp_path, {**config("https://one"), "current-context": ""}, "one")
    two = written(tmp_path, {"current-context": "it", "contexts": [], "users": []}, "two")

    async def found(**env: str) -> str:
        access = await load_access(
            None, env={"HOME": str(tmp_path), **env}, runner=InProcess(), service_account=NOWHERE
        )
        return access.base_url

    assert await found() == "https://home"
    assert await found(KUBECONFIG=f"{one}:{two}") == "https://one"
    assert await found(KUBECONFIG=f"{tmp_path}/none:{at_home}") == "https://home"


async def test_a_kubeconfig_and_no_service_account_is_an_error_that_says_both() -> None:
    with pytest.raises(InputError, match=r"neither a service account in /nonexistent nor a kube"):
        await load_access(None, env={"HOME": "/nonexistent"}, service_account=NOWHERE)


def broken(section: str, **change: object) -> Json:
    content = config("https://lab", {}, {"token": "t"})
    content[section][0][section.removesuffix("s")].update(change)
    return content


BROKEN = {
    "no such file": (None, r"kubeconfig .*/config: there is no such file"),
    "no mapping": ([], "it is no mapping"),
    "no context": ({}, "it has no current-context; there are none"),
    "unknown context": (
        {**config("https://lab"), "current-context": "that"},
        'there is no context "that"; there are "it"',
    ),
    "unknown user": (broken("contexts", user="who"), 'there is no user "who"; there are "agent"'),
    "no cluster": (broken("contexts", cluster=None), 'context "it" names no cluster'),
    "no server": (broken("clusters", server=None), "server is no http or https URL"),
    "no url": (broken("clusters", server="lab:6443"), "server is no http or https URL"),
    "no proxy": (
        broken("clusters", **{"proxy-url": "socks5://here"}),
        "proxy-url is no http or https URL",
    ),
    "no ca file": (
        broken("clusters", **{"certificate-authority": "ca.pem"}),
        r'cluster "lab": certificate-authority: there is no file .*/ca.pem',
    ),
    "no base64": (
        broken("clusters", **{"certificate-authority-data": "%"}),
        "certificate-authority-data is no base64",
    ),
    "no certificate": (
        broken("clusters", **{"certificate-authority-data": b64("none")}),
        "https://lab: its CA certificates cannot be used",
    ),
    "no client certificate": (
        broken("users", **{"client-certificate-data": b64("x"), "client-key-data": b64("y")}),
        "client certificate or its key cannot be used",
    ),
    "no token file": (
        {**config("https://lab", {}, {"tokenFile": "/nonexistent/t"})},
        'user "agent": tokenFile: there is no file /nonexistent/t',
    ),
    "insecure with ca": (
        broken(
            "clusters",
            **{"certificate-authority-data": b64("x"), "insecure-skip-tls-verify": True},
        ),
        "insecure-skip-tls-verify together with a certificate-authority",
    ),
    "impersonation": (broken("users", **{"as": "admin"}), "impersonation .as. is not supported"),
    "no program": (
        config("https://lab", {}, execution("v1", "/nonexistent/plugin")),
        "No such file or directory.*/nonexistent/plugin",
    ),
    "other version": (
        config("https://lab", {}, execution("v1", sys.executable, args=["-c", "print('{}')"])),
        "malformed response",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_unusable_kubeconfig_is_an_error_that_says_what_is_wrong(
    tmp_path: Path, name: str
) -> None:
    content, expected = BROKEN[name]
    if content is not None:
        (tmp_path / "config").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        await access_by(tmp_path / "config")


async def test_a_file_that_is_no_yaml_is_told_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a: b\nc: [\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"it is no YAML: .*line 3"):
        await access_by(tmp_path / "config", SystemRunner())


# Keeping them fresh


async def test_a_token_is_taken_anew_before_it_expires(
    authority: Authority, tmp_path: Path
) -> None:
    clock, runner = Clock(), InProcess()
    counter = tmp_path / "count"
    counter.write_text("", encoding="ascii")
    body = f'file = open({str(counter)!r}, "a+")\nfile.write("x")\nfile.seek(0)\n'
    body += "count = len(file.read())\n"
    # The first expires in a hundred seconds, the next in two hundred.
    body += "import datetime as d\n"
    body += f"ends = d.datetime.fromtimestamp({clock.now} + 100 * count, d.UTC).isoformat()\n"
    body += saying("v1", '{"token": f"token-{count}", "expirationTimestamp": ends}')
    program = plugin(tmp_path, body)
    path = written(tmp_path, config("https://lab", None, execution("v1", str(program))))
    access = await access_by(path, runner, clock)
    assert await access.headers() == {"Authorization": "Bearer token-1"}
    clock.now += 60
    assert await access.headers() == {"Authorization": "Bearer token-1"}
    clock.now += 15
    found = await asyncio.gather(*(access.headers() for _ in range(4)))
    assert found == [{"Authorization": "Bearer token-2"}] * 4
    assert runner.runs == 2


async def test_a_401_has_a_new_token_taken_and_the_request_sent_again(
    authority: Authority, tmp_path: Path
) -> None:
    clock = Clock()
    token = tmp_path / "current"
    token.write_text("old", encoding="ascii")
    program = plugin(tmp_path, saying("v1", f'{{"token": open({str(token)!r}).read()}}'))
    cluster = {"certificate-authority-data": b64(authority.pem)}
    async with secured(authority, "old") as server:
        user = execution("v1", str(program))
        access = await access_by(written(tmp_path, config(server.url, cluster, user)), None, clock)
        port = int(server.url.split(":")[-1])
        assert await pods_by(access) == []
    token.write_text("new", encoding="ascii")
    clock.now += 60
    async with secured(authority, "new", port=port) as server, ApiClient(access, QUICK) as client:
        answers = await asyncio.gather(*(client.get(PODS) for _ in range(4)))
        assert all(json.loads(each)["items"] == [] for each in answers)


async def test_a_server_that_never_knows_us_is_not_asked_for_it_again_and_again(
    authority: Authority, tmp_path: Path
) -> None:
    clock, runner = Clock(), InProcess()
    cluster = {"certificate-authority-data": b64(authority.pem)}
    async with secured(authority) as server:
        path = written(tmp_path, config(server.url, cluster, {"token": "wrong"}))
        access = await access_by(path, runner, clock)
        clock.now += 60
        async with ApiClient(access, QUICK) as client:
            for _ in range(5):
                with pytest.raises(ApiUnauthorized):
                    await client.get(PODS)
    assert runner.runs == 2


async def test_a_changed_file_is_read_again(authority: Authority, tmp_path: Path) -> None:
    """The CA of the server is rotated, and so is the client's certificate."""
    clock, other = Clock(), Authority()
    ca, certificate, key = (tmp_path / name for name in ("ca", "certificate", "key"))

    def write(by: Authority) -> None:
        ca.write_text(by.pem, encoding="ascii")
        for path, text in zip((certificate, key), by.client(), strict=True):
            path.write_text(text, encoding="ascii")

    write(authority)
    async with secured(authority) as server:
        user = {"client-certificate": "certificate", "client-key": "key"}
        path = written(tmp_path, config(server.url, {"certificate-authority": "ca"}, user))
        access = await access_by(path, None, clock)
        port = int(server.url.split(":")[-1])
        assert await pods_by(access) == []
    write(other)
    clock.now += 60
    async with secured(other, port=port):
        assert await pods_by(access) == []


async def test_what_cannot_be_read_again_is_kept(
    authority: Authority, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    cluster = {"certificate-authority-data": b64(authority.pem)}
    path = written(tmp_path, config(server.url, cluster, {"token": TOKEN}))
    access = await access_by(path, None, clock)
    path.unlink()
    clock.now += 60
    assert await pods_by(access) == []
    assert "credentials cannot be read again" in caplog.text
    assert TOKEN not in caplog.text


async def test_tls_that_does_not_come_about_has_everything_read_again(
    authority: Authority, tmp_path: Path
) -> None:
    """A plugin's certificate that the server takes no more: nothing tells when it ends."""
    clock, runner = Clock(), InProcess()
    cluster = {"certificate-authority-data": b64(Authority().pem)}
    async with secured(authority, TOKEN) as server:
        path = written(tmp_path, config(server.url, cluster, {"token": TOKEN}))
        access = await access_by(path, runner, clock)
        for _ in range(3):
            with pytest.raises(ApiUnreachable):
                await pods_by(access)
        assert runner.runs == 1
        clock.now += 60
        with pytest.raises(ApiUnreachable):
            await pods_by(access)
        assert runner.runs == 2


# In a cluster


def service_account(home: Path, authority: Authority, token: str = TOKEN) -> Path:
    (home / "ca.crt").write_text(authority.pem, encoding="ascii")
    (home / "token").write_text(f"{token}\n", encoding="ascii")
    return home


def pod_environment(server: Server) -> dict[str, str]:
    return {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": server.url.split(":")[-1],
        "KUBECONFIG": "/nonexistent/is/not/looked/at",
    }


async def test_the_service_account_of_a_pod(
    authority: Authority, server: Server, tmp_path: Path
) -> None:
    home, env = service_account(tmp_path, authority), pod_environment(server)
    access = await load_access(None, env=env, service_account=home)
    assert await pods_by(access) == []


async def test_a_token_that_kubelet_rotates(authority: Authority, tmp_path: Path) -> None:
    clock = Clock()
    home = service_account(tmp_path, authority, "first")
    async with secured(authority, "first") as server:
        env = pod_environment(server)
        access = await load_access(None, env=env, service_account=home, clock=clock)
        assert await pods_by(access) == []
    service_account(tmp_path, authority, "second")
    clock.now += 60
    assert await access.headers() == {"Authorization": "Bearer second"}


async def test_a_token_that_goes_away_is_kept(authority: Authority, tmp_path: Path) -> None:
    clock = Clock()
    home = service_account(tmp_path, authority)
    env = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = await load_access(None, env=env, service_account=home, clock=clock)
    assert access.base_url == "https://[fd00::1]:443"
    (home / "token").unlink()
    clock.now += 60
    assert await access.headers() == {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("ca.crt", None, "ca.crt: No such file"),
        ("ca.crt", "", "ca.crt: it is empty"),
        ("ca.crt", "none", "its CA certificates cannot be used"),
        ("token", " \n", "token: it is empty"),
        ("token", "ü", "token: it is no text"),
    ],
)
async def test_a_service_account_that_is_not_whole(
    authority: Authority, tmp_path: Path, file: str, text: str | None, expected: str
) -> None:
    home = service_account(tmp_path, authority)
    if text is None:
        (home / file).unlink()
    else:
        (home / file).write_text(text, encoding="utf-8")
    env = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(InputError, match=expected):
        await load_access(None, env=env, service_account=home)


async def test_a_service_account_without_the_servers_address(
    authority: Authority, tmp_path: Path
) -> None:
    home = service_account(tmp_path, authority)
    with pytest.raises(InputError, match="KUBERNETES_SERVICE_HOST is not set"):
        await load_access(None, env={}, service_account=home)


# What must not happen


def test_an_identity_does_not_print_its_secrets() -> None:
    identity = Identity("https://lab", key="secret", authorization="Bearer secret")
    assert "secret" not in f"{identity} {identity!r}"


def test_watching_does_not_load_what_costs_memory() -> None:
    code = "import sys, podwall.agent.watch.reflector; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "aiohttp" in loaded
    assert not loaded & {"kubernetes_asyncio", "yaml", "rich", "podwall.lab", "podwall.manifest"}
