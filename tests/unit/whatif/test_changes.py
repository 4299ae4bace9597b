"""What becomes of a cluster by a change, and what is no change."""

from __future__ import annotations

import msgspec
import pytest

from podwall.cluster.snapshot import Snapshot, build_snapshot
from podwall.errors import InputError
from podwall.model.objects import Pod
from podwall.model.policy import Mode
from podwall.whatif.changes import Change, Labelling, Overlay, apply_change, parse_label
from tests.builders import namespace, node, pod, pod_key, policy

NODES = [
    node("n1", "192.168.0.1", pod_cidrs=["10.0.1.0/24"]),
    node("n2", "192.168.0.2", pod_cidrs=["10.0.2.0/24"]),
]


def _of(workload: str, each: Pod) -> Pod:
    return msgspec.structs.replace(each, workload=workload)


WEB = [
    _of("Deployment/web", pod("a/web-1", "10.0.1.2", node="n1", app="web")),
    _of("Deployment/web", pod("a/web-2", "10.0.2.2", node="n2", app="web")),
]
AGENTS = [
    _of("DaemonSet/log", pod("a/log-x", "10.0.1.3", node="n1", app="log")),
    _of("DaemonSet/log", pod("a/log-y", "10.0.2.3", node="n2", app="log")),
]
DB = pod("a/db", "10.0.2.9", node="n2", ports=["redis:6379/tcp"], app="db")


def _before(*policies) -> Snapshot:
    spaces = [namespace("a", team="x"), namespace("b")]
    return build_snapshot([*WEB, *AGENTS, DB], spaces, policies, NODES)


def _after(change: Change, *policies) -> Snapshot:
    return apply_change(_before(*policies), change)


def test_no_change_is_the_same_cluster() -> None:
    assert _after(Change(), policy("a/p", ingress=[])) == _before(policy("a/p", ingress=[]))


def test_policies_are_added_replaced_and_removed_and_nothing_else_is() -> None:
    old = [policy("a/gone", ingress=[]), policy("a/changed", ingress=[]), policy("b/stays")]
    new = [policy("a/changed", {"app": "db"}, ingress=[]), policy("b/new", egress=[])]
    after = _after(Change(Overlay(policies=tuple(new)), without=("a/gone",)), *old)
    assert list(after.policies.values()) == [new[0], new[1], old[2]]
    assert after.pods == _before().pods


def test_a_name_is_found_without_its_namespace_if_only_one_has_it() -> None:
    both = [policy("a/p", ingress=[]), policy("b/p", ingress=[]), policy("b/q", ingress=[])]
    assert len(_after(Change(without=("q",)), *both).policies) == 2
    with pytest.raises(InputError, match="'p' is in several namespaces: a/p, b/p"):
        _after(Change(without=("p",)), *both)


def test_a_changed_deployment_relabels_the_pods_that_run_it() -> None:
    made = [_of("Deployment/web", pod(f"a/web-new-{n}", app="web", tier="t")) for n in range(2)]
    after = _after(Change(Overlay(pods=tuple(made))))
    found = [after.pods[each.key] for each in WEB]
    assert [each.labels for each in found] == [{"app": "web", "tier": "t"}] * 2
    assert [each.addresses for each in found] == [each.addresses for each in WEB]
    assert [each.node for each in found] == ["n1", "n2"]
    assert after.pods.keys() == _before().pods.keys()


def test_a_deployment_of_another_size_makes_pods_or_ends_some() -> None:
    def made(count: int) -> Change:
        pods = [_of("Deployment/web", pod(f"a/web-new-{n}", app="web")) for n in range(count)]
        return Change(Overlay(pods=tuple(pods)))

    more = _after(made(3))
    (new,) = more.pods.keys() - _before().pods.keys()
    assert more.pods[new].addresses
    assert more.owner(more.pods[new].addresses[0]) == more.pods[new]
    fewer = _after(made(1))
    assert _before().pods.keys() - fewer.pods.keys() == {pod_key("a/web-2")}


