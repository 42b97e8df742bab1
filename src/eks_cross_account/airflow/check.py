"""The check as a task: the ladder of ``eks-token-check``, with the connection and the network of a real task."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from eks_cross_account._discretion import discreet
from eks_cross_account._printable import printable_page
from eks_cross_account.airflow._connections import (
    Connected,
    ConnectionMissingError,
    ConnectionSession,
    base_session,
    connection_hop,
    look_up,
    role_session,
)
from eks_cross_account.airflow._failures import EksFailure, EksMistake, Failure
from eks_cross_account.airflow._seams import BaseOperator
from eks_cross_account.airflow._target import Target, target_of
from eks_cross_account.diagnosis import TIMEOUT, Finding, Remedy, Report, ask_owner, diagnose
from eks_cross_account.diagnosis._compare import changes, read_report
from eks_cross_account.diagnosis._permission_probes import Wanted
from eks_cross_account.diagnosis.needs import required_permissions
from eks_cross_account.errors import CredentialsError, EksTokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from eks_cross_account.credentials import RoleHop

_LOG = logging.getLogger(__name__)
_GREEN = "healthy_report"
_SAID: dict[str, bool] = {"True": True, "False": False}  # what a template makes of a param


class EksTokenCheckOperator(BaseOperator):  # type: ignore[misc] # Airflow has no types here
    """Checks the way from the task's connection to the cluster; logs the page, pushes the report as XCom ``report``.

    A run that is not healthy also logs the text to forward to the owner of the other account (``ask_owner``), and what
    has changed since the last one that was (XCom ``healthy_report``): an access entry, the cluster's version or
    endpoint, the role's date.

    Arguments as ``CrossAccountEksPodOperator`` has them; ``namespace``: ask there for the rights that a pod operator
    needs, with its defaults or with ``permissions``, arguments of ``required_permissions`` such as ``{"xcom": True}``.
    Succeeds only where the API server has named the identity that the token carries. Returns the verdict.
    """

    template_fields: Sequence[str] = (
        "cluster_name",
        "region",
        "aws_conn_id",
        "namespace",
        "permissions",
        "role_arn",
        "role_hops",
        "external_id",
        "session_name",
        "cluster_endpoint",
        "cluster_ca",
    )
    ui_color = "#d5e8d4"

    def __init__(  # noqa: PLR0913 - how to get in
        self,
        *,
        cluster_name: str,
        region: str | None = None,
        aws_conn_id: str | None = "aws_default",
        namespace: str | None = None,
        permissions: Mapping[str, Any] | None = None,
        role_arn: str | None = None,
        role_hops: Iterable[RoleHop | Mapping[str, Any] | str] | None = None,
        external_id: str | None = None,
        session_name: str | None = None,
        cluster_endpoint: str | None = None,
        cluster_ca: str | None = None,
        **kwargs: Any,  # noqa: ANN401 - BaseOperator's
    ) -> None:
        super().__init__(**kwargs)
        self.cluster_name = cluster_name
        self.region = region
        self.aws_conn_id = aws_conn_id
        self.namespace = namespace
        self.permissions = permissions
        self.role_arn = role_arn
        self.role_hops = role_hops
        self.external_id = external_id
        self.session_name = session_name
        self.cluster_endpoint = cluster_endpoint
        self.cluster_ca = cluster_ca

    def execute(self, context: Any) -> str:  # noqa: ANN401 - Airflow's
        """The verdict, ``healthy``. Raises EksFailure with the first broken link as its first line."""
        report = self.report()
        self.log.info("%s", printable_page(report.to_text()))
        document = json.loads(report.to_json())
        context["ti"].xcom_push(key="report", value=document)
        failure = _failure(report)
        if failure is None:
            context["ti"].xcom_push(key=_GREEN, value=document)
            return str(report.verdict)
        self.log.info("%s", ask_owner(report))  # here is no shell in which to ask for it
        self.log.info("%s", "\n".join(_since_green(context["ti"], self.task_id, document)))
        raise (EksMistake if failure.for_good else EksFailure)(failure.line)

    def report(self) -> Report:
        """All findings. Raises EksTokenError only for arguments that cannot be asked about."""
        return report_of(target_of(self), wanted=self._wanted())

    def _wanted(self) -> Wanted | None:
        """The rights to ask for, as the providers installed here need them. Raises ValueError for an option."""
        if not self.namespace:
            return None
        installed = version("apache-airflow-providers-cncf-kubernetes")
        options: dict[str, Any] = {
            name: _SAID.get(value, value) if isinstance(value, str) else value
            for name, value in (self.permissions or {}).items()
        }
        rules = required_permissions(**{"provider_version": installed, **options})
        return Wanted(rules, self.namespace)


def _since_green(ti: Any, task_id: str, document: dict[str, Any]) -> Iterator[str]:  # noqa: ANN401 - Airflow's
    """What has changed since the last run of this task that was healthy. Never raises: it is beside the point."""
    try:
        earlier = ti.xcom_pull(task_ids=task_id, key=_GREEN, include_prior_dates=True)
        if earlier is None:
            yield "no earlier run of this task was healthy: there is nothing to compare with"
            return
        changed = changes(read_report(json.dumps(earlier).encode()), document)
    except Exception as error:  # noqa: BLE001 - Airflow's, by line; and whatever the database holds
        yield f"the last healthy run could not be compared with: {type(error).__name__}"
        return
    yield "changed since the last healthy run of this task:"
    yield from (f"  {change.what}: {change.before} -> {change.after}" for change in changed)


def report_of(
    target: Target,
    *,
    wanted: Wanted | None = None,
    get_connection: Callable[[str], Any] | None = None,
    other_side: bytes | None = None,
    timeout: float = TIMEOUT,
) -> Report:
    """The report on the way that a task with this target would go; in a task, or where Airflow can be asked.

    ``get_connection``: as ``look_up`` has it; ``other_side``, ``wanted``, ``timeout``: as ``diagnose`` has them.
    """
    try:
        connected = look_up(target, get_connection=get_connection)
    except ConnectionMissingError as error:
        remedy = Remedy("define the connection in a place that workers and triggerers see, or mend its id")
        missing = Finding("connection-missing", "FAIL", "inferred", "connection", str(error), remedy=remedy)
        return Report(target.cluster_name, target.region or "unknown", (missing,))
    except CredentialsError as error:
        return Report(target.cluster_name, target.region or "unknown", (_unusable(error),))
    named = Finding("connection", "PASS", "inferred", "connection", connected.label)
    with discreet():
        asked = _ask_aws(connected, other_side, wanted, timeout)
    where = f"{connected.region} ({connected.region_from})"
    return replace(asked, region=where, findings=(named, *asked.findings))


def _ask_aws(connected: Connected, other_side: bytes | None, wanted: Wanted | None, timeout: float) -> Report:
    """Credentials, hops, cluster, token, identity; the connection's own role as the first hop, where it can be one."""
    try:
        own = connection_hop(connected.wrapper)
        session = base_session if own is not None or not connected.wrapper.role_arn else role_session
        hops = (*((own,) if own is not None else ()), *connected.hops)
        credentials = cache(lambda: session(connected).get_credentials())
        return diagnose(
            cluster_name=connected.target.cluster_name,
            region=connected.region,
            role_hops=hops,
            session=ConnectionSession(connected, credentials),
            cluster=connected.target.cluster,
            other_side=other_side,
            wanted=wanted,
            timeout=timeout,
        )
    except EksTokenError as error:  # the connection's own session could not be made
        where = f"{connected.region} ({connected.region_from})"
        return Report(connected.target.cluster_name, where, (_unusable(error),))


def _unusable(error: EksTokenError) -> Finding:
    return Finding("connection-unusable", "FAIL", "aws", "connection", str(error), retry=error.retryable)


def _failure(report: Report) -> Failure | None:
    """What the task fails with; only ``healthy`` is a success."""
    if report.verdict == "healthy":
        return None
    order = ("FAIL", "UNKNOWN", "WARN", "SKIP")
    found = next((finding for finding in report.findings if finding.id == report.root_cause), None) or next(
        (finding for state in order for finding in report.findings if finding.state == state), None
    )
    if found is None:
        return Failure("unknown", f"cluster {report.cluster_name}: nothing could be checked", retry=True)
    owner = f" Mend: account {found.owner}." if found.owner else ""
    text = f"Cluster {report.cluster_name}: {found.title}: {found.summary.rstrip('.')}.{owner}"
    for_good = found.id == "connection-missing"
    return Failure(found.id, text, retry=found.retry or found.state == "UNKNOWN", for_good=for_good)


__all__ = ["EksTokenCheckOperator", "report_of"]
