"""A real agent as its operator sees it: commands, HTTP, log, Kubernetes Events, and its end."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podwall import __version__
from tests.e2e.agent_site import (
    EVENTS,
    MERGE,
    NODE,
    OBJECTS,
    PODS,
    POLICIES,
    Site,
    api_server,
    policy,
    run,
    site,
    stopping,
    until,
)
from tests.e2e.kernel import private_kernel

pytestmark = pytest.mark.kernel

BAD = policy(
    "bad",
    podSelector={"matchLabels": {"app": "db"}},
    ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/99"}}]}],
)
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "agent.md"
ONE_DATAGRAM = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as one:
    one.sendto(b"hello", ("192.0.2.1", 9))
"""
DB_ALLOWS_WEB = ("--from", "default/web", "--to", "default/db", "--port", "6379/tcp")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An agent that nobody disturbs."""
    with site(tmp_path_factory.mktemp("calm")) as found:
        yield found


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Site]:
    """An agent of the test's own, which seldom looks at the kernel."""
    with site(tmp_path, "--check-every", "3600", "--unready-after", "0.5") as found:
        yield found


def test_status_says_that_all_is_well_and_what_is_enforced(calm: Site) -> None:
    done = calm.podwall("status")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"podwall {__version__} on node {NODE}: ready"
    assert "in sync since" in done.stdout
    assert "2 pods, 1 isolated by 1 policy" in done.stdout
    assert re.search(r"Pod +3 known, connected for", done.stdout)
    assert lines[-1] == "Everything is enforced as it is written."
    assert all(line == line.rstrip() for line in lines)


def test_status_as_json_has_the_same(calm: Site) -> None:
    found = calm.json("status")
    assert found["ready"]
    assert found["why_not"] == []
    assert found["kernel"]["in_sync"]
    assert found["kernel"]["last_apply"]["cause"] == "sync"
    assert found["objects"]["Pod"] == 3
    assert {each["kind"] for each in found["watches"]} == {
        *("Node", "Namespace", "NetworkPolicy", "Pod")
    }


def test_the_kernel_holds_what_the_agent_wants(calm: Site) -> None:
    done = calm.podwall("diff")
    assert (done.returncode, done.stdout) == (
        0,
        "no difference: the kernel holds what it shall hold\n",
    )
    assert calm.json("diff")["steps"] == []


def test_explain_shows_decision_way_and_counters(calm: Site) -> None:
    done = calm.podwall("explain", "--live", *DB_ALLOWS_WEB)
    assert done.returncode == 0
    assert done.stdout.startswith("default/web → default/db 6379/tcp: ALLOWED")
    assert "the kernel holds every rule and set on the way" in done.stdout
    assert "allowed by default/db ingress[0]" in done.stdout
    assert re.search(r"PW-i-db-\w+ rule 1: goes back.*\[0 packets, 0 bytes\]", done.stdout)
    assert re.search(r"set PW4-p-app-web-\w+ \(.*; 1 member\): holds it", done.stdout)


def test_explain_says_what_another_node_judges(calm: Site) -> None:
    (found,) = calm.json("explain", "--live", "--from", "default/far", "--to", "10.244.1.2")[
        "explanations"
    ]
    assert found["verdict"] == "denied"
    assert found["rules_agree"]
    assert found["egress"]["node"] == "worker-2"
    assert found["ingress"]["node"] == NODE
    assert found["ingress"]["reasons"]
    assert [each["hook"] for each in found["path"]] == ["FORWARD"]


