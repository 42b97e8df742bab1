"""docs/what-it-talks-to.md against what the sandbox was asked: no row too few, and none that nothing explains."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from line import CANNOT_DEFER
from stand import ROLE, seen

from eks_cross_account.airflow import CrossAccountEksHook, EksTokenCheckOperator
from eks_cross_account.cli import main

if TYPE_CHECKING:
    from line import Line

    from eks_cross_account.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "docs" / "what-it-talks-to.md"
NOT_OF_THE_SANDBOX = ("airflow:", "container:")  # as the page says
ROW = re.compile(r"^\| (?P<case>[a-z ]+) \| `?(?P<host>[^|]*?)`? \| `(?P<operation>[a-zA-Z]+:[^`]+)` \|", re.MULTILINE)
OTHER_CONNECTIONS = {"sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithSAML"}
AFTER_A_FAILURE = {"sts:GetCallerIdentity", "kubernetes:create selfsubjectreviews",
                   "kubernetes:create selfsubjectaccessreviews"}  # fmt: skip
# what a botocore that is older than access entries does not know
NOT_KNOWN = set() if tuple(map(int, version("botocore").split(".")[:2])) >= (1, 34) else {"eks:DescribeAccessEntry"}
SOMETIMES = {  # what needs more than these tests do: another connection, a failure, a kept pod, or a certain provider
    "sync task": OTHER_CONNECTIONS | AFTER_A_FAILURE | {"kubernetes:patch pods", "kubernetes:list events"},
    "deferred task": OTHER_CONNECTIONS | AFTER_A_FAILURE | {
        "kubernetes:patch pods", "kubernetes:list events", "kubernetes:watch events", "kubernetes:get pods/exec"},
    "check": OTHER_CONNECTIONS | {"eks:ListAccessEntries", "eks:ListAssociatedAccessPolicies"} | NOT_KNOWN | {
        "kubernetes:list rolebindings", "kubernetes:list clusterrolebindings", "kubernetes:list roles",
        "kubernetes:create pods"},
    "token": set(),
    "hook": OTHER_CONNECTIONS,
}  # fmt: skip


def page() -> dict[str, dict[str, set[str]]]:
    """By case and operation the hosts."""
    rows: dict[str, dict[str, set[str]]] = {}
    for found in ROW.finditer(PAGE.read_text()):
        if not found["operation"].startswith(NOT_OF_THE_SANDBOX):
            rows.setdefault(found["case"], {}).setdefault(found["operation"], set()).add(found["host"])
    return rows


def asked(sandbox: Sandbox) -> dict[str, set[str]]:
    """By operation the hosts, as the page has them."""
    found: dict[str, set[str]] = {}
    for request in sandbox.requests:
        found.setdefault(request.operation, set()).add(request.host)
    for question in seen(sandbox):
        found.setdefault(f"kubernetes:{question.verb} {question.resource or question.path}", set())
    return found


def compare(case: str, sandbox: Sandbox) -> None:
    written, found = page()[case], asked(sandbox)
    print(*sorted((case, operation) for operation in found), sep="\n")  # noqa: T201 - what -rP shows

    unwritten = {name for name in found if not any(fnmatchcase(name, pattern) for pattern in written)}
    unseen = {pattern for pattern in written if not any(fnmatchcase(name, pattern) for name in found)}
    assert unwritten == set()
    assert unseen <= SOMETIMES[case]
    assert set(written) >= SOMETIMES[case]
    for operation, hosts in found.items():
        regions = {re.sub("<(own|cluster) region>", "eu-west-1", host) for host in written.get(operation, set())}
        assert hosts <= regions or operation.startswith("kubernetes:")


pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the page comes with the docs of the Airflow leaf")


def test_the_page_has_these_cases() -> None:
    assert set(page()) == set(SOMETIMES)


def test_a_sync_task(line: Line) -> None:
    assert line.run_case("page_sync")["state"] == "success", line.output
    compare("sync task", line.sandbox)


@pytest.mark.skipif(CANNOT_DEFER, reason="dag.test cannot defer in 2.7")
def test_a_deferred_task(line: Line) -> None:
    assert line.run_case("page_deferred")["state"] == "success", line.output
    compare("deferred task", line.sandbox)


def test_check(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", extra={"role_arn": ROLE})
    assert main(["check", "--cluster-name", "analytics", "--role-arn", ROLE]) == 0
    report = EksTokenCheckOperator(task_id="t", cluster_name="analytics", aws_conn_id="c", namespace="data").report()

    assert report.verdict == "healthy"
    compare("check", eks_sandbox)


def test_token(eks_sandbox: Sandbox) -> None:
    assert main(["token", "--cluster-name", "analytics", "--role-arn", ROLE]) == 0
    compare("token", eks_sandbox)


def test_hook(eks_sandbox: Sandbox, connection: Any) -> None:
    connection("c", extra={"role_arn": ROLE})
    hook = CrossAccountEksHook("c", cluster_name="analytics", region="eu-west-1")
    hook.core_v1.list_namespaced_pod("data")

    assert hook.test_connection()[0]
    compare("hook", eks_sandbox)
