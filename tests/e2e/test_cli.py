"""The commands as their users have them: processes with exit statuses, output and a terminal."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from podwall import __version__
from podwall.api import Cluster
from podwall.cli.main import COMMANDS, LAB_COMMANDS, Command, build_parser, main
from podwall.dataplane.command import Completed, SystemRunner

GOLDEN = Path(__file__).parents[1] / "golden"
EXAMPLE = str(GOLDEN / "example" / "cluster.yaml")
BROKEN = str(GOLDEN / "hostile-names" / "cluster.yaml")
PODWALL = (sys.executable, "-m", "podwall")
NODE = "worker-1"
COLOUR = re.compile(r"\x1b\[([0-9]+;)*3[0-7]m")
"""What makes a terminal write in colour; bold text may stay where colour is not wanted."""

FRONTEND, DB = "default/frontend", "default/db-0"

ALL_COMMANDS = [
    *(pytest.param((each.name,), each, id=each.name) for each in COMMANDS),
    *(pytest.param(("lab", each.name), each, id=f"lab {each.name}") for each in LAB_COMMANDS),
]


def podwall(*words: str, text: str | None = None, **env: str) -> Completed:
    """Run podwall as a process of its own, without a terminal."""
    return SystemRunner(env=env).run([*PODWALL, *words], input=text)


def results(*words: str) -> Any:
    """What a command prints with ``-o json``."""
    completed = podwall(*words, "-o", "json")
    assert "Traceback" not in completed.stderr
    return json.loads(completed.stdout)


# Help and options


@pytest.mark.parametrize(("words", "command"), ALL_COMMANDS)
def test_the_help_of_every_command_shows_its_examples(
    words: tuple[str, ...], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: podwall {' '.join(words)} ")
    assert command.examples
    for example in command.examples:
        assert f"  {example}\n" in text


@pytest.mark.parametrize(("words", "command"), ALL_COMMANDS)
def test_the_options_of_every_example_are_understood(
    words: tuple[str, ...], command: Command
) -> None:
    for example in command.examples:
        argv = _podwall_words(example)
        assert tuple(argv[: len(words)]) == words
        assert callable(build_parser(argv).parse_args(argv).run)


def _podwall_words(example: str) -> list[str]:
    """The words after ``podwall`` in a line for a shell."""
    command = re.split(r"[|>]", example[example.index("podwall ") :])[0]
    return shlex.split(command)[1:]


def test_the_manifests_that_examples_name_are_there() -> None:
    root = GOLDEN.parents[1]
    named = {
        word
        for command in (*COMMANDS, *LAB_COMMANDS)
        for example in command.examples
        for word in _podwall_words(example)
        if word.startswith("examples/")
    }
    assert named
    assert all((root / name).exists() for name in named)


ON_FILES = [
    example
    for command in COMMANDS
    for example in command.examples
    if command.name not in ("drops", "ui")
    if re.search(r" examples/", example) and "--lab" not in example
]
"""Examples that need nothing but the manifests of this repository."""


@pytest.mark.parametrize("example", ON_FILES)
def test_the_examples_on_shipped_manifests_work(example: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(GOLDEN.parents[1] / "examples")
    program = f'podwall() {{ {shlex.join(PODWALL)} "$@"; }}; {example}'
    done = subprocess.run(
        ["sh", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    # 1 is a finding: a change that opens something, a policy that is not known to be safe.
    assert done.returncode in ((0, 1) if re.search(r"audit|--fail-on", example) else (0,))
    assert "error" not in done.stderr
    assert done.stdout or any(each.name != "examples" for each in tmp_path.iterdir())


def test_commands_that_look_at_files_have_an_example_that_is_run() -> None:
    covered = {_podwall_words(each)[0] for each in ON_FILES}
    asked = {"render", "explain", "matrix", "report", "check", "draw", "audit", "whatif"}
    assert covered == asked | {"learn", "test"}


@pytest.mark.parametrize("form", ["table", "json"])
def test_results_that_cannot_be_written_are_a_failure_and_no_finding(form: str) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*PODWALL, "matrix", EXAMPLE, "-o", form],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr == "error: the output: it cannot be written: No space left on device\n"


def test_all_but_the_agent_runs_without_the_packages_of_the_agent() -> None:
    program = """
