"""The error tree: which side failed, and the reason as a value that a program can compare."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .model import IdentityDocument, Reason


class Ec2IdentError(Exception):
    """The root of every error that this package raises on purpose; never raised itself."""

    #: From `ec2ident.verify`: what the document says, where it could be read. It is a claim that was not proven.
    document: IdentityDocument | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross between the processes of a pool; Exception would call the class with the message alone.
        return _again, (type(self), self.args), self.__dict__


def _again(cls: type[Ec2IdentError], arguments: tuple[object, ...]) -> Ec2IdentError:
    return cls.__new__(cls, *arguments)


class MalformedError(Ec2IdentError, ValueError):
    """The bytes are damaged, or have a form that this version does not understand: neither yes nor no.

    That is base64, BER, CMS, JSON, an algorithm, or a document without the fields that decide.
    """


class UnverifiableError(Ec2IdentError):
    """It could not be verified, which is not the same as a wrong signature. `reason` says why.

    UNVERIFIABLE: no certificate is known for this region and kind. NOT_BOUND: the document verifies, but nothing ties
    it to this machine. DEPENDENCY: the library that verifies cannot be loaded. Also raised where the
    installed OpenSSL refuses the algorithm.
    """

    def __init__(self, message: str, reason: Reason | None = None) -> None:
        super().__init__(message)
        if reason is None:
            from .model import Reason

            reason = Reason.UNVERIFIABLE
        self.reason = reason


class UnknownNameError(Ec2IdentError, ValueError):
    """A region that is like no region of AWS, or a service without an endpoint rule."""


class FirmwareError(Ec2IdentError):
    """Firmware facts could not be read, or make no sense."""


class _ReasonedError(Ec2IdentError):
    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


class VerificationError(_ReasonedError):
    """The item was understood and is wrong: its signature, or what it is about. `reason` names the step that failed."""


class ImdsError(_ReasonedError):
    """The metadata service gave no usable answer. `reason` says why; the text says what to do about it."""
