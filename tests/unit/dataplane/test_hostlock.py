"""One podwall at a time on a host."""

from __future__ import annotations

from pathlib import Path

import pytest

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
