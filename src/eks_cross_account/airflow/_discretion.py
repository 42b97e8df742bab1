"""Keeps keys out of logs. Touches the loggers of botocore and urllib3, and nothing else.

At DEBUG botocore logs the body of AssumeRole's answer, with the keys in it, and urllib3 the presigned URL.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TALKATIVE = (
    "botocore.auth",
    "botocore.credentials",
    "botocore.endpoint",
    "botocore.hooks",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.retries.standard",
    "botocore.retryhandler",
    "botocore.utils",
    "urllib3.connectionpool",
    "urllib3.util.retry",
)


class _Asking(threading.local):
    depth = 0


_ASKING = _Asking()


class _Discreet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _ASKING.depth or record.levelno > logging.DEBUG


_FILTER = _Discreet()


@contextlib.contextmanager
def discreet() -> Iterator[None]:
    """While this thread asks AWS for keys or with a token, what botocore and urllib3 say at DEBUG is not logged."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_FILTER)  # adds it once
    _ASKING.depth += 1
    try:
        yield
    finally:
        _ASKING.depth -= 1
