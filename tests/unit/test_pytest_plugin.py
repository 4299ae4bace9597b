"""The pytest plugin, in runs of pytest of its own."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]

CLUSTER = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop, labels: {app: db}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}}]
    ports: [{port: 5432}]
"""
EXPECTATIONS = """
apiVersion: podwall.dev/v1
kind: Expectations
expectations:
- {name: web reaches db, from: shop/web, to: shop/db, port: 5432, expect: allowed}
- {name: nothing else is open, from: any, to: shop/db, port: 22, expect: denied}
- {name: the bank is closed, from: shop/web, to: shop/db, expect: denied}
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory with manifests; only our plugin is loaded there."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.mkdir("policies").joinpath("all.yaml").write_text(CLUSTER)
    return pytester


def run(project: pytest.Pytester) -> pytest.RunResult:
    return project.runpytest_subprocess("-p", "podwall.pytest_plugin", "-rA")


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert declared["pytest11"] == {"podwall": "podwall.pytest_plugin"}


def test_the_fixture_loads_manifests_and_answers(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def cluster(podwall):
            return podwall.load("policies/")

        def test_web_reaches_db(cluster):
            assert cluster.allowed("shop/web", "shop/db", "5432/tcp")
            assert cluster.denied("any", "shop/db", 22, "icmp")
            assert not cluster.denied("namespace/shop", "shop/db")
            assert cluster.cluster.allowed("shop/web", "shop/db", "5432/tcp")
        """
    )
    run(project).assert_outcomes(passed=1)


def test_a_test_that_fails_says_why(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_db_reaches_web(podwall):
            assert podwall.load("policies/").allowed("shop/web", "shop/db", 80)
        """
    )
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * assert <no: pod shop/web → pod shop/db 80/tcp: it is denied>",
            "*- podwall answered -*",
            "promised: pod shop/web → pod shop/db 80/tcp is allowed",
            "but it is denied",
            "*shop/web → shop/db 80/tcp is denied (10.244.*",
            "*ingress of shop/db is isolated by shop/db; no rule allows 80/tcp from shop/web; "
            "shop/db ingress[[]0[]] allows 5432/tcp",
        ]
    )


def test_nobody_is_an_error_and_no_answer(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from podwall.errors import InputError

        def test_nobody(podwall):
            cluster = podwall.load("policies/")
            with pytest.raises(InputError, match="there is no pod shop/wep; did you mean"):
                cluster.denied("shop/wep", "shop/db", 80)
            with pytest.raises(InputError, match="expected a port"):
                cluster.denied("shop/web", "shop/db", "http")
        """
    )
    run(project).assert_outcomes(passed=1)


def test_broken_manifests_are_no_cluster(project: pytest.Pytester) -> None:
    broken = CLUSTER.replace("port: 5432", "port: 70000")
    project.path.joinpath("policies", "all.yaml").write_text(broken)
    project.makepyfile(
        """
        import pytest
        from podwall.errors import InputError

        def test_broken(podwall):
            with pytest.raises(InputError, match="70000 is a number"):
                podwall.load("policies/")
        """
    )
    run(project).assert_outcomes(passed=1)


def test_a_file_of_expectations_can_be_asserted(project: pytest.Pytester) -> None:
    project.path.joinpath("promises.yaml").write_text(EXPECTATIONS)
    project.makepyfile(
        """
        def test_promises(podwall):
            answer = podwall.load("policies/").keeps("promises.yaml")
            assert not answer
            assert "promises.yaml:7: the bank is closed" in str(answer)
            assert "web reaches db" not in str(answer)
        """
    )
    run(project).assert_outcomes(passed=1)


def test_files_of_expectations_are_tests_where_manifests_are_configured(
    project: pytest.Pytester,
) -> None:
    project.path.joinpath("shop-expectations.yaml").write_text(EXPECTATIONS)
    project.makeini("[pytest]\npodwall_manifests = policies\n")
    result = run(project)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*the bank is closed*",
            "*promised: pod shop/web → pod shop/db, any port is denied",
            "*ingress of shop/db is allowed by shop/db ingress[[]0[]]",
            "PASSED shop-expectations.yaml::web reaches db",
        ]
    )


def test_without_configured_manifests_such_files_are_left_alone(project: pytest.Pytester) -> None:
    project.path.joinpath("shop-expectations.yaml").write_text(EXPECTATIONS)
    run(project).assert_outcomes()


def test_mistakes_in_expectations_are_told_while_tests_are_collected(
    project: pytest.Pytester,
) -> None:
    wrong = EXPECTATIONS.replace("port: 22", "prot: 22")
    project.path.joinpath("shop-expectations.yaml").write_text(wrong)
    project.makeini("[pytest]\npodwall_manifests = policies\n")
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*shop-expectations.yaml:6: *expectations[[]1[]].prot: unknown field, did you mean port?"]
    )


def test_the_plugin_costs_a_run_that_does_not_use_it_nothing(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_nothing():
            assert "podwall.pytest_plugin" in sys.modules
            assert "podwall.api" not in sys.modules
        """
    )
    run(project).assert_outcomes(passed=1)
