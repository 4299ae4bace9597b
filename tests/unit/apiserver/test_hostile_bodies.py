"""Whatever is sent, the server takes it or refuses it, and does not break."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from podwall.lab.apiserver import Api, ApiError
from podwall.lab.apiserver.api import Outcome
from podwall.lab.apiserver.patches import JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from podwall.lab.apiserver.resources import NETWORK_POLICIES, PODS, Target

FIELDS = (
    *("metadata", "name", "labels", "annotations", "finalizers", "spec", "status", "phase"),
    *("containers", "ports", "port", "endPort", "ingress", "egress", "from", "to", "ipBlock"),
    *("cidr", "except", "podSelector", "policyTypes", "nodeName", "op", "path", "value", "$patch"),
    *("$setElementOrder/containers", "$deleteFromPrimitiveList/finalizers", "$retainKeys"),
)
LEAVES = st.sampled_from([None, True, 0, 80, -1, "", "a", "10.0.0.0/8", "/spec", "remove", 1.5])
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.fixed_dictionaries(
    {"metadata": st.fixed_dictionaries({"name": st.just("a")}, optional={"labels": JSON})},
    optional={"spec": JSON, "status": JSON},
)
TARGETS = st.sampled_from([Target(PODS, "default"), Target(NETWORK_POLICIES, "default")])


def code_of(verb: Callable[[], Outcome]) -> int:
    """The status with which a verb ends."""
    try:
        verb()
    except ApiError as error:
        return error.code
    return 200


@given(TARGETS, OBJECTS | JSON)
def test_a_hostile_object_is_stored_or_refused(target: Target, thing: Any) -> None:
    api = Api()
    code = code_of(lambda: api.create(target, thing))
    assert code in (200, 400, 422)
    assert len(api.select(target)) == (code == 200)


@given(st.sampled_from([JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH]), JSON)
@example(JSON_PATCH, [{"path": None}])
def test_a_hostile_patch_is_done_or_refused(kind: str, patch: Any) -> None:
    api, target = Api(), Target(PODS, "default", "a")
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    api.create(Target(PODS, "default"), pod)
    assert code_of(lambda: api.patch(target, patch, kind)) in (200, 400, 422)
    assert [each.name for each in api.select(target)] == ["a"]


@pytest.mark.parametrize("name", ["../b", "a/b", "a\n", "ä", "a" * 254, "-a", ""])
def test_a_hostile_name_is_refused(name: str) -> None:
    pod = {"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    with pytest.raises(ApiError) as refused:
        Api().create(Target(PODS, "default"), pod)
    assert refused.value.code == 422
