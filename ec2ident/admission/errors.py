"""Why a machine was not let in: a no, or no answer. What is not even a request is MalformedError, as everywhere."""

from __future__ import annotations

from ec2ident.errors import Ec2IdentError


class NotAdmittedError(Ec2IdentError):
    """The request was understood, and the machine is not let in.

    `code` is a stable word for logs and metrics; the text has both values. Neither is for the sender: the text may hold
    the server's allow-list.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AdmissionUnavailableError(Ec2IdentError):
    """No answer: STS, the EC2 API or the store could not be asked. The sender may try again with a new challenge."""