def test_a_changed_daemon_set_is_on_the_nodes_that_it_was_on() -> None:
    after = _after(Change(Overlay(pods=(_of("DaemonSet/log", pod("a/log-0", app="new")),))))
    assert {key for key, each in after.pods.items() if each.labels["app"] == "new"} == {
        each.key for each in AGENTS
    }


def test_a_pod_takes_labels_and_ports_of_its_manifest_and_stays_where_it_is() -> None:
    given = pod("a/db", ports=["redis:6380/tcp"], app="cache")
    after = _after(Change(Overlay(pods=(given,)))).pods[DB.key]
    assert (after.labels, after.ports) == (given.labels, given.ports)
    assert (after.node, after.addresses) == (DB.node, DB.addresses)


def test_a_pod_that_moves_into_its_nodes_network_owns_no_address() -> None:
    after = _after(Change(Overlay(pods=(pod("a/db", host_network=True, app="db"),))))
    assert after.owner(DB.addresses[0]) is None
    assert after.pods[DB.key].host_network


def test_a_new_pod_brings_its_namespace_along() -> None:
    after = _after(Change(Overlay(pods=(pod("late/x", app="x"),))))
    assert after.namespaces["late"] == namespace("late")


def test_labels_of_a_pod_a_workload_and_a_namespace() -> None:
    change = Change(
        labels=(
            Labelling("a/db", (("app", "cache"), ("new", ""))),
            Labelling("a/deployment/web", (("app", None),)),
            Labelling("namespace/a", (("team", "y"),)),
        )
    )
    after = _after(change)
    assert after.pods[DB.key].labels == {"app": "cache", "new": ""}
    assert [after.pods[each.key].labels for each in WEB] == [{}, {}]
    assert after.namespaces["a"] == namespace("a", team="y")


def test_policies_are_enforced_and_audited() -> None:
    audited = policy("a/p", ingress=[], mode=Mode.AUDIT)
    after = _after(Change(enforce=("a/p",), audit=("a/q",)), audited, policy("a/q", ingress=[]))
    assert [each.mode for each in after.policies.values()] == [Mode.ENFORCE, Mode.AUDIT]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change(without=("a/q",)), "there is no policy 'a/q'; did you mean a/p?"),
        (Change(enforce=("a/p",)), "policy a/p is enforced already"),
        (Change(audit=("a/nothing",)), "there is no policy 'a/nothing'"),
        (Change(labels=(Labelling("a/dv", (("k", "v"),)),)), "did you mean a/db"),
        (Change(labels=(Labelling("namespace/c", (("k", "v"),)),)), "there is no namespace 'c'"),
        (Change(labels=(Labelling("a/db", (("k", None),)),)), "a/db has no label 'k'"),
        (
            Change(labels=(Labelling("namespace/a", (("kubernetes.io/metadata.name", "b"),)),)),
            "cannot be changed",
        ),
        (
            Change(Overlay(policies=(policy("a/p", ingress=[]),)), without=("a/p",)),
            "a/p is both taken away and given anew",
        ),
    ],
)
def test_what_cannot_be_is_refused(change: Change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _after(change, policy("a/p", ingress=[]))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("tier=web", ("tier", "web")),
        ("tier=", ("tier", "")),
        ("tier-", ("tier", None)),
        ("example.com/a_b.c-d=1", ("example.com/a_b.c-d", "1")),
        ("a-b-", ("a-b", None)),
    ],
)
def test_labels_are_read_as_kubectl_reads_them(text: str, label: tuple[str, str | None]) -> None:
    assert parse_label(text) == label


@pytest.mark.parametrize("text", ["tier", "=x", "-", "a b=c", "a=b c", "a=-b", "x/y/z=1", "a=é"])
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="label"):
        parse_label(text)