def test_explain_counts_the_packets_that_went_by(calm: Site) -> None:
    for words in (
        "ip netns add pod",
        "ip link add veth-pod type veth peer name eth0 netns pod",
        "ip address add 192.0.2.1/24 dev veth-pod",
        "ip link set veth-pod up",
        "ip -n pod address add 10.244.1.3/32 dev eth0",
        "ip -n pod link set eth0 up",
        "ip -n pod route add default dev eth0",
        "ip route add 10.244.1.3 dev veth-pod",
    ):
        calm.kernel.output(*words.split())
    calm.kernel.output("ip", "netns", "exec", "pod", sys.executable, "-c", ONE_DATAGRAM)
    asked = ("--from", "default/web", "--to", f"node/{NODE}", "--port", "9/udp")
    (found,) = calm.json("explain", "--live", *asked)["explanations"]
    (stop,) = found["path"]
    assert stop["hook"] == "INPUT"
    counted = {each["chain"]: each["packets"] for each in stop["steps"] if each["matched"]}
    assert counted["PW-eg-10.244.1.0-24"] == 1
    assert found["programmed"]


def test_commands_about_clusters_take_the_one_that_the_agent_knows(calm: Site) -> None:
    found = calm.json("matrix", "--live", "--by", "pod", "--no-outside")
    assert {each["name"] for each in found["parties"]} >= {"default/web", "default/db"}
    done = calm.podwall("check", "--live", "--fail-on", "never")
    assert done.returncode == 0
    done = calm.podwall("matrix", "--live", "--deny", "reject")
    assert done.returncode == 2
    assert "--live asks the agent, which knows its own: leave out --deny" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--from", "default/wep", "--to", "default/db"), "did you mean default/web or"),
        (("--from", "default/web", "--to", "default/db", "--port", "0"), "from 1 to 65535"),
        (("--from", "default/web", "--to", "::1"), "no addresses of one family"),
        ((*DB_ALLOWS_WEB, "manifest.yaml"), "reads no manifests: leave out manifest.yaml"),
        ((*DB_ALLOWS_WEB, "--deny", "reject"), "leave out --deny"),
    ],
)
def test_explain_tells_what_is_wrong_with_the_question(
    calm: Site, words: tuple[str, ...], message: str
) -> None:
    done = calm.podwall("explain", "--live", *words)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_agent_is_alive_and_ready(calm: Site) -> None:
    assert calm.get("/livez") == (200, "alive\n")
    assert calm.get("/readyz") == (200, "ready\n")
    assert calm.get("/anything")[0] == 404


def test_every_metric_is_documented_and_every_documented_one_is_there(calm: Site) -> None:
    status, text = calm.get("/metrics")
    assert status == 200
    served = set(re.findall(r"^# TYPE (podwall_\w+)", text, re.MULTILINE))
    documented = set(re.findall(r"^\| `(podwall_\w+)`", DOCUMENTATION.read_text(), re.MULTILINE))
    assert served == documented
    assert "podwall_ready 1.0" in text
    assert 'podwall_applies_total{cause="sync"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_an_apply_is_one_line_with_its_reason(calm: Site) -> None:
    (line,) = [each for each in calm.log() if each.get("cause") == "sync"]
    assert line["level"] == "info"
    assert line["message"].startswith("applied in ")
    assert line["message"].endswith("(reason: the cluster is known in full)")
    assert line["rules_added"] > 0


def test_a_second_agent_on_the_node_is_refused(calm: Site) -> None:
    done = run(*calm.agent_words())
    assert done.returncode == 3
    assert "another agent runs on this node" in done.stderr
    assert calm.status()["ready"]


def test_apply_beside_an_agent_changes_nothing(calm: Site) -> None:
    example = Path(__file__).parents[2] / "examples" / "test-network-policy"
    done = calm.inside("apply", str(example), "--node-name", "node-1", "--place")
    assert done.returncode == 3
    assert "nothing was changed: an agent runs on this host" in done.stderr
    assert calm.json("diff")["steps"] == []


def test_cleanup_beside_an_agent_removes_nothing(calm: Site) -> None:
    done = calm.inside("cleanup")
    assert done.returncode == 3
    assert "nothing was removed: an agent runs on this host" in done.stderr
    assert calm.json("diff")["steps"] == []


