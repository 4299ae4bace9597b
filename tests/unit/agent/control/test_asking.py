"""Which pods here a policy isolates, for Events on it."""

from __future__ import annotations

from pathlib import Path

from podwall.agent.control.asking import isolated_here
from podwall.agent.reconcile.picture import Picture
from podwall.model.policy import PolicyKey
from podwall.model.settings import Settings
from tests.builders import pod, pod_key
from tests.unit.agent.reconcile.rig import NODE, Rig
from tests.unit.dataplane.scenario import BAD, GOOD, cluster


def picture(rig: Rig) -> Picture:
    return Picture(NODE, Settings(), rig.keeper.live, rig.keeper.dataplane)


def test_nobody_can_tell_before_the_cluster_is_known(tmp_path: Path) -> None:
    assert isolated_here(picture(Rig(tmp_path)), [GOOD]) is None


def test_pods_of_other_nodes_and_namespaces_and_policies_that_are_gone_are_left_out(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    rig.sync(cluster())
    rig.give(
        pod("dev/far", "10.0.1.10", node="b", app="web"),
        pod("other/web", "10.0.0.7", node=NODE, app="web"),
        pod("dev/new", node=NODE, app="web"),
    )
    assert isolated_here(picture(rig), [GOOD, BAD, PolicyKey("dev", "gone")]) == {
        GOOD: (pod_key("dev/web"),),
        BAD: (pod_key("dev/db"),),
    }
