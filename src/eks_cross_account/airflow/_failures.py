"""What a failed task says: a first line that stands alone, and a page behind it. Asks nobody for rights.

The page is made of offline rules, STS's answer about the token, SelfSubjectReview and SelfSubjectAccessReview: none of
them can write an AccessDenied into anybody's audit log. 10 seconds in all, and once per cluster and cause in 10 minutes
and process, because a thousand tasks fail together.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eks_cross_account._printable import printable_line, printable_page, without_secrets
from eks_cross_account.airflow._connections import Access, ConnectionMissingError
from eks_cross_account.airflow._seams import AirflowException, AirflowFailException
from eks_cross_account.airflow._target import UnknownTriggerVersionError
from eks_cross_account.errors import (
    AssumeRoleError,
    ClusterError,
    CredentialsUnavailableError,
    EksTokenError,
    StsUnavailableError,
    UnknownRegionError,
)
from eks_cross_account.identity import account_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from eks_cross_account.airflow._target import Target
    from eks_cross_account.diagnosis import Denial

_LOG = logging.getLogger(__name__)

_UNAUTHORIZED, _FORBIDDEN = 401, 403
_QUIET = 600.0  # seconds in which the same page is not printed again
_CLIENTS_STATUS = re.compile(r"(?:^|ApiException: |Handshake status )\(?(40[13])\b", re.MULTILINE)
_OUR_LINE = re.compile(r"\[eks:[a-z-]+\] [^\n]*")
_MISTAKES = {"arguments", "connection-missing", "region-unknown", "unknown-trigger"}
_AWS_USER = re.compile(r"User: (arn:[!-~]+) is not authorized")
_UNREACHABLE = {"MaxRetryError", "NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "ProtocolError",
                "ClientConnectorError", "ClientConnectorDNSError", "ServerTimeoutError", "ConnectionTimeoutError",
                "ServerDisconnectedError"}  # fmt: skip
_TLS = {"SSLError", "SSLCertVerificationError", "ClientConnectorCertificateError", "ClientConnectorSSLError"}


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure that is ours to explain. ``for_good``: a mistake in DAG or connection, which no retry mends."""

    id: str
    text: str
    retry: bool
    for_good: bool = False
    denial: Denial | None = None

    @property
    def line(self) -> str:
        """The exception's first line; alerts carry no more. Printable ASCII."""
        help_ = "Retrying may help." if self.retry else "Retrying will not help."
        return printable_line(f"[eks:{self.id}] {without_secrets(self.text).rstrip('.')}. {help_}")


class EksFailure(AirflowException):  # type: ignore[misc] # Airflow has no types here
    """A failure that is named; the task's retries go on."""


class EksMistake(AirflowFailException):  # type: ignore[misc] # as above
    """A mistake in the DAG or the connection: the task's retries would not mend it."""


@contextlib.contextmanager
def named_failures(
    target_of: Callable[[], Target], access_of: Callable[[], Access | None], *, diagnose: bool, pod: Callable[[], str]
) -> Iterator[None]:
    """Errors that come from authentication or authorization leave as ``EksFailure`` or ``EksMistake``.

    ``pod``: says of a pod that was left running that it was. All other errors pass as they are.
    """
    try:
        yield
    except (EksFailure, EksMistake):
        raise
    except Exception as error:
        failure = failure_of(error, target_of, access_of())
        if failure is None:
            raise
        left = pod()
        failure = replace(failure, text=f"{failure.text.rstrip('.')}. {left}") if left else failure
        if diagnose:
            failure = _explained(failure, access_of())
        kind = EksMistake if failure.for_good else EksFailure
        raise kind(failure.line) from error


def failure_of(error: BaseException, target_of: Callable[[], Target], access: Access | None) -> Failure | None:
    """The failure that is somewhere in the chain of causes, deepest knowledge first; None where it is another one's."""
    mistake = _mistake(target_of)
    if mistake is not None:
        return mistake
    chain = list(links(error))
    for link in chain:
        if isinstance(link, EksTokenError):
            return of_token_error(link, access)
    for link in chain:
        ours = _OUR_LINE.search(str(link))
        if ours is not None:  # said in the triggerer, and brought here as text
            return _as_said(ours[0])
    for link in chain:
        status = http_status(link)
        if status == _FORBIDDEN:
            return _forbidden(_text(link), target_of, access)
        if status == _UNAUTHORIZED:
            return _unauthorized(target_of, access)
    return next((found for link in chain for found in [_unreachable(link, target_of, access)] if found), None)


def _mistake(target_of: Callable[[], Target]) -> Failure | None:
    """Arguments that cannot mean a cluster and a way in: no retry mends them."""
    try:
        target_of()
    except (EksTokenError, ValueError, TypeError) as error:
        return Failure("arguments", str(error), retry=False, for_good=True)
    return None