import sys

sys.modules |= dict.fromkeys(("aiohttp", "kubernetes_asyncio", "prometheus_client", "shtab"))

from podwall.cli.main import build_parser, main

build_parser()
sys.exit(main(sys.argv[1:]))
"""
    without = SystemRunner().run([sys.executable, "-c", program, "agent", "--node-name=a"])
    assert "extra [agent]; in a checkout: scripts/setup agent" in without.stderr
    assert without.status == 2


def test_the_version_is_told() -> None:
    completed = podwall("--version")
    assert (completed.status, completed.stdout) == (0, f"podwall {__version__}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "COMMAND"),
        (("rendre",), "invalid choice"),
        (("explain", EXAMPLE), "--from"),
        (("matrix", EXAMPLE, "--nodes", "0"), "from 1 to 250"),
        (("matrix", EXAMPLE, "--ipv6", "--dual-stack"), "not allowed with"),
        (("lab", "run", EXAMPLE, "--cni", "flannel"), "invalid choice"),
    ],
)
def test_options_that_cannot_be_understood_end_with_status_2(
    words: tuple[str, ...], message: str
) -> None:
    completed = podwall(*words)
    assert completed.status == 2
    assert message in completed.stderr
    assert completed.stdout == ""


# Exit statuses


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("render", EXAMPLE, "--node", NODE), 0),
        (("explain", EXAMPLE, "--from", "10.9.9.9", "--to", DB), 0),
        (("matrix", EXAMPLE), 0),
        (("check", EXAMPLE), 1),
        (("check", EXAMPLE, "--fail-on", "error"), 0),
        (("check", EXAMPLE, "--fail-on", "never"), 0),
        (("check", EXAMPLE, "--ignore", "egress-without-dns"), 0),
        (("check", "--list"), 0),
        (("check",), 2),
        (("check", EXAMPLE, "--ignore", "no-such-check"), 2),
        (("render", EXAMPLE), 2),
        (("render", EXAMPLE, "--node", "worker-9"), 2),
        (("render", EXAMPLE, "--node", NODE, "--out", "/dev/null/x"), 2),
        (("explain", EXAMPLE, "--from", "default/nobody", "--to", DB), 2),
        (("explain", EXAMPLE, "--from", FRONTEND, "--to", DB, "--port", "99999"), 2),
        (("matrix", "/nowhere.yaml"), 2),
        (("matrix", BROKEN), 2),
        (("check", BROKEN, "--fail-on", "never"), 2),
        (("lab", "status", "--name", "no-such-lab"), 3),
        (("lab", "probe", "--name", "no-such-lab"), 3),
        (("lab", "exec", "default/web-0"), 2),
    ],
    ids=lambda value: " ".join(map(os.path.basename, value)) if isinstance(value, tuple) else None,
)
def test_exit_statuses_tell_findings_from_bad_input_and_from_failures(
    words: tuple[str, ...], status: int
) -> None:
    completed = podwall(*words)
    assert completed.status == status, completed.stderr
    assert "Traceback" not in completed.stderr
    assert status < 2 or "error: " in completed.stderr


def test_bad_input_is_reported_all_at_once_and_the_rest_is_still_shown() -> None:
    completed = podwall("matrix", BROKEN, "-o", "csv")
    errors = [line for line in completed.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) >= 10
    assert all(re.match(r"error: \S+cluster\.yaml:\d+: ", line) for line in errors)
    assert len(list(csv.reader(completed.stdout.splitlines()))) > 10


def test_manifests_can_come_from_standard_input() -> None:
    text = Path(EXAMPLE).read_text()
    piped = podwall("matrix", "-", "-o", "json", text=text)
    assert piped.status == 0
    assert json.loads(piped.stdout) == results("matrix", EXAMPLE)


# Output


@pytest.mark.parametrize(
    "words",
    [
        ("render", EXAMPLE, "--node", NODE),
        ("explain", EXAMPLE, "--from", FRONTEND, "--to", DB, "--port", "6379"),
        ("matrix", EXAMPLE),
        ("matrix", EXAMPLE, "--by", "pod", "--no-outside"),
        ("check", EXAMPLE),
        ("check", "--list"),
        ("lab", "status"),
    ],
    ids=" ".join,
)
def test_json_is_the_only_thing_on_standard_output(words: tuple[str, ...]) -> None:
    assert results(*words)


def test_render_gives_the_bytes_of_the_golden_files_every_time(tmp_path: Path) -> None:
    printed = podwall("render", EXAMPLE, "--node", NODE)
    assert printed == podwall("render", EXAMPLE, "--node", NODE, PYTHONHASHSEED="7")
    golden = {
        name: (GOLDEN / "example" / name).read_text()
        for name in ("ipset.restore", "iptables.restore", "ip6tables.restore")
    }
    assert printed.stdout == "".join(f"### {NODE}: {name}\n{text}" for name, text in golden.items())
    assert results("render", EXAMPLE, "--node", NODE) == {"node": NODE, **golden}
    out = tmp_path / "deep" / "down"
    podwall("render", EXAMPLE, "--node", NODE, "--out", str(out))
    assert {file.name: file.read_text() for file in out.iterdir()} == golden


def test_explain_says_what_the_python_api_says() -> None:
    cluster = Cluster.load([EXAMPLE])
    for source in (FRONTEND, "default/stranger", "partner/importer", "172.17.1.9", "172.17.2.9"):
        (told,) = results("explain", EXAMPLE, "--from", source, "--to", DB, "--port", "6379/tcp")
        allowed = cluster.allowed(source, DB, "6379/tcp")
        assert told["verdict"] == ("allowed" if allowed else "denied")
        assert told["rules_agree"]
        text = podwall("explain", EXAMPLE, "--from", source, "--to", DB, "--port", "6379").stdout
        assert told["verdict"].upper() in text.splitlines()[0]
        assert "The way through the kernel" in text


def test_the_matrix_is_the_same_as_table_json_and_csv() -> None:
    cells = results("matrix", EXAMPLE, "--by", "pod")["cells"]
    rows = list(
        csv.DictReader(podwall("matrix", EXAMPLE, "--by", "pod", "-o", "csv").stdout.splitlines())
    )
    assert [(row["from"], row["to"], row["reach"]) for row in rows] == [
        (cell["from"], cell["to"], cell["text"]) for cell in cells
    ]
    assert {"from": FRONTEND, "to": DB, "family": "ipv4", "reach": "6379/tcp"} in rows
    table = podwall("matrix", EXAMPLE, "--by", "pod").stdout
    assert "6379/tcp" in table
    assert DB in table


def test_findings_hold_the_clause_they_rest_on() -> None:
    (finding,) = results("check", EXAMPLE)
    assert finding["code"] == "egress-without-dns"
    assert finding["clause"] == "S35"
    assert results("check", EXAMPLE, "--ignore", finding["code"]) == []


def test_switches_reach_the_answers() -> None:
    words = ("explain", EXAMPLE, "--from", DB, "--to", f"node/{NODE}")
    assert results(*words)[0]["verdict"] == "denied"
    (told,) = results(*words, "--allow-node-egress")
    assert told["verdict"] == "allowed"
    assert told["egress"]["exemption"] == "node_egress"
    assert told["rules_agree"]


# Terminals, pipes and signals


def on_a_terminal(words: Sequence[str], **env: str) -> str:
    """What a command prints when its standard output is a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    with subprocess.Popen(
        [*PODWALL, *words], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
    ):
        os.close(theirs)
        text = b""
        try:
            while data := os.read(ours, 1 << 16):
                text += data
        except OSError:
            pass  # Linux says so when the last writer of a terminal is gone
        finally:
            os.close(ours)
    return text.decode()


