"""Loading manifests: what is read, what is reported, and on which line."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from podwall.errors import InputError
from podwall.manifest import Manifests, Severity, UnusableInput, load
from podwall.model.objects import NAME_LABEL
from podwall.model.policy import Direction, PolicyKey

POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: dev
spec:
  podSelector: {}
"""


def pod(name: str, namespace: str = "dev") -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\n"


def read(text: str | bytes, **options: object) -> Manifests:
    content = text.encode() if isinstance(text, str) else text
    return load(["-"], stdin=io.BytesIO(content), **options)  # type: ignore[arg-type]


def lines(manifests: Manifests) -> list[str]:
    return [str(each) for each in manifests.diagnostics]


def names(manifests: Manifests) -> list[str]:
    return [str(each.key) for each in manifests.pods]


# Sources


def test_several_documents_of_one_file_are_read() -> None:
    found = read(f"---\n# first\n{pod('a')}---\n---\n{POLICY}--- # second\n{pod('b')}...\n")
    assert names(found) == ["dev/a", "dev/b"]
    assert [str(each.key) for each in found.policies] == ["dev/web"]
    assert found.diagnostics == ()


def test_files_and_directories_are_read_once_each_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "b.yaml").write_text(pod("b"))
    (tmp_path / "a.yml").write_text(pod("a"))
    (tmp_path / "sub" / "c.json").write_text(
        '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c", "namespace": "dev"}}'
    )
    (tmp_path / ".git" / "d.yaml").write_text("not: a manifest")
    (tmp_path / "notes.txt").write_text("not a manifest")
    found = load([str(tmp_path), str(tmp_path / "b.yaml")])
    assert names(found) == ["dev/a", "dev/b", "dev/c"]
    assert found.diagnostics == ()


def test_a_missing_file_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    there = tmp_path / "there.yaml"
    there.write_text(pod("a"))
    missing = str(tmp_path / "missing.yaml")
    found = load([missing, str(there)])
    assert names(found) == ["dev/a"]
    assert lines(found) == [f"{missing}: it cannot be read: No such file or directory"]
    assert found.has_errors


def test_if_no_path_can_be_read_the_input_is_unusable_and_every_path_is_named(
    tmp_path: Path,
) -> None:
    missing = [str(tmp_path / name) for name in ("a.yaml", "b.yaml", "nul\0")]
    with pytest.raises(UnusableInput) as caught:
        load(missing)
    assert len(caught.value.diagnostics) == 3
    assert all(name.split("\0")[0] in str(caught.value) for name in missing)


def test_no_paths_at_all_are_an_input_error() -> None:
    with pytest.raises(InputError, match="no manifests"):
        load([])


def test_a_directory_without_manifests_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="holds no manifests"):
        load([str(tmp_path)])


def test_a_directory_that_cannot_be_entered_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(pod("a"))
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = load([str(tmp_path)])
    assert names(found) == ["dev/a"]
    assert lines(found) == [f"{tmp_path}/locked: it cannot be read: Permission denied"]


def test_text_that_is_not_utf8_is_reported_with_its_line() -> None:
    with pytest.raises(UnusableInput, match=r"<stdin>:3: byte 0xff is not UTF-8"):
        read(b"a: 1\nb: 2\nc: \xff\n")


def test_a_byte_order_mark_is_no_content() -> None:
    assert names(read(b"\xef\xbb\xbf" + pod("a").encode())) == ["dev/a"]


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only a comment\n", "---\n---\n", "%YAML 1.1\n---\n"]
)
def test_an_empty_input_holds_nothing_and_is_no_mistake(text: str) -> None:
    found = read(text)
    assert (found.pods, found.diagnostics) == ((), ())


# Lists, JSON, kinds


