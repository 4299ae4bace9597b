"""Where settings come from, which of them count, and what their errors say."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from podwall.agent.config.fields import FIELDS, Listen
from podwall.agent.config.loading import (
    AgentConfig,
    Loaded,
    config_dict,
    load_config,
    render_config,
)
from podwall.dataplane.iptables.mode import Mode
from podwall.errors import InputError
from podwall.model.net import parse_cidr
from podwall.model.settings import DenyAction, Settings


def config(
    flags: dict[str, str] | None = None,
    env: dict[str, str] | None = None,
    file: Path | None = None,
) -> AgentConfig:
    return load_config(flags or {}, env or {}, None if file is None else str(file)).config


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_without_any_source_the_closed_defaults_hold() -> None:
    found = config()
    assert found.node_name == socket.gethostname().lower()
    assert found.settings == Settings()
    assert found.listen == Listen("127.0.0.1", 9642)
    assert found.metrics_listen is None
    assert found.iptables_mode is None
    assert found.prefix == ()
    assert found.events


def test_what_is_denied_is_logged_if_asked_to_the_group_that_is_asked() -> None:
    assert not config().settings.log_denied
    found = config({"log-denied": "true", "log-group": "65535"}).settings
    assert (found.log_denied, found.log_group) == (True, 65535)


@pytest.mark.parametrize("text", ["65536", "-1", "9357.0", "٣", "group", "123456"])
def test_a_log_group_is_a_number_of_16_bits(text: str) -> None:
    with pytest.raises(InputError, match=r'--log-group: ".*": expected a number from 0 to 65535'):
        config({"log-group": text})


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "agent.yaml", "deny: reject\ncheck-every: 7\nlog-format: json\n")
    env = {"PODWALL_CHECK_EVERY": "8", "PODWALL_LOG_LEVEL": "debug", "PODWALL_DENY": "reject"}
    found = config({"log-level": "error", "deny": "drop"}, env, file)
    assert found.log_format == "json"
    assert found.check_every == 8
    assert found.log_level == "error"
    assert found.settings.deny is DenyAction.DROP


def test_the_environment_names_the_file_where_no_flag_does(tmp_path: Path) -> None:
    first = write(tmp_path / "first.yaml", "mode: nft")
    second = write(tmp_path / "second.yaml", "mode: legacy")
    assert config(env={"PODWALL_CONFIG": str(first)}).iptables_mode is Mode.NFT
    assert config(env={"PODWALL_CONFIG": str(first)}, file=second).iptables_mode is Mode.LEGACY


def test_the_node_is_named_by_a_setting_then_by_the_downward_api_then_by_the_host() -> None:
    env = {"NODE_NAME": "from-downward-api"}
    assert config(env=env).node_name == "from-downward-api"
    assert config(env={**env, "PODWALL_NODE_NAME": "own"}).node_name == "own"
    assert config({"node-name": "flag"}, env).node_name == "flag"


def test_yaml_json_and_toml_files_say_the_same(tmp_path: Path) -> None:
    yaml = write(
        tmp_path / "a.yaml", "pod-cidrs: [10.1.0.0/24, 'fd00::/64']\nevents: false\nlock-wait: 2.5"
    )
    json = write(
        tmp_path / "a.json",
        '{"pod-cidrs": "10.1.0.0/24,fd00::/64", "events": "off", "lock-wait": 2.5}',
    )
    toml = write(
        tmp_path / "a.toml",
        'pod-cidrs = ["10.1.0.0/24", "fd00::/64"]\nevents = false\nlock-wait = 2.5\n',
    )
    found = config(file=yaml)
    assert found.pod_cidrs == (parse_cidr("10.1.0.0/24"), parse_cidr("fd00::/64"))
    assert not found.events
    assert found == config(file=json) == config(file=toml)


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    assert config(file=write(tmp_path / "a.yaml", "# nothing yet\n")) == config()


@pytest.mark.parametrize(
    ("flags", "env", "message"),
    [
        ({"check-every": "soon"}, {}, '--check-every: "soon": expected a number of seconds'),
        ({}, {"PODWALL_CHECK_EVERY": "0"}, 'PODWALL_CHECK_EVERY: "0": expected a number of sec'),
        ({}, {"PODWALL_CHECK_EVERY": "nan"}, 'PODWALL_CHECK_EVERY: "nan": expected a number'),
        ({}, {"PODWALL_EVENTS": "maybe"}, 'PODWALL_EVENTS: "maybe": expected true or false'),
        ({}, {"NODE_NAME": "Not A Name"}, 'NODE_NAME: "Not A Name": expected the name of a node'),
        ({"listen": "localhost"}, {}, '--listen: "localhost": expected ADDRESS:PORT'),
        ({"listen": "[nowhere]:80"}, {}, '--listen: "[nowhere]:80": expected ADDRESS:PORT'),
        ({"mode": "nftables"}, {}, '--mode: "nftables": expected auto, legacy or nft'),
        ({"pod-cidrs": "10.0.0.0/33"}, {}, '--pod-cidrs: "10.0.0.0/33": expected ranges'),
        ({"state-dir": "run"}, {}, '--state-dir: "run": expected an absolute path'),
        ({"command-prefix": "'half"}, {}, "expected words as a shell reads them"),
        ({"node-name": "a\nb"}, {}, r'--node-name: "a\nb": expected the name of a node'),
    ],
)
def test_an_error_names_the_source_the_text_and_what_is_wanted(
    flags: dict[str, str], env: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError) as error:
        config(flags, env)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_text_is_an_error_also_where_another_source_overrules_it() -> None:
    with pytest.raises(InputError, match="PODWALL_DENY"):
        config({"deny": "drop"}, {"PODWALL_DENY": "perhaps"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "chek-every: 5", 'no setting "chek-every"; did you mean check-every?'),
        ("a.yaml", "deny: drop\ndeny: drop", "a.yaml:2: deny is there twice"),
        ("a.yaml", "- deny", "a.yaml: it is a list, expected a mapping of settings"),
        ("a.yaml", "deny: {a: b}", "a.yaml: deny: it is a mapping, expected one value"),
        ("a.yaml", "deny: [drop]", "a.yaml: deny: it is a list, expected one value"),
        ("a.yaml", "deny: 'drop", "a.yaml:1: it is not YAML"),
        ("a.yaml", "a: 1\n---\nb: 2", "it holds 2 documents, expected one"),
        ("a.toml", "deny = drop", "a.toml: it is not TOML"),
        ("a.yaml", "check-every: never", 'a.yaml: check-every: "never": expected a number'),
    ],
)
def test_an_error_in_a_file_names_the_file_and_the_setting(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(InputError) as error:
        config(file=write(tmp_path / name, text))
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        config(file=tmp_path / "a.yaml")


def test_a_variable_that_sets_nothing_is_doubtful_and_a_services_or_labs_is_not() -> None:
    env = {
        "PODWALL_NODENAME": "a",
        "PODWALL_SERVICE_HOST": "10.0.0.1",
        "PODWALL_METRICS_SERVICE_PORT_HTTP": "9642",
        "PODWALL_PORT_9642_TCP_ADDR": "10.0.0.1",
        "PODWALL_PORT": "tcp://10.0.0.1:9642",
        "PODWALL_LAB": "default",
    }
    (doubt,) = load_config({}, env).warnings
    assert doubt == (
        'the environment variable "PODWALL_NODENAME" sets nothing; did you mean PODWALL_NODE_NAME?'
    )


def test_no_setting_is_called_like_what_a_service_puts_into_the_environment() -> None:
    for field in FIELDS:
        assert not load_config({}, {field.variable: ""}).warnings
        assert "SERVICE" not in field.variable
        assert "_PORT" not in field.variable


def test_a_network_namespace_becomes_a_prefix_behind_that_which_is_given() -> None:
    found = config({"netns": "/run/netns/a", "command-prefix": "nsenter '--target=1 ' --"})
    assert found.prefix == (
        *("nsenter", "--target=1 ", "--"),
        *("nsenter", "--net=/run/netns/a", "--"),
    )


def test_what_is_printed_is_a_file_that_means_the_same(tmp_path: Path) -> None:
    flags = {"listen": "[::]:80", "pod-cidrs": "10.0.0.0/8, fd00::/64", "lock-wait": "0"}
    loaded = load_config(flags, {"PODWALL_ALLOW_NODE_EGRESS": "yes", "NODE_NAME": "n1"})
    text = render_config(loaded)
    assert "allow-node-egress: true  # PODWALL_ALLOW_NODE_EGRESS\n" in text
    assert 'deny: "drop"  # default\n' in text
    again = load_config({}, {}, str(write(tmp_path / "again.yaml", text)))
    assert again.config == loaded.config
    assert config_dict(again) == config_dict(loaded)


def test_the_defaults_of_the_fields_are_those_of_the_type() -> None:
    loaded: Loaded = load_config({}, {"NODE_NAME": "n1"})
    assert loaded.config == AgentConfig(node_name="n1", listen=Listen("127.0.0.1", 9642))