def test_colour_is_for_terminals_only() -> None:
    words = ("explain", EXAMPLE, "--from", "10.9.9.9", "--to", DB)
    assert COLOUR.search(on_a_terminal(words))
    assert not COLOUR.search(on_a_terminal(words, NO_COLOR="1"))
    piped = podwall(*words)
    assert "\x1b" not in piped.stdout + piped.stderr
    assert "\x1b" not in podwall("check", BROKEN).stderr


@pytest.mark.parametrize(
    "words",
    [
        ("render", EXAMPLE, "--node", NODE),
        ("explain", EXAMPLE, "--from", FRONTEND, "--to", DB, "-o", "json"),
        ("explain", EXAMPLE, "--from", FRONTEND, "--to", DB),
        ("matrix", EXAMPLE),
        ("matrix", EXAMPLE, "-o", "csv"),
        ("check", "--list"),
        ("completion", "bash"),
    ],
    ids=lambda words: " ".join(map(os.path.basename, words)),
)
def test_a_reader_that_has_enough_is_no_error(words: tuple[str, ...]) -> None:
    with subprocess.Popen(
        [*PODWALL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_verdict_that_nobody_read_is_not_yes() -> None:
    # With pipefail, "podwall audit ... | head && kubectl annotate ..." must not go on.
    shop, audited = (f"{Path(__file__).parents[2]}/examples/{each}" for each in ("shop", "audit"))
    with subprocess.Popen(
        [*PODWALL, "audit", shop, audited], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
    assert process.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("stream", [1, 2])
def test_a_stream_that_is_closed_from_the_start_is_no_error(stream: int) -> None:
    words = shlex.join([*PODWALL, "check", BROKEN])
    completed = SystemRunner().run(["bash", "-c", f"{words} {stream}>&-"], input=None)
    assert completed.status == podwall("check", BROKEN).status
    assert "Traceback" not in completed.stdout + completed.stderr


def test_ctrl_c_ends_a_command_with_status_130_and_without_a_traceback() -> None:
    with subprocess.Popen(
        [*PODWALL, "matrix", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        # More than a pipe holds: once all is written, the command is reading.
        process.stdin.write("# nothing yet\n" * 20_000)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        # Python sees a signal that came just before a read blocks only once that read returns.
        process.stdin.close()
        said = process.stderr.read()
    assert process.returncode == 130
    assert said == "error: interrupted\n"


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_scripts_know_every_command_and_its_options(shell: str) -> None:
    completed = podwall("completion", shell)
    assert completed.status == 0
    for command in (*COMMANDS, *LAB_COMMANDS):
        assert command.name in completed.stdout
    for option in ("dual-stack", "node-name", "fail-on"):
        assert option in completed.stdout


def test_the_script_for_bash_completes_commands_and_options(tmp_path: Path) -> None:
    script = tmp_path / "podwall.bash"
    script.write_text(podwall("completion", "bash").stdout)
    assert "explain" in _completions(script, "podwall", "ex")
    assert "--dual-stack" in _completions(script, "podwall", "matrix", "--du")
    assert "status" in _completions(script, "podwall", "lab", "st")


def _completions(script: Path, *words: str) -> list[str]:
    """What bash would offer after these words, of which the last is not finished."""
    quoted = " ".join(map(shlex.quote, words))
    completed = SystemRunner().run(
        [
            "bash",
            "--norc",
            "-c",
            f"""
        source {shlex.quote(str(script))} &&
        COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1} &&
        function_name=$(complete -p podwall | sed -E 's/.*-F ([^ ]+).*/\\1/') &&
        "$function_name" podwall {shlex.quote(words[-1])} {shlex.quote(words[-2])} &&
        printf '%s\\n' "${{COMPREPLY[@]}}"
        """,
        ]
    )
    assert completed.status == 0, completed.stderr
    return completed.stdout.split()