def test_lists_and_typed_lists_are_taken_apart() -> None:
    items = [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}]
    typed = [{"metadata": {"name": "b"}}]
    text = "\n".join(
        json.dumps(each, indent=2)
        for each in (
            {"apiVersion": "v1", "kind": "List", "items": items},
            {"apiVersion": "v1", "kind": "PodList", "items": typed},
            {"apiVersion": "v1", "kind": "PodList", "items": []},
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicyList",
                "items": [{"metadata": {"name": "p"}, "spec": {"podSelector": {}}}],
            },
        )
    )
    found = read(text)
    assert names(found) == ["default/a", "default/b"]
    assert [str(each.key) for each in found.policies] == ["default/p"]
    assert found.diagnostics == ()


def test_a_list_of_wrong_things_reports_each() -> None:
    found = read('{"apiVersion": "v1", "kind": "List", "items": [5,\n{"kind": "Pod"},\n{}]}')
    assert lines(found) == [
        "<stdin>:1: 5 is a number, expected a Kubernetes object",
        "<stdin>:2: Pod default/(no name): apiVersion: it is missing, expected v1",
        "<stdin>:2: Pod default/(no name): metadata.name: it is missing, expected a name",
        "<stdin>:3: it has no kind, expected a Kubernetes object with apiVersion and kind",
    ]


def test_lists_in_lists_are_bounded() -> None:
    nested: dict[str, object] = {"apiVersion": "v1", "kind": "List", "items": []}
    for _ in range(10):
        nested = {"apiVersion": "v1", "kind": "List", "items": [nested]}
    assert [each.found for each in read(json.dumps(nested)).errors] == ["Lists nest too deeply"]


def test_kinds_that_do_not_matter_are_skipped_and_counted() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n---\n"
    other = "apiVersion: batch.volcano.sh/v1alpha1\nkind: Job\nmetadata: {name: j}\n---\n"
    found = read(service * 2 + other + pod("a"))
    assert found.skipped == {"Job": 1, "Service": 2}
    assert found.diagnostics == ()


def test_policies_of_other_projects_are_skipped_with_a_warning() -> None:
    found = read(POLICY.replace("networking.k8s.io/v1", "projectcalico.org/v3"))
    assert found.policies == ()
    assert found.skipped == {"NetworkPolicy": 1}
    assert [each.severity for each in found.diagnostics] == [Severity.WARNING]


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("extensions/v1beta1", "is outdated"),
        ("networking.k8s.io/v1beta1", "is outdated"),
        ("v1", "has no NetworkPolicy"),
        ("networking.k8.io/v1", ""),
    ],
)
def test_s10_a_policy_under_a_wrong_api_version_is_an_error_and_is_still_read(
    version: str, reason: str
) -> None:
    found = read(POLICY.replace("networking.k8s.io/v1", version))
    if not reason:  # a group of somebody else's, as far as anyone can tell
        assert found.warnings
        return
    assert lines(found) == [
        f'<stdin>:1: NetworkPolicy dev/web: apiVersion: "{version}" {reason}, '
        "expected networking.k8s.io/v1"
    ]
    assert found.has_errors
    assert [each.isolates for each in found.policies] == [(Direction.INGRESS,)]


def test_s10_a_kind_in_the_wrong_case_is_an_error_and_is_still_read() -> None:
    found = read(POLICY.replace("NetworkPolicy", "Networkpolicy"))
    assert len(found.policies) == 1
    assert lines(found) == [
        "<stdin>:2: Networkpolicy dev/web: kind: unknown kind, did you mean NetworkPolicy?"
    ]


def test_a_misspelt_kind_is_an_error() -> None:
    found = read(POLICY.replace("NetworkPolicy", "NetworkPolcy"))
    assert [each.expected for each in found.errors] == ["did you mean NetworkPolicy?"]


def test_an_old_api_version_of_a_workload_only_warns() -> None:
    text = (
        "apiVersion: apps/v1beta2\nkind: Deployment\nmetadata: {name: d}\nspec:\n"
        "  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}}\n"
    )
    found = read(text)
    assert len(found.pods) == 1
    assert not found.has_errors
    assert len(found.warnings) == 1


