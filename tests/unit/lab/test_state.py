"""Notes about labs that stay up."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from podwall.errors import InputError, LabError
from podwall.lab import isolation, state
from podwall.lab.isolation import Isolated
from podwall.lab.state import Note


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def living() -> Isolated:
    """A world whose process is alive: this one."""
    me = os.getpid()
    return Isolated(keeper=me, holder=me, started=isolation.start_time(me) or 0)


def note_down(name: str, world: Isolated) -> Path:
    with state.locked() as base:
        directory, listener = state.reserve(base, name)
        listener.close()
        state.write_note(directory, Note(name, world))
    return directory


def test_a_noted_lab_is_found_by_its_name():
    note_down("one", living())
    note_down("two", living())
    assert [note.name for note in state.notes()] == ["one", "two"]
    assert state.find("two").world == living()


def test_the_directory_is_private():
    note_down("one", living())
    assert state.base_directory().stat().st_mode & 0o777 == 0o700


def test_a_note_of_a_dead_process_is_swept_away():
    directory = note_down("old", Isolated(keeper=os.getpid(), holder=os.getpid(), started=1))
    assert state.notes() == []
    assert not directory.exists()


def note_from_elsewhere(name: str) -> socket.socket:
    """A note whose process ids count in another process namespace; its lab's socket."""
    with state.locked() as base:
        directory, listener = state.reserve(base, name)
        nobody = Isolated(keeper=1, holder=1, started=1)
        state.write_note(directory, Note(name, nobody, among=1))
    return listener


def test_a_lab_of_another_process_namespace_is_left_alone_while_it_listens():
    with note_from_elsewhere("theirs"):
        assert state.notes() == []
        with pytest.raises(LabError, match="no lab named 'theirs' is up"):
            state.find("theirs")
        with pytest.raises(LabError, match="'theirs' is up: it was started outside of this"):
            note_down("theirs", living())
        assert (state.base_directory() / "theirs").exists()
    assert state.notes() == []
    assert not (state.base_directory() / "theirs").exists()


def test_a_directory_without_a_note_is_swept_away():
    stale = state.base_directory() / "stale"
    stale.mkdir()
    (stale / "state.json").write_text("{")
    assert state.notes() == []
    assert not stale.exists()


def test_a_name_is_taken_while_its_lab_is_up():
    note_down("one", living())
    with pytest.raises(LabError, match="a lab named 'one' is up"):
        note_down("one", living())
    state.forget("one")
    note_down("one", living())


def test_an_unknown_lab_is_an_error_that_lists_the_known():
    with pytest.raises(LabError, match="no lab named 'x' is up: 'podwall lab up FILES'"):
        state.find("x")
    note_down("one", living())
    with pytest.raises(LabError, match="up are: one"):
        state.find("x")


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "-a", "a" * 41, "a\n"])
def test_a_name_cannot_lead_out_of_the_directory(name: str):
    with pytest.raises(InputError):
        state.find(name)


def test_somebody_elses_directory_is_not_used(tmp_path: Path):
    (tmp_path / "podwall-lab").symlink_to(tmp_path)
    with pytest.raises(LabError, match="is not a private directory of this user"):
        state.base_directory()


def test_a_directory_that_others_may_enter_is_not_used(tmp_path: Path):
    (tmp_path / "podwall-lab").mkdir(mode=0o755)
    with pytest.raises(LabError, match="is not a private directory of this user"):
        state.base_directory()


def test_the_control_socket_works_however_deep_its_directory_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with state.locked() as base:
        _directory, listener = state.reserve(base, "one")
    with listener, state.connect("one") as ours, listener.accept()[0] as theirs:
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"


def test_a_lab_that_does_not_listen_is_an_error():
    with pytest.raises(LabError, match="the lab 'one' does not answer"):
        state.connect("one")


def test_a_process_has_a_start_time_until_it_is_gone():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert isolation.start_time(child) is None
    assert isolation.start_time(os.getpid()) == isolation.start_time(os.getpid())