def test_s10_a_policy_in_error_isolates_and_an_event_says_why(own: Site) -> None:
    own.server.store(BAD)
    until(own.server.events, own.messages)
    (event,) = own.server.events()
    assert event["type"] == "Warning"
    assert event["reason"] == "NotEnforcedAsWritten"
    assert event["involvedObject"]["name"] == "bad"
    assert event["message"].startswith(f"node {NODE}: this policy is not enforced as written. ")
    assert "It isolates db;" in event["message"]
    assert "spec.ingress[0].from[0].ipBlock.cidr" in event["message"]

    done = own.podwall("status")
    assert done.returncode == 1
    assert "NetworkPolicy default/bad: spec.ingress[0].from[0].ipBlock.cidr" in done.stdout
    assert 'podwall_objects_in_error{kind="NetworkPolicy"} 1.0' in own.get("/metrics")[1]

    own.server.ask("PATCH", f"{POLICIES}/bad", {"spec": {"ingress": []}}, MERGE)
    until(lambda: len(own.server.events()) == 2, own.messages)
    newest = max(own.server.events(), key=lambda each: int(each["metadata"]["resourceVersion"]))
    assert (newest["type"], newest["reason"]) == ("Normal", "EnforcedAsWritten")
    assert own.podwall("status").returncode == 0


def test_a_policy_in_error_that_selects_nobody_here_is_left_to_others(own: Site) -> None:
    elsewhere = policy(
        "elsewhere", podSelector={"matchLabels": {"app": "far"}}, ingress=BAD["spec"]["ingress"]
    )
    own.server.store(elsewhere, BAD)
    until(own.server.events, own.messages)
    assert {each["involvedObject"]["name"] for each in own.server.events()} == {"bad"}
    assert {each["name"] for each in own.status()["problems"]} == {
        *("default/bad", "default/elsewhere")
    }


def test_diff_and_explain_name_what_somebody_took_away(own: Site) -> None:
    # The first look comes soon after the start.
    until(lambda: own.status()["kernel"]["last_check"])
    peers = next(line.split()[1] for line in own.ours() if line.startswith("create PW4-p-"))
    own.kernel.output("ipset", "del", peers, "10.244.1.3")
    own.kernel.output("iptables", "-I", "FORWARD", "-j", "ACCEPT")
    done = own.podwall("diff")
    assert done.returncode == 1
    assert f"  add {peers} 10.244.1.3 -exist\n" in done.stdout
    assert "-I FORWARD 1 -m comment --comment podwall -j PW-FORWARD" in done.stdout
    assert own.json("diff", status=1)["members"] == {"added": 1, "removed": 0}

    (found,) = own.json("explain", "--live", *DB_ALLOWS_WEB)["explanations"]
    assert not found["programmed"]
    assert found["missing"] == [
        "FORWARD does not lead to PW-FORWARD first of all",
        f"set {peers} lacks 10.244.1.3",
    ]
    assert (
        f"set {peers} lacks 10.244.1.3" in own.podwall("explain", "--live", *DB_ALLOWS_WEB).stdout
    )


def test_a_change_is_enforced_and_logged_with_its_latency(own: Site) -> None:
    own.server.ask("PATCH", f"{PODS}/far", {"metadata": {"labels": {"app": "web"}}}, MERGE)
    until(lambda: any("pod default/far" in each for each in own.messages()), own.messages)
    (line,) = [each for each in own.log() if each.get("cause") == "event"]
    assert line["members_added"] == 1
    assert line["events"] == 1
    assert line["slowest_event_seconds"] > 0
    assert "podwall_event_to_kernel_seconds_count 1.0" in own.get("/metrics")[1]


def test_without_an_api_server_the_agent_goes_on_and_is_not_ready(own: Site) -> None:
    before = own.ours()
    own.server.ask("POST", "/faults/restart?pause=6&forget=true", kind="application/json")
    until(lambda: own.get("/readyz")[0] == 503, own.messages)
    status, reasons = own.get("/readyz")
    assert status == 503
    assert re.search(r"no news of Pod objects for \d+ s: ", reasons)
    assert own.get("/livez")[0] == 200
    done = own.podwall("status")
    assert done.returncode == 1
    assert "NOT READY" in done.stdout
    assert own.ours() == before
    until(lambda: own.get("/readyz")[0] == 200, own.messages)
    assert any(each.startswith("no news of ") for each in own.messages())
    assert any(each.endswith(" arrive again") for each in own.messages())