def test_a_document_that_is_no_object_is_an_error() -> None:
    assert lines(read("- 1\n- 2\n---\nhello\n")) == [
        "<stdin>:1: it is a list, expected a Kubernetes object",
        '<stdin>:4: "hello" is a string, expected a Kubernetes object',
    ]


# Namespaces, names, duplicates


def test_s18_a_namespace_that_is_used_and_not_declared_exists_with_its_label() -> None:
    found = read(f"{pod('a', 'one')}---\n{POLICY}")
    assert {each.name: each.labels for each in found.namespaces} == {
        "dev": {NAME_LABEL: "dev"},
        "one": {NAME_LABEL: "one"},
    }


def test_s18_a_declared_namespace_keeps_its_labels() -> None:
    text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: dev, labels: {a: b}}\n---\n"
    (namespace,) = read(text + pod("a")).namespaces
    assert namespace.labels == {"a": "b", NAME_LABEL: "dev"}


def test_objects_without_a_namespace_are_in_the_default_one() -> None:
    found = read("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", default_namespace="here")
    assert names(found) == ["here/a"]


def test_of_two_objects_with_one_name_the_later_counts_and_that_is_an_error() -> None:
    second = POLICY.replace("podSelector: {}", "podSelector: {}\n  policyTypes: [Egress]")
    found = read(f"{POLICY}---\n{second}")
    assert [each.isolates for each in found.policies] == [(Direction.EGRESS,)]
    assert lines(found) == [
        "<stdin>:9: NetworkPolicy dev/web: already declared at <stdin>:1, this one counts"
    ]


def test_a_name_that_the_api_server_would_generate_is_generated() -> None:
    text = "apiVersion: v1\nkind: Pod\nmetadata: {generateName: job-, namespace: dev}\n"
    (name,) = names(read(text))
    assert name == names(read(text))[0]
    assert len(name) == len("dev/job-") + 5


def test_the_origin_of_a_policy_tells_the_line_of_each_field() -> None:
    found = read(f"{pod('a')}---\n{POLICY}  ingress:\n  - from: []\n    ports: []\n")
    origin = found.origins[PolicyKey("dev", "web")]
    assert str(origin) == "<stdin>:5"
    assert origin.line(("spec", "podSelector")) == 11
    assert origin.line(("spec", "ingress", 0, "ports")) == 14
    assert origin.line(("spec", "egress", 3)) == 10


# Lines and mistakes


def test_a_mistake_is_reported_with_file_line_object_path_and_expectation(tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(f"{POLICY}  ingress:\n  - ports:\n    - port: 80\n      endPort: 79\n")
    found = load([str(path)])
    assert lines(found) == [
        f"{path}:11: NetworkPolicy dev/web: spec.ingress[0].ports[0].endPort: "
        "79 is below port 80, expected a number from 80 to 65535"
    ]
    assert found.diagnostics[0].to_dict() == {
        "severity": "error",
        "file": str(path),
        "line": 11,
        "kind": "NetworkPolicy",
        "name": "dev/web",
        "path": "spec.ingress[0].ports[0].endPort",
        "found": "79 is below port 80",
        "expected": "expected a number from 80 to 65535",
    }


def test_all_mistakes_of_a_run_are_reported_sorted_by_file_and_line(tmp_path: Path) -> None:
    bad = POLICY.replace("podSelector: {}", "podselector: {}\n  ingress: 5\n  egress: [7]")
    (tmp_path / "b.yaml").write_text(f"a: [\n---\n{bad}---\n{POLICY.replace('web', 'good')}")
    (tmp_path / "a.yaml").write_text(bad.replace("web", "other"))
    found = load([str(tmp_path / "b.yaml"), str(tmp_path / "a.yaml")])
    assert [(Path(each.file).name, each.line) for each in found.diagnostics] == [
        ("a.yaml", 6),
        ("a.yaml", 7),
        ("a.yaml", 8),
        ("a.yaml", 9),
        ("b.yaml", 2),
        ("b.yaml", 8),
        ("b.yaml", 9),
        ("b.yaml", 10),
        ("b.yaml", 11),
    ]
    assert len(found.policies) == 3


def test_lines_of_json_are_those_of_the_field() -> None:
    data = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b", "labels": {"x": 5}}},
        ],
    }
    text = json.dumps(data, indent=1)
    (diagnostic,) = read(text).diagnostics
    assert '"x": 5' in text.splitlines()[diagnostic.line - 1]