def links(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, once each."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def http_status(error: BaseException) -> int | None:
    """401 or 403 where a Kubernetes client, or the text of one's error out of a triggerer, says so."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and status in {_UNAUTHORIZED, _FORBIDDEN}:
        return status
    if status == 0 or isinstance(error, AirflowException):
        found = _CLIENTS_STATUS.search(f"{getattr(error, 'reason', '') or ''}\n{error}")
        return int(found[1]) if found else None
    return None


def denial_of(text: str) -> Denial | None:
    """What a 403's text says that was denied: the deepest cause that it names."""
    from eks_cross_account.diagnosis import explain_forbidden  # noqa: PLC0415 - only where there is a 403 to read

    return next((denial for denial in reversed(explain_forbidden(text)) if denial.kind != "other"), None)


def asked(denial: Denial | None) -> str:
    if denial is None or denial.verb is None:
        return "what this task asked for"
    what = f'"{denial.verb} {"/".join(filter(None, (denial.resource, denial.subresource)))}"'
    return f"{what} in namespace {denial.namespace}" if denial.namespace else what


def _text(error: BaseException) -> str:
    body = getattr(error, "body", None)
    return f"{error}\n{body if isinstance(body, str) else ''}"


def _as_said(line: str) -> Failure:
    name, _, text = line.removeprefix("[eks:").partition("] ")
    retry = "Retrying will not help" not in text
    for ending in ("Retrying may help.", "Retrying will not help."):
        text = text.replace(ending, "").strip()
    return Failure(name, text, retry, for_good=name in _MISTAKES)


def of_token_error(error: EksTokenError, access: Access | None) -> Failure:  # noqa: PLR0911 - one per class
    """One id per next step."""
    where = f" ({access.connected.label})" if access is not None else ""
    if isinstance(error, ConnectionMissingError):
        return Failure("connection-missing", str(error), retry=False, for_good=True)
    if isinstance(error, AssumeRoleError):
        return _assume_role(error, where)
    if isinstance(error, CredentialsUnavailableError):
        return Failure("credentials-missing", f"{error}{where}", retry=error.retryable)
    if isinstance(error, StsUnavailableError):
        return Failure("sts-unreachable", f"{error}{where}. Route, proxy or VPC endpoint of this machine", retry=True)
    if isinstance(error, UnknownRegionError):
        return Failure("region-unknown", str(error), retry=False, for_good=True)
    if isinstance(error, ClusterError):
        return _cluster(error, access)
    if isinstance(error, UnknownTriggerVersionError):
        return Failure("trigger-version", str(error), retry=False)
    return Failure("credentials-invalid", f"{error}{where}", retry=error.retryable)


def _assume_role(error: AssumeRoleError, where: str) -> Failure:
    if error.code != "AccessDenied":
        return Failure("assume-role-refused", f"{error}{where}", retry=error.retryable)
    caller = _AWS_USER.search(error.aws_message)
    who = caller[1] if caller else "the caller"
    sent = "yes" if "external id sent: yes" in str(error) else "no"
    here = "identity-based policy" in error.aws_message
    owner = account_of(who) if here else account_of(error.role_arn)
    mends = f"policies of the caller, account {owner}" if here else f"trust policy, owner of account {owner}"
    hop = re.search(r"\((hop [^)]*)\)", str(error))
    text = (
        f"{who} may not assume {error.role_arn} ({hop[1] if hop else 'hop'}; external id sent: {sent}). Mend: {mends}"
    )
    return Failure("assume-role-denied", text, retry=False)


def _cluster(error: ClusterError, access: Access | None) -> Failure:
    who = f" as {_last_role(access)}" if access is not None else ""
    if error.code == "ResourceNotFoundException":
        return Failure("cluster-not-found", f"{error}; asked{who}", retry=False)
    if error.code == "AccessDeniedException":
        hint = "allow eks:DescribeCluster, or give cluster_endpoint and cluster_ca"
        return Failure("describe-cluster-denied", f"{error}{who}. Mend: {hint}", retry=False)
    if error.retryable:
        return Failure("eks-unreachable", str(error), retry=True)
    return Failure("cluster-unusable", str(error), retry=error.retryable)


def _forbidden(text: str, target_of: Callable[[], Target], access: Access | None) -> Failure:
    from eks_cross_account.diagnosis._explain import explain_denial  # noqa: PLC0415 - as in denial_of

    denial = denial_of(text)
    explained = explain_denial(denial) if denial is not None else None
    if explained is not None and explained.id != "forbidden":  # no right would help
        line = f"Cluster {target_of().cluster_name} (403): {explained.summary}. Mend: {explained.remedy.text}"
        return Failure(explained.id, line, retry=explained.retry)
    who = (denial and denial.user) or _last_role(access)
    owner = account_of(_last_role(access))
    mends = f" Mend: owner of the cluster{f', account {owner}' if owner else ''}: {_right(denial)}"
    line = f"{who} may not {asked(denial)} on cluster {target_of().cluster_name} (403).{mends}"
    return Failure("forbidden", line, retry=False, denial=denial)


_RIGHTS = {
    "node": "a mapping that is not for nodes, then a Role and a RoleBinding",
    "impersonation": "a ClusterRole with the verb impersonate, and a ClusterRoleBinding",
    "non-resource": "a ClusterRole with this path in nonResourceURLs, and a ClusterRoleBinding",
    "exec-create": '"create pods/exec" in the Role beside "get": Kubernetes 1.35 and newer ask for both',
    "escalation": "every right that is to be granted, or the verbs escalate and bind",
}


def _right(denial: Denial | None) -> str:
    """What would allow it."""
    if denial is None:
        return "the answer does not say what is missing; often a Role and a RoleBinding"
    if denial.user == "":
        return "a user name in the row of aws-auth, which has none or a number"
    if denial.kind == "rbac" and denial.scope == "cluster":
        return "a ClusterRole and a ClusterRoleBinding, or ask in one namespace"
    return _RIGHTS.get(denial.kind, "a Role and a RoleBinding")


def _unauthorized(target_of: Callable[[], Target], access: Access | None) -> Failure:
    who, owner = _last_role(access), account_of(_last_role(access))
    whose = f"owner of account {owner}" if owner else "owner of the cluster"
    line = f"Cluster {target_of().cluster_name} refused the token of {who}: 401. Mend: {whose}, if STS knows the token"
    return Failure("unauthorized", f"{line} (no access entry, or one older than the role)", retry=False)


def _unreachable(error: BaseException, target_of: Callable[[], Target], access: Access | None) -> Failure | None:
    kinds = {type(error).__name__, type(getattr(error, "reason", None)).__name__}
    endpoint = _endpoint(access)
    if kinds & _TLS:
        found, why = _of_tls(error)
        return Failure(found, f"TLS to cluster {target_of().cluster_name}{endpoint} failed: {why}", retry=True)
    if kinds & _UNREACHABLE:
        text = f"No connection to cluster {target_of().cluster_name}{endpoint}. Mend: route, security group or proxy"
        return Failure("unreachable", f"{text}; AWS and the token are fine", retry=True)
    return None


def _of_tls(error: BaseException) -> tuple[str, str]:
    """The finding, and why, by OpenSSL's verdict on the certificate where it gave one."""
    from eks_cross_account.diagnosis._reach import NOT_THE_CHAIN  # noqa: PLC0415 - loaded when something has failed

    verdict = next((code for link in links(error) if (code := getattr(link, "verify_code", 0))), 0)
    names = {type(link).__name__ for link in links(error)}
    if verdict in NOT_THE_CHAIN or "CertificateError" in names:  # urllib3 1 compares the names itself
        return "tls-failed", "its certificate is for another name, or its dates are wrong"
    if verdict:
        return "wrong-certificate-authority", "its certificate is not of the CA that EKS gave"
    return "tls-failed", "what answers breaks off, or speaks no TLS"


def _endpoint(access: Access | None) -> str:
    known = access.known_cluster() if access is not None else None
    return f" at {known.endpoint}" if known is not None else ""


def _last_role(access: Access | None) -> str:
    roles = access.connected.roles if access is not None else ()
    return roles[-1] if roles else "this machine's own AWS identity"


# --- the page


@dataclass(frozen=True, slots=True)
class _Explained:
    """What was found out about a cause, and when: for the next thousand tasks that meet it."""

    at: float
    identity: str


_SHOWN: dict[tuple[str, ...], _Explained] = {}


def _explained(failure: Failure, access: Access | None) -> Failure:
    """The failure with what the page found out; the page itself is one log record, if there was none lately."""
    if access is None:
        return failure
    key = (access.connected.target.cluster_name, failure.id, *access.connected.roles)
    now = time.monotonic()
    known = _SHOWN.get(key)
    if known is None or now - known.at >= _QUIET:
        _SHOWN[key] = _Explained(now, "")  # also where the page itself fails: it is not tried by every task
        from eks_cross_account.airflow._failure_page import page_of  # noqa: PLC0415 - as above; a DAG file loads none

        report = page_of(failure, access)
        known = _SHOWN[key] = _Explained(now, (report.identity or {}).get("canonical_arn", ""))
        page = printable_page(without_secrets(report.to_text()))
        _LOG.error("%s\n%s", _sharpened(failure, known.identity, access).line, page)
    return _sharpened(failure, known.identity, access)


def _sharpened(failure: Failure, identity: str, access: Access) -> Failure:
    """A 401 of a token that STS knows: the identity is right, and the cluster does not know it."""
    if failure.id != "unauthorized" or not identity:
        return failure
    connected = access.connected
    owner = account_of(identity)
    text = (
        f"Cluster {connected.target.cluster_name} ({owner}, {connected.region}) refused {identity}: 401. Its token is "
        f"valid (STS says so): no access entry, or one older than the role. Mend: owner of account {owner}"
    )
    return Failure("not-mapped", text, retry=False)


__all__ = [
    "EksFailure",
    "EksMistake",
    "Failure",
    "denial_of",
    "failure_of",
    "http_status",
    "links",
    "named_failures",
    "of_token_error",
]
