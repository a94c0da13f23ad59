"""Why an enrolment failed, each with one sentence of advice for the person standing at the station."""

from __future__ import annotations

from typing import ClassVar, Final

from agent.errors import AgentError
from protocol.enrolment import CODE_EXPIRED, CODE_UNKNOWN, CODE_USED, CODE_WITHDRAWN


class EnrolError(AgentError):
    """Root of the enrolment's errors (注册失败). Nothing was stored but the station's own keys."""

    code: ClassVar[str] = "enrolment-failed"
    advice: ClassVar[str] = "请把本提示交给管理员。Show this message to the administrator."


class CodeInvalidError(EnrolError):
    """The text is not an enrolment code this program can read."""

    code: ClassVar[str] = "enrolment-code-invalid"
    advice: ClassVar[str] = "请重新复制整段注册码。Copy the whole enrolment code again."


class CollectorUnreachableError(EnrolError):
    """No connection, or it ended early. The station's keys are kept, the same code can be used again."""

    code: ClassVar[str] = "collector-unreachable"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = (
        "请检查网络和采集中心是否在运行，然后用同一注册码重试。"
        "Check the network and that the collector runs, then try again with the same code."
    )


class FingerprintMismatchError(EnrolError):
    """Whoever answers at this address is not the collector the code was made by. No secret was sent."""

    code: ClassVar[str] = "ca-fingerprint-mismatch"
    advice: ClassVar[str] = (
        "应答者不是发出注册码的采集中心，请勿继续并通知管理员。"
        "Another machine answers in the collector's place: stop and tell the administrator."
    )


class WrongNameError(EnrolError):
    """The collector's certificate is genuine but not for the name in the code's address."""

    code: ClassVar[str] = "collector-name-mismatch"
    advice: ClassVar[str] = (
        "采集中心证书不含此地址，请管理员补充该名称。"
        "The collector's certificate lacks this address: have the administrator add the name."
    )


class ClockWrongError(EnrolError):
    """The collector's certificate is not yet or no longer valid by this station's clock."""

    code: ClassVar[str] = "clock-wrong"
    advice: ClassVar[str] = "请先校准本机时间，再重试。Set this machine's clock, then try again."


class CollectorUntrustedError(EnrolError):
    """The TLS connection was refused for another reason. No secret was sent."""

    code: ClassVar[str] = "collector-untrusted"


class CodeUnknownError(EnrolError):
    """The collector never gave out this code."""

    code: ClassVar[str] = CODE_UNKNOWN
    advice: ClassVar[str] = "请向管理员索取新的注册码。Ask the administrator for a new enrolment code."


class CodeExpiredError(CodeUnknownError):
    """The code was not used in time."""

    code: ClassVar[str] = CODE_EXPIRED


class CodeUsedError(CodeUnknownError):
    """Another machine, or this one before its keys were removed, has used the code."""

    code: ClassVar[str] = CODE_USED


class CodeWithdrawnError(CodeUnknownError):
    """A person withdrew the code or the key it enrolled."""

    code: ClassVar[str] = CODE_WITHDRAWN


class EnrolmentRefusedError(EnrolError):
    """The collector refused for a reason this program does not know; its words are in the message."""

    code: ClassVar[str] = "enrolment-refused"


class AnswerInvalidError(EnrolError):
    """The collector's answer does not prove what it says, or is not for this station. Nothing was stored."""

    code: ClassVar[str] = "enrolment-answer-invalid"


class AlreadyEnrolledError(EnrolError):
    """The station is enrolled as another station or with another collector."""

    code: ClassVar[str] = "already-enrolled"
    advice: ClassVar[str] = (
        "本机已注册；如需改注册，请先由管理员清除旧注册。"
        "This machine is enrolled already: have the administrator clear the old enrolment first."
    )


REFUSALS: Final[dict[str, type[EnrolError]]] = {
    error.code: error for error in (CodeUnknownError, CodeExpiredError, CodeUsedError, CodeWithdrawnError)
}
"""By the ``code`` in the collector's problem details."""
