"""Programs are started without a shell, bounded in time, and missing ones are named."""

from __future__ import annotations

import itertools
import os
import resource
from pathlib import Path

import pytest

from podwall.dataplane.command import SystemRunner, check, command_environment
from podwall.errors import CommandFailed, CommandTimeout, KernelError, ToolMissing


def test_a_program_gets_its_input_and_gives_output_and_status() -> None:
    done = SystemRunner().run(["sh", "-c", "cat; echo oops >&2; exit 3"], input="héllo")
    assert (done.stdout, done.stderr, done.status) == ("héllo", "oops\n", 3)


def test_all_of_the_input_is_there_before_the_program_starts() -> None:
    """Whoever kills us later leaves no half of a line to it; a pipe holds 64 KiB at most."""
    done = SystemRunner().run(["stat", "-L", "-c", "%s", "/dev/stdin"], input="x" * 1_000_000)
    assert done.stdout == "1000000\n"


def test_words_are_never_read_by_a_shell() -> None:
    words = ["printf", "%s", "$HOME; `id` | \n *"]
    assert SystemRunner().run(words).stdout == "$HOME; `id` | \n *"


def test_a_program_without_input_reads_nothing_of_ours() -> None:
    assert SystemRunner().run(["cat"]).stdout == ""


def test_output_that_is_not_utf8_is_kept_readable() -> None:
    assert SystemRunner().run(["printf", r"a\377b"]).stdout == "a\\xffb"


def test_programs_speak_the_c_locale_and_find_the_system_tools() -> None:
    env = command_environment({"PATH": "/opt/x:/usr/sbin", "LC_ALL": "de_DE.UTF-8", "A": "b"})
    assert env == {"PATH": "/opt/x:/usr/sbin:/usr/local/sbin:/sbin", "LC_ALL": "C", "A": "b"}


def test_a_given_environment_adds_to_our_own() -> None:
    runner = SystemRunner(env={"PODWALL_TEST": "1"})
    said = runner.run(["sh", "-c", "echo $PODWALL_TEST $LC_ALL $HOME"]).stdout
    assert said == f"1 C {os.environ.get('HOME', '')}\n"


def test_the_prefix_stands_before_every_command() -> None:
    assert SystemRunner(prefix=("env", "A=1")).run(["sh", "-c", "echo $A"]).stdout == "1\n"


@pytest.mark.parametrize(
    ("program", "package"),
    [("ip6tables-nope-restore", "iptables"), ("ipset-nope", "ipset"), ("nope", "nope")],
)
def test_a_missing_program_is_named_with_its_package(program: str, package: str) -> None:
    with pytest.raises(ToolMissing) as missing:
        SystemRunner().run([program])
    assert (missing.value.tool, missing.value.package) == (program, package)


@pytest.mark.parametrize(
    "said",
    [
        "nsenter: failed to execute ipset-nope: No such file or directory",
        'exec of "ipset-nope" failed: No such file or directory',
    ],
)
def test_a_program_that_the_prefix_does_not_find_is_missing_too(said: str) -> None:
    prefix = ("sh", "-c", 'echo "$0" >&2; exit 127', said)
    with pytest.raises(ToolMissing) as missing:
        SystemRunner(prefix).run(["ipset-nope"])
    assert missing.value.package == "ipset"


def test_a_program_that_does_not_end_is_killed_with_its_children() -> None:
    # The child keeps the pipes open: only killing the whole group lets the call come back.
    script = "echo $$; sleep 600 & wait"
    with pytest.raises(CommandTimeout) as timeout:
        SystemRunner().run(["sh", "-c", script], timeout=0.2)
    assert timeout.value.seconds == 0.2


def test_a_failed_command_says_what_and_why() -> None:
    argv = ["sh", "-c", "echo no such set >&2; exit 1"]
    done = SystemRunner().run(argv)
    with pytest.raises(CommandFailed, match="status 1: no such set"):
        check(argv, done)
    assert check(["true"], SystemRunner().run(["true"])) == ""


def test_a_program_that_cannot_be_started_is_an_error_of_the_host(tmp_path: Path) -> None:
    program = tmp_path / "ipset"
    program.write_text("no program")
    with pytest.raises(KernelError, match=r"ipset cannot be started: Permission denied"):
        SystemRunner().run([str(program)])


@pytest.mark.parametrize("data", [None, "add PW4-p-x 10.0.0.1\n"])
def test_a_host_without_files_or_processes_to_spare_is_an_error_and_nothing_leaks(
    data: str | None,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = sorted(os.listdir("/proc/self/fd"))
    free = next(each for each in itertools.count() if not os.path.exists(f"/proc/self/fd/{each}"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + (data is not None), hard))
    try:
        with pytest.raises(KernelError, match=r"cat cannot be started: Too many open files"):
            SystemRunner().run(["cat"], input=data)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sorted(os.listdir("/proc/self/fd")) == before
