"""What the registers object to."""

from __future__ import annotations

from collector.errors import CollectorError
from protocol.enrolment import CODE_UNKNOWN, CODE_USED, CODE_WITHDRAWN


class RegisterError(CollectorError):
    """A row that cannot be made or changed as asked."""

    code = "register-refused"
    status = 400
    fault = "caller"


class TokenUnknownError(RegisterError):
    """No token has this id."""

    code = "token-unknown"
    status = 404


class CodeUnknownError(RegisterError):
    """No enrolment code with this secret was given out."""

    code = CODE_UNKNOWN
    status = 403


class CodeUsedError(RegisterError):
    """The enrolment code was used by another key: it is good for one."""

    code = CODE_USED
    status = 409


class CodeWithdrawnError(RegisterError):
    """The enrolment code was withdrawn by a person."""

    code = CODE_WITHDRAWN
    status = 403
