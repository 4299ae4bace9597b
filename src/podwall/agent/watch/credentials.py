"""Where the API server is, and who we are."""

from __future__ import annotations

import ssl


class Access:
    """Where the API server is, and who we are.

    ``tls`` is ``None`` where the server speaks plain HTTP.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.tls: ssl.SSLContext | None = None
        self.proxy = ""
        self.server_name = ""

    async def headers(self) -> dict[str, str]:
        """Headers that say who we are."""
        return {}

    async def renew(self) -> bool:
        """Take care that the next headers are fresh; whether there is hope that they differ."""
        return False
