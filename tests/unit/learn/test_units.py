"""The fewest labels that select just the pods of a workload."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from podwall.cluster.snapshot import build_snapshot
from podwall.learn.units import Unit, units_of
from podwall.model.objects import Phase, Pod
from tests.builders import pod


def of(workload: str, name: str, labels: Mapping[str, str], **more: object) -> Pod:
    plain = msgspec.structs.replace(pod(f"a/{name}"), workload=workload, labels=labels)
    return msgspec.structs.replace(plain, **more)


def units(*pods: Pod) -> dict[str, Unit]:
    return {unit.title: unit for unit in units_of(build_snapshot(pods))}


def selectors(*pods: Pod) -> dict[str, str]:
    return {title: str(unit.selector) for title, unit in units(*pods).items()}


def test_a_label_of_its_own_is_enough() -> None:
    assert selectors(
        of("Deployment/web", "web-0", {"tier": "front", "app": "web"}),
        of("Deployment/web", "web-1", {"tier": "front", "app": "web"}),
        of("Deployment/api", "api-0", {"tier": "front", "app": "api"}),
    ) == {"a/deployment/api": "app=api", "a/deployment/web": "app=web"}


@pytest.mark.parametrize(
    "passing",
    [
        "pod-template-hash",
        "controller-revision-hash",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/controller-uid",
    ],
)
def test_labels_that_the_next_pod_does_not_have_are_never_selected_by(passing: str) -> None:
    found = units(
        of("Deployment/web", "web", {"app": "shop", passing: "x"}),
        of("Deployment/api", "api", {"app": "shop", passing: "y"}),
    )
    assert [str(unit.selector) for unit in found.values()] == ["app=shop"]


def test_the_job_of_a_cron_job_is_gone_tomorrow_and_a_job_of_its_own_is_not() -> None:
    assert selectors(
        of("CronJob/night", "night-1-x", {"job-name": "night-1", "team": "b"}),
        of("Job/once", "once-x", {"job-name": "once"}),
    ) == {"a/cronjob/night": "team=b", "a/job/once": "job-name=once"}


def test_two_labels_where_one_is_not_enough() -> None:
    found = selectors(
        of("Deployment/web-eu", "a", {"app": "web", "instance": "eu"}),
        of("Deployment/web-us", "b", {"app": "web", "instance": "us"}),
        of("Deployment/api-eu", "c", {"app": "api", "instance": "eu"}),
    )
    assert found["a/deployment/web-eu"] == "app=web,instance=eu"


def test_a_version_tells_apart_but_does_not_name() -> None:
    assert selectors(
        of("Deployment/web-1", "a", {"app": "web", "version": "1"}),
        of("Deployment/web-2", "b", {"app": "web", "version": "2"}),
    ) == {
        "a/deployment/web-1": "app=web,version=1",
        "a/deployment/web-2": "app=web,version=2",
    }


def test_a_label_that_only_others_have_tells_apart() -> None:
    assert selectors(
        of("Deployment/web", "a", {"app": "web"}),
        of("Deployment/canary", "b", {"app": "web", "track": "canary"}),
    ) == {"a/deployment/web": "app=web,!track", "a/deployment/canary": "track=canary"}


def test_workloads_with_equal_labels_share_a_unit() -> None:
    (unit,) = units(
        of("Deployment/one", "a", {"app": "x"}), of("Deployment/two", "b", {"app": "x"})
    ).values()
    assert unit.workloads == ("deployment/one", "deployment/two")
    assert unit.title == "a/deployment/one + deployment/two"
    assert [key.name for key in unit.pods] == ["a", "b"]


def test_a_workload_whose_pods_differ_is_selected_by_what_they_share() -> None:
    found = selectors(
        of("Deployment/web", "a", {"app": "web", "color": "blue"}),
        of("Deployment/web", "b", {"app": "web", "color": "green"}),
        of("Deployment/api", "c", {"app": "api"}),
    )
    assert found["a/deployment/web"] == "app=web"


def test_s23_s21_pods_that_no_selector_matches_do_not_count() -> None:
    assert selectors(
        of("Deployment/web", "a", {"app": "x"}),
        of("DaemonSet/host", "b", {"app": "x"}, host_network=True),
        of("Job/done", "c", {"app": "x"}, phase=Phase.SUCCEEDED),
    ) == {"a/deployment/web": "app=x"}


def test_a_workload_alone_and_without_labels_is_its_namespace() -> None:
    assert selectors(of("Deployment/web", "a", {})) == {"a/deployment/web": "(everything)"}


def test_a_label_beats_a_missing_one() -> None:
    found = selectors(
        of("Deployment/web", "a", {"app": "web"}),
        of("Deployment/x", "b", {"role": "x", "app": "web"}),
        of("Deployment/y", "c", {"role": "y"}),
    )
    assert found["a/deployment/web"] == "app=web,!role"