@pytest.mark.parametrize(
    ("how", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_ends_the_agent_and_the_rules_stay(
    own: Site, how: signal.Signals, status: int
) -> None:
    before = own.ours()
    assert own.stop(how) == status
    assert own.ours() == before
    assert own.messages()[-1] == f"stopped by {how.name}; the rules stay in force"
    assert not (own.state_dir / "agent.sock").exists()

    done = own.podwall("status")
    assert done.returncode == 3
    assert "no agent runs on this host" in done.stderr

    own.start()
    (line,) = [each for each in own.log() if each.get("cause") == "sync"][1:]
    assert line["message"].startswith("nothing to change")


def test_cleanup_after_the_agent_leaves_no_trace(own: Site) -> None:
    assert own.ours()
    own.stop(signal.SIGKILL)
    done = own.inside("cleanup")
    assert done.returncode == 0, done.stderr
    assert own.ours() == []
    assert not own.state_dir.exists()


def test_a_forced_cleanup_beside_an_agent_is_undone_by_it(tmp_path: Path) -> None:
    with site(tmp_path, "--check-every", "0.5") as own:
        assert own.inside("cleanup", "--force").returncode == 0
        until(lambda: own.status()["kernel"]["drift_repairs"], own.messages)
        assert own.json("diff")["steps"] == []
        assert any("somebody else changed what is ours" in each for each in own.messages())
        assert own.get("/metrics")[1].count("podwall_drift_repairs_total 1.0") == 1


def test_an_agent_that_may_not_write_events_says_so_once_and_goes_on(own: Site) -> None:
    forbid = {"verb": "create", "resource": "events", "code": 403, "times": 100}
    own.server.ask("POST", "/faults/trouble", forbid, "application/json")
    own.server.store(BAD)
    until(
        lambda: any("RBAC does not allow to write Events" in each for each in own.messages()),
        own.messages,
    )
    assert own.server.ask("GET", EVENTS)["items"] == []
    assert own.get("/readyz")[0] == 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kubeconfig", "/nonexistent"), "kubeconfig /nonexistent: there is no such file"),
        (("--context", "nowhere"), "nowhere"),
        (("--listen", "192.0.2.77:80"), "listen 192.0.2.77:80: "),
        (("--check-every", "soon"), '--check-every: "soon": expected a number of seconds'),
        (("--state-dir", "/dev/null/state"), "state-dir /dev/null/state: Not a directory"),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_an_agent_that_cannot_run_says_why_and_ends(
    calm: Site, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = run(*calm.agent_words("--state-dir", str(tmp_path / "own"), *words))
    assert done.returncode == 2
    assert message in done.stderr.replace('\\"', '"')
    assert "Traceback" not in done.stderr
    assert calm.json("diff")["steps"] == []


def test_an_agent_without_rights_says_so_and_goes_on_trying(tmp_path: Path) -> None:
    with (
        api_server(tmp_path, *OBJECTS) as server,
        private_kernel() as kernel,
        stopping(Site(tmp_path, server, kernel)) as own,
    ):
        forbidden = {"resource": "pods", "code": 403, "times": -1}
        server.ask("POST", "/faults/trouble", forbidden, "application/json")
        own.launch()
        until(lambda: any("Forbidden" in each for each in own.messages()), own.messages)
        done = own.podwall("status")
        assert done.returncode == 1
        assert "Pod objects are not known yet: 403 Forbidden" in done.stdout
        assert own.get("/readyz")[0] == 503
        assert own.get("/livez")[0] == 200
        assert own.ours() == []
        failed = own.podwall("diff")
        assert failed.returncode == 3
        assert "the agent has not seen the whole cluster yet" in failed.stderr
        server.ask("POST", "/faults/clear", kind="application/json")
        until(lambda: own.get("/readyz")[0] == 200, own.messages)
        assert own.ours()
