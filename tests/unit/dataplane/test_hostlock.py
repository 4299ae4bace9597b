"""One podwall at a time on a host."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from podwall.dataplane.command import SystemRunner
from podwall.dataplane.hostlock import host_lock
from podwall.errors import KernelError


def test_the_lock_is_taken_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(2):
        with host_lock(0, path):
            assert path.exists()


def test_a_second_podwall_waits_its_time_and_says_who_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        host_lock(0, path),
        pytest.raises(KernelError, match="another podwall"),
        host_lock(0, path),
    ):
        pass


def test_a_second_podwall_goes_on_as_soon_as_the_first_is_done(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = host_lock(0, path)
    first.__enter__()

    def finish(_seconds: float) -> None:
        first.__exit__(None, None, None)

    with host_lock(60, path, pause=finish):
        assert path.exists()


def test_a_lock_file_that_cannot_be_opened_is_an_error_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "lock"
    with pytest.raises(KernelError, match="missing/lock"), host_lock(0, path):
        pass


def test_nobody_else_can_read_the_lock_file_and_so_take_the_lock(tmp_path: Path) -> None:
    lax = tmp_path / "lax"
    lax.touch(0o644)
    for path in (tmp_path / "new", lax):
        with host_lock(0, path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_in_the_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KernelError, match="lock cannot be opened"), host_lock(0, path):
        pass
    assert not (tmp_path / "elsewhere").exists()


ORPHAN = """
import sys
from pathlib import Path
from podwall.dataplane.command import SystemRunner
from podwall.dataplane.hostlock import host_lock

with host_lock(0, Path(sys.argv[1])):
    script = "echo started > $0; read line < $1; echo late > $0"
    SystemRunner().run(["sh", "-c", script, *sys.argv[2:]])
"""


def test_what_a_killed_podwall_left_running_still_holds_the_lock(tmp_path: Path) -> None:
    path, told, pipe = tmp_path / "lock", tmp_path / "told", tmp_path / "pipe"
    os.mkfifo(pipe)
    killed = subprocess.Popen([sys.executable, "-c", ORPHAN, path, told, pipe])
    while not (told.exists() and told.read_text()):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    with pytest.raises(KernelError, match="another podwall"), host_lock(0, path):
        pass

    words = ["go on\n"]

    def let_it_end(seconds: float) -> None:
        if words:
            pipe.write_text(words.pop())
        time.sleep(seconds)

    with host_lock(10, path, pause=let_it_end):
        assert told.read_text() == "late\n"


def test_a_program_that_goes_on_does_not_hold_a_lock_that_was_given_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with host_lock(0, path):
        started = SystemRunner().run(["sh", "-c", "sleep 20 > /dev/null 2>&1 & echo $!"])
    try:
        with host_lock(0, path):
            pass
    finally:
        os.kill(int(started.stdout), signal.SIGKILL)
