"""TLS as an identity asks for it."""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit

from podwall.agent.watch.identity import Identity
from podwall.errors import InputError


def make_context(identity: Identity) -> ssl.SSLContext | None:
    """The context for connections to the server; ``None`` where it speaks plain HTTP.

    Raises:
        InputError: certificates or keys cannot be used.
    """
    if urlsplit(identity.server).scheme != "https":
        return None
    # Certificates are ASCII; what people write between them need not be, and ssl refuses it.
    authority = identity.authority.encode("ascii", "ignore").decode("ascii")
    try:
        context = ssl.create_default_context(cadata=authority or None)
    except ssl.SSLError as error:
        raise InputError(
            f"{identity.server}: its CA certificates cannot be used: {error}"
        ) from error
    # From Python 3.13 on certificates are held to all of RFC 5280, which many clusters' own do not
    # meet: kubeadm once made them without a key identifier.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if identity.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if identity.certificate:
        _present(context, identity)
    return context


def _present(context: ssl.SSLContext, identity: Identity) -> None:
    """Load the client's certificate; ssl takes it from files only, so from one in memory."""
    descriptor = os.memfd_create("podwall-client-certificate", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{identity.certificate}\n{identity.key}\n")
        file.flush()
        try:
            # Without a password ssl would ask for one at the terminal.
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
        except ssl.SSLError as error:
            words = f"the client certificate or its key cannot be used: {error}"
            raise InputError(f"{identity.server}: {words}") from error
