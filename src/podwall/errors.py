"""Every exception that podwall raises on purpose.

The tree; callers branch on the type, never on the text:

    PodwallError
    ├── InputError              manifests, options or addresses that cannot be used (exit status 2)
    │   ├── AddressError        a text that is no address, CIDR or port range
    │   └── UnusableInput       no file could be read (podwall.manifest)
    ├── CompileError            valid input that cannot be compiled (a defect)
    ├── KernelError             the kernel or its tools did not do what was asked (exit status 3)
    │   ├── ToolMissing         iptables, ipset or another program is not installed
    │   ├── CommandFailed       a program ended with a status other than 0
    │   │   └── BatchRefused    a restore batch was refused; knows the line
    │   │       └── StepRefused the same, and knows the step of the plan (podwall.dataplane.apply)
    │   ├── CommandTimeout      a program did not end in time
    │   └── LockTimeout         another program held the xtables lock for too long
    ├── LabError                the lab cannot be built, found or entered (exit status 3)
    └── AgentError              the agent cannot run, or cannot be asked (exit status 3)
        └── ApiError            the API server did not do what was asked
            ├── ApiUnreachable  no answer: refused, broken off, no TLS, or not in time
            │   └── ApiSilent   it answered, and then nothing came for too long
            ├── ApiGarbled      an answer that makes no sense
            └── ApiRefused      an answer with an error status; knows code and reason
                ├── ApiInvalid      400, 422: the server does not take such a request
                ├── ApiUnauthorized 401: the credentials are not known
                ├── ApiForbidden    403: RBAC does not allow it
                ├── ApiNotFound     404
                ├── ApiConflict     409: it exists already, or was changed meanwhile
                ├── ApiExpired      410: the past that was asked for is forgotten
                ├── ApiThrottled    429: too many requests; may know how long to wait
                └── ApiFailed       5xx: the server could not do it; may know how long to wait
"""

from __future__ import annotations

from collections.abc import Sequence


class PodwallError(Exception):
    """Base of all errors that podwall raises on purpose."""


class InputError(PodwallError):
    """Input that cannot be used; the message names the object or the option, and the path in it."""


class AddressError(InputError):
    """A text that is not the address, CIDR or port range it should be."""


class CompileError(PodwallError):
    """The compiler met a state that valid input never leads to."""


class KernelError(PodwallError):
    """The kernel, or a program that talks to it, did not do what was asked."""


class ToolMissing(KernelError):
    """A program that podwall needs is not on the search path."""

    def __init__(self, tool: str, package: str) -> None:
        super().__init__(f"{tool} is not installed; it comes with the system package {package}")
        self.tool = tool
        self.package = package


class CommandFailed(KernelError):
    """A program ended with a status other than 0."""

    def __init__(self, argv: Sequence[str], status: int, stderr: str) -> None:
        detail = stderr.strip() or "it said nothing"
        super().__init__(f"{' '.join(argv)} ended with status {status}: {detail}")
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr


class BatchRefused(CommandFailed):
    """A restore program refused a batch.

    ``line`` counts from 1 in the text that was sent and is ``None`` where the program named none
    (legacy iptables reports what the kernel refuses at ``COMMIT``).
    """

    def __init__(
        self, argv: Sequence[str], status: int, stderr: str, line: int | None, text: str
    ) -> None:
        super().__init__(argv, status, stderr)
        self.line = line
        self.text = text

    @property
    def summary(self) -> str:
        """The message without the lines around, which may be about other users' policies."""
        lines = self.text.splitlines()
        reason = self.stderr.strip() or f"status {self.status}"
        if self.line is None:
            return f"{self.argv[0]} refused a batch of {len(lines)} lines: {reason}"
        return f"{self.argv[0]} refused line {self.line} of {len(lines)}: {reason}"

    def __str__(self) -> str:
        if self.line is None:
            return self.summary
        lines = self.text.splitlines()
        first = max(0, self.line - 3)
        around = "\n".join(
            f"  {'>' if number == self.line else ' '} {number:4} {line}"
            for number, line in enumerate(lines[first : self.line + 2], start=first + 1)
        )
        return f"{self.summary}\n{around}"


class CommandTimeout(KernelError):
    """A program did not end within its bound and was killed."""

    def __init__(self, argv: Sequence[str], seconds: float) -> None:
        super().__init__(f"{' '.join(argv)} did not end within {seconds:g} s and was killed")
        self.argv = tuple(argv)
        self.seconds = seconds


class LockTimeout(KernelError):
    """Another program held the xtables lock for longer than podwall waits."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"another program held the xtables lock (/run/xtables.lock) for {seconds:g} s; "
            "nothing was changed by the refused step, the next apply goes on from here"
        )
        self.seconds = seconds


class LabError(PodwallError):
    """The lab cannot be built, found or entered."""


class AgentError(PodwallError):
    """The agent cannot run on this node, or did not answer."""


class ApiError(AgentError):
    """The API server did not do what was asked."""


class ApiUnreachable(ApiError):
    """There was no answer, or it was broken off."""


class ApiSilent(ApiUnreachable):
    """The connection stands, but nothing came over it for longer than anything may take."""


class ApiGarbled(ApiError):
    """There was an answer, and it makes no sense."""


class ApiRefused(ApiError):
    """The API server answered with an error.

    ``code`` is the HTTP status, ``reason`` the API's word for it (empty where it gave none), and
    ``retry_after`` how many seconds it asks to be left alone, if it does.
    """

    def __init__(
        self, message: str, code: int, reason: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.retry_after = retry_after


class ApiInvalid(ApiRefused):
    """The server does not take such a request (400, 422)."""


class ApiUnauthorized(ApiRefused):
    """The server does not know who is asking (401)."""


class ApiForbidden(ApiRefused):
    """Who is asking may not do that (403)."""


class ApiNotFound(ApiRefused):
    """There is no such object, or no such resource (404)."""


class ApiConflict(ApiRefused):
    """The object exists already, or is not what the writer took it for (409)."""


class ApiExpired(ApiRefused):
    """The state or the changes that were asked for are forgotten (410)."""


class ApiThrottled(ApiRefused):
    """The server asks for fewer requests (429)."""


class ApiFailed(ApiRefused):
    """The server could not do what it should (5xx)."""
