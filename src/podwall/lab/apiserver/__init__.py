"""A Kubernetes API server in memory, for tests and for the lab.

It speaks enough of the API over HTTP that the real ``kubectl`` works on it, keeps the promises that
list and watch clients rely on (one resourceVersion for everything, consistent pages, bookmarks, 410
after compaction), words its errors as the real one does, and fails in the ways in which a real one
fails, when it is told to. It stores what it is given and runs no controllers; of a kubelet it only
plays the part that lets deleted pods end.

:class:`~podwall.lab.apiserver.server.Server` serves an :class:`Api` (verbs and their rules), which
keeps its objects in a :class:`Store` (versions and history). Only what serves over HTTP needs
aiohttp, so it is not loaded from here: the lab asks this package which kinds are served also where
nothing is. Nothing here knows about podwall or about the tests.
"""

from podwall.lab.apiserver.api import Api
from podwall.lab.apiserver.status import ApiError
from podwall.lab.apiserver.store import Store

__all__ = ["Api", "ApiError", "Store"]
