"""Keeps keys out of logs. Touches the loggers of botocore and urllib3, and nothing else.

At DEBUG botocore logs the body of AssumeRole's answer, with the keys in it, and urllib3 the presigned URL. At WARNING
botocore logs the exception of a refresh that failed, whose text is that body where it could not be parsed.
"""

from __future__ import annotations

import contextlib
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

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


_ASKING = ContextVar("eks_cross_account_asking", default=False)  # what this thread starts inherits a copy


class _Discreet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if not _ASKING.get():
            return True
        record.exc_info = record.exc_text = None
        return record.levelno > logging.DEBUG


_FILTER = _Discreet()


@contextlib.contextmanager
def discreet() -> Iterator[None]:
    """While this context asks AWS for keys or with a token, what botocore and urllib3 say at DEBUG is not logged."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_FILTER)  # adds it once
    token = _ASKING.set(True)
    try:
        yield
    finally:
        _ASKING.reset(token)


def quiet(manager: Any) -> Any:  # noqa: ANN401 - urllib3's PoolManager, or one for a proxy
    """The manager, whose connections print no header: ``http.client`` has a debug level for the whole process.

    ``kubernetes.client.Configuration.debug`` sets it, and then every request goes to stdout, tokens and all.
    """
    pools = dict(manager.pool_classes_by_scheme)
    connection = type("QuietConnection", (pools["https"].ConnectionCls,), {"debuglevel": 0})
    pools["https"] = type("QuietPool", (pools["https"],), {"ConnectionCls": connection})
    manager.pool_classes_by_scheme = pools
    return manager
