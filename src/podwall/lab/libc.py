"""The few system calls that Python 3.11 has no function for.

Each wrapper does one call and raises :class:`OSError` with the kernel's number; what a number means
for the lab is told by the callers.
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_LIBC.prctl.argtypes = (ctypes.c_int,) + (ctypes.c_ulong,) * 4


def unshare(flags: int) -> None:
    """Move the calling process into new namespaces of the kinds in ``flags``."""
    _check(_LIBC.unshare(ctypes.c_int(flags)), "unshare")


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace behind ``descriptor``; ``kind`` is checked."""
    _check(_LIBC.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def mount(source: str, target: str, filesystem: str, flags: int = 0, options: str = "") -> None:
    """Mount ``source`` on ``target``; an empty ``filesystem`` or ``options`` means none."""
    _check(
        _LIBC.mount(
            source.encode(),
            os.fsencode(target),
            filesystem.encode() or None,
            flags,
            options.encode() or None,
        ),
        target,
    )


def umount(target: str) -> None:
    """Unmount ``target`` as soon as nobody uses it."""
    _check(_LIBC.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)), target)


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends."""
    _check(_LIBC.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def stay_dumpable() -> None:
    """Keep this process's files in ``/proc`` its own, also after it changed its user."""
    _check(_LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
