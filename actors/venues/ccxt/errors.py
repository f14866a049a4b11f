"""What went wrong with one request to an exchange, before it is known what may be concluded from it.

ccxt's exception classes depend on the host name and on the words of a message, so they are never judged by: a reply is
read as its status, its code and its text, and the exchange's own file says which codes are definite.
"""

import re

MAXIMUM_TEXT = 300
_SIGNED = re.compile(r"(?i)\b(signature|sign|apikey|api_key|secret|passphrase|listenkey)(\"?\s*[=:]\s*\"?)[^&\s\",}]+")


class RestError(Exception):
    """The exchange replied, and the reply is not an answer. `code` is the exchange's own, as text; "" without one."""

    def __init__(self, status: int, code: str, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"HTTP {status} {code} {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds


class NotSent(Exception):
    """The request never left: no connection, no budget in time, or past its expiry before it could be sent."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NoAnswer(Exception):
    """The request may have left, and there is no reply that can be read: cut off, timed out, damaged."""


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    """A text that may be shown: no key, no secret, no signature, and not too long."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return _SIGNED.sub(r"\1\2***", text)[:MAXIMUM_TEXT]
