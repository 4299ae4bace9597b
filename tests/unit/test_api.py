"""The Python API, used as its documentation says."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import pytest

from podwall.api import Cluster, Settings
from podwall.errors import InputError, PodwallError
from podwall.manifest import Severity, UnusableInput
from podwall.model.flow import Verdict
from podwall.model.net import Family
from podwall.model.policy import Direction
from podwall.model.settings import DenyAction

SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: x, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  replicas: 1
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: x, ports: [{name: sql, containerPort: 5432}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: sql}]
"""

BROKEN = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: broken, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{ipBlock: {cidr: 10.0.0.0/64}}]
"""

WEB, DB = "shop/deployment/web", "shop/statefulset/db"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    return file


def load(shop: Path, **options: object) -> Cluster:
    return Cluster.load([str(shop)], **options)  # type: ignore[arg-type]


def test_a_question_gets_the_answer_that_the_policies_give(shop: Path) -> None:
    cluster = load(shop)
    assert cluster.allowed(WEB, DB, "5432/tcp")
    assert not cluster.allowed(WEB, DB, "5433/tcp")
    assert not cluster.allowed("203.0.113.9", DB, "5432")
    assert cluster.allowed("203.0.113.9", WEB, "icmp")
    assert cluster.allowed(DB, "203.0.113.9", "53/udp")


def test_the_same_text_can_come_from_a_directory_or_from_standard_input(shop: Path) -> None:
    from_stdin = Cluster.load(["-"], stdin=io.BytesIO(SHOP.encode()))
    assert from_stdin.snapshot == load(shop).snapshot == load(shop.parent).snapshot


def test_an_explanation_tells_who_decided_and_the_rules_agree_with_it(shop: Path) -> None:
    cluster = load(shop)
    (allowed,) = cluster.explain(WEB, DB, "5432/tcp")
    assert allowed.agrees
    assert allowed.deciding is None
    assert str(allowed.decision.ingress.allowed_by) == "shop/db ingress[0]"
    assert allowed.grant(allowed.decision.ingress) is not None
    (denied,) = cluster.explain(WEB, DB, "1")
    assert denied.agrees
    assert denied.deciding is not None
    assert denied.deciding.direction is Direction.INGRESS
    assert denied.decision.verdict is Verdict.DENIED
    assert "TCP 'sql'" in str(denied.decision)


def test_an_explanation_as_plain_values_is_json(shop: Path) -> None:
    (explanation,) = load(shop).explain(WEB, DB, "5432/tcp")
    plain = json.loads(msgspec.json.encode(explanation.to_dict()))
    assert plain["verdict"] == "allowed"
    assert plain["rules_agree"] is True
    assert plain["ingress"]["allowed_by"] == "shop/db ingress[0]"
    assert plain["path"]


def test_dual_stack_gives_one_explanation_for_each_family(shop: Path) -> None:
    cluster = load(shop, families=tuple(Family))
    explanations = cluster.explain(WEB, DB, "5432/tcp")
    assert [each.decision.flow.src.family for each in explanations] == [Family.V4, Family.V6]
    assert len(cluster.explain("2001:db8::1", DB, "5432/tcp")) == 1


def test_ends_that_share_no_family_are_an_input_error(shop: Path) -> None:
    with pytest.raises(InputError, match="no addresses of one family"):
        load(shop).explain("2001:db8::1", DB, "5432/tcp")


@pytest.mark.parametrize(
    ("source", "target", "service", "message"),
    [
        ("shop/wep", DB, "80/tcp", "did you mean"),
        (WEB, "node/nowhere", "80/tcp", "not known"),
        (WEB, DB, "http", "is no port"),
        (WEB, DB, "0/tcp", "1 to 65535"),
        (WEB, DB, "80/icmp", "no ports"),
    ],
)
def test_what_cannot_be_understood_is_an_input_error_that_says_what(
    shop: Path, source: str, target: str, service: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        load(shop).allowed(source, target, service)


def test_pods_are_spread_over_the_nodes_that_are_asked_for(shop: Path) -> None:
    snapshot = load(shop, nodes=["n1", "n2", "n3"]).snapshot
    assert list(snapshot.nodes) == ["n1", "n2", "n3"]
    assert {pod.node for pod in snapshot.pods.values()} == {"n1", "n2", "n3"}
    assert [*load(shop, fallback_node="here").snapshot.nodes] == ["here"]


def test_without_placing_pods_stay_as_the_manifests_leave_them(shop: Path) -> None:
    snapshot = load(shop, place_pods=False).snapshot
    assert len(snapshot.pods) == 3
    assert not snapshot.owners
    assert not snapshot.nodes


def test_the_matrix_holds_every_pair_that_a_policy_can_concern(shop: Path) -> None:
    cluster = load(shop)
    matrix = cluster.matrix(by_workload=True, others=[cluster.end("203.0.113.9")])
    cells = {(cell.source, cell.target): str(cell) for cell in matrix.cells}
    assert cells[WEB, DB] == "5432/tcp"
    assert cells["203.0.113.9", DB] == "-"
    assert cells["203.0.113.9", WEB] == "all"
    assert ("203.0.113.9", "node/node-1") not in cells
    by_pod = cluster.matrix()
    assert len(by_pod.parties) == 4


def test_every_cell_of_the_matrix_is_what_a_question_would_answer(shop: Path) -> None:
    cluster = load(shop, nodes=["n1", "n2"])
    for cell in cluster.matrix().cells:
        if str(cell) in ("all", "-"):
            answer = cluster.allowed(cell.source, cell.target, "7/sctp")
            assert answer == (str(cell) == "all"), cell


def test_progress_of_the_matrix_is_told_up_to_the_end(shop: Path) -> None:
    told: list[tuple[int, int]] = []
    load(shop).matrix(progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_rendering_is_deterministic_and_depends_on_the_node_alone(shop: Path) -> None:
    cluster = load(shop, nodes=["n1", "n2"])
    first = cluster.render("n1")
    assert first == load(shop, nodes=["n1", "n2"]).render("n1")
    assert first != cluster.render("n2")
    assert list(first.files) == ["ipset.restore", "iptables.restore", "ip6tables.restore"]
    assert first.iptables.startswith("*filter\n")
    assert first.iptables.endswith("COMMIT\n")


def test_a_node_that_is_not_there_is_an_input_error_that_names_those_that_are(shop: Path) -> None:
    with pytest.raises(InputError, match="known: node-1"):
        load(shop).render("node-7")


def test_switches_change_the_answers_and_the_rules(shop: Path) -> None:
    closed = load(shop)
    rejecting = load(shop, settings=Settings(deny=DenyAction.REJECT))
    assert "-j REJECT --reject-with icmp-port-unreachable" in rejecting.render("node-1").iptables
    assert "-j DROP" in closed.render("node-1").iptables
    unknown = "10.244.1.250"
    assert not closed.allowed(unknown, WEB, "80")
    opened = load(shop, settings=Settings(close_unknown_pods=False))
    assert opened.allowed(unknown, WEB, "80")


def test_diagnostics_say_where_and_an_invalid_policy_still_isolates(
    shop: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(BROKEN)
    cluster = Cluster.load([str(shop), str(broken)])
    (diagnostic,) = cluster.diagnostics
    assert diagnostic.severity is Severity.ERROR
    assert str(diagnostic).startswith(f"{broken}:8: NetworkPolicy shop/broken: spec.ingress[0]")
    assert not cluster.allowed(DB, WEB, "8080")
    assert cluster.allowed(WEB, DB, "5432")


def test_input_that_cannot_be_used_at_all_raises_what_callers_can_branch_on(
    tmp_path: Path,
) -> None:
    with pytest.raises(UnusableInput) as caught:
        Cluster.load([str(tmp_path / "nothing.yaml")])
    assert isinstance(caught.value, PodwallError)
    assert "nothing.yaml" in str(caught.value.diagnostics[0])


def test_asking_changes_nothing(shop: Path) -> None:
    cluster = load(shop)
    cluster.matrix()
    cluster.explain(WEB, DB, "5432/tcp")
    cluster.render("node-1")
    assert cluster.snapshot == load(shop).snapshot
    with pytest.raises(AttributeError):
        cluster.settings = Settings()  # type: ignore[misc]