def test_lines_of_a_yaml_list_are_those_of_the_item() -> None:
    text = (
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n"
        "    name: a\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: b\n    labels:\n"
        "      ok: fine\n      wrong: yes\n"
    )
    (diagnostic,) = read(text).diagnostics
    assert (diagnostic.line, diagnostic.name) == (14, "default/b")


def test_a_field_that_is_there_twice_is_an_error_and_the_last_one_counts() -> None:
    found = read(f"{POLICY}  policyTypes: [Ingress]\n  policyTypes: [Egress]\n")
    assert lines(found) == [
        "<stdin>:9: NetworkPolicy dev/web: spec.policyTypes: "
        "the field is there more than once, the last one counts"
    ]
    assert found.policies[0].isolates == (Direction.EGRESS,)


def test_a_key_that_is_there_twice_in_json_is_an_error_too() -> None:
    text = '{"apiVersion": "v1", "kind": "Pod",\n"metadata": {"name": "a",\n"name": "b"}}'
    assert lines(read(text)) == [
        "<stdin>:3: Pod default/b: metadata.name: "
        "the field is there more than once, the last one counts"
    ]


def test_a_syntax_error_costs_its_document_and_the_rest_is_read() -> None:
    found = read(f'{pod("a")}---\nkind: [\n---\n{pod("b")}---\n{{"kind": ]}}\n---\n{pod("c")}')
    assert names(found) == ["dev/a", "dev/b", "dev/c"]
    assert [each.line for each in found.errors] == [6, 11]
    assert all(each.found.startswith("it is not ") for each in found.errors)


def test_a_tab_for_indentation_is_named() -> None:
    (diagnostic,) = read("kind: Pod\nmetadata:\n\tname: a\n").diagnostics
    assert diagnostic.line == 3
    assert diagnostic.expected == "expected spaces instead of the tab"


def test_a_control_character_is_named_with_its_line() -> None:
    (diagnostic,) = read("kind: Pod\nname: a\x07b\n").diagnostics
    assert diagnostic.line == 2
    assert str(diagnostic).isprintable()


def test_json_after_json_is_read() -> None:
    one = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}'
    assert names(read(one + "\n" + one.replace('"a"', '"b"'))) == ["default/a", "default/b"]


@pytest.mark.parametrize(
    "text",
    ['{"kind": "Pod"', '{"kind": "\\ud800"}', '{"a": NaN, "b": ]}', '{"a": ' + "9" * 5000 + "}{"],
)
def test_what_is_nearly_json_is_an_error(text: str) -> None:
    found = read(text)
    assert found.has_errors
    assert all(str(each).isprintable() for each in found.diagnostics)


def test_yaml_in_braces_is_yaml() -> None:
    assert names(read("{apiVersion: v1, kind: Pod, metadata: {name: a}}")) == ["default/a"]
    assert names(read('{"apiVersion": v1, "kind": Pod, "metadata": {name: a},}')) == ["default/a"]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "- " * 100_000, "[[{" * 500])
def test_deep_nesting_is_an_error(text: str) -> None:
    found = read(text)
    assert len(found.errors) == 1


def test_names_in_messages_are_escaped_and_cut() -> None:
    found = read(json.dumps({"apiVersion": "v1", "kind": "Pod\x1b" + "x" * 500, "metadata": 5}))
    assert found.skipped
    found = read(
        json.dumps({"apiVersion": "\x1b", "kind": "Pod", "metadata": {"name": "\x1b" + "x" * 999}})
    )
    assert found.has_errors
    assert all(str(each).isprintable() and len(str(each)) < 400 for each in found.diagnostics)
