"""Where an API server is and who we are there, as a value."""

from __future__ import annotations

import msgspec


class Identity(msgspec.Struct, frozen=True, tag="identity"):
    """Everything that a connection needs; texts are empty where there is nothing.

    Attributes:
        server: the URL.
        authority: certificates that the server's must come from, PEM.
        certificate, key: the client's own, PEM.
        authorization: the value of the header.
        proxy: URL of an HTTP proxy.
        server_name: the name that the server's certificate must have.
        insecure: take any certificate.
        expires: seconds since the epoch, where that is known.
        files: what all this was read from.
    """

    server: str
    authority: str = ""
    certificate: str = ""
    key: str = ""
    authorization: str = ""
    proxy: str = ""
    server_name: str = ""
    insecure: bool = False
    expires: float | None = None
    files: tuple[str, ...] = ()

    def __repr__(self) -> str:
        # Tokens and keys must not get into a log by accident.
        return f"Identity({self.server!r}, …)"
