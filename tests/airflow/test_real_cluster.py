"""The operator on the real cluster of tests/cluster, which scripts/test --cluster starts."""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from line import CASES, Line
from stand import CONNECTION, ROLE, Stand, operator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_cluster import RealCluster

    from eks_cross_account.sandbox import Sandbox

pytestmark = pytest.mark.cluster
SESSION = "arn:aws:sts::222222222222:assumed-role/cross-account-role/"
REFUSED = (401, 403)


class OnRealCluster:
    """In front of a stand: its AWS is the real cluster's."""

    real: RealCluster

    def _begin(self) -> Sandbox:
        return self.real.sandbox


class RealLine(OnRealCluster, Line):
    pass


class RealStand(OnRealCluster, Stand):
    pass


@pytest.fixture(scope="session")
def lines(real_cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[RealLine]:
    line = RealLine(tmp_path_factory.mktemp("line"), database)
    line.real = real_cluster
    with line:
        yield line


@pytest.fixture
def cluster(real_cluster: RealCluster) -> Iterator[RealCluster]:
    with real_cluster.test() as clean:
        clean.sandbox.requests.clear()
        yield clean


def asked(cluster: RealCluster) -> list[tuple[str, str, int]]:
    """Verb, resource and answer of everything that the task asked, each by the role's session."""
    found = []
    for event in cluster.audit():
        about = event["objectRef"]
        resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        assert event["user"].get("username", "").startswith(SESSION), event
        found.append((event["verb"], resource, event["responseStatus"]["code"]))
    return found


@pytest.mark.parametrize("case", [case for case in CASES if case in {"sync", "deferrable"}])
def test_a_pod_runs_and_its_log_comes_back(lines: RealLine, cluster: RealCluster, case: str) -> None:
    ran = lines.run_case(case)

    assert ran["state"] == "success", lines.output
    assert lines.logged == ["line 1 of 3", "line 2 of 3", "line 3 of 3"], lines.output
    said = asked(cluster)
    assert [found for found in said if found[0] in {"create", "delete"}] == [
        ("create", "pods", 201),
        ("delete", "pods", 200),
    ]
    assert {code for _, _, code in said} <= {200, 201}
    assert [request.operation for request in cluster.sandbox.requests if request.caller != ""][:2] == [
        "sts:AssumeRole",
        "eks:DescribeCluster",
    ]


def test_xcom_comes_back_by_exec(lines: RealLine, cluster: RealCluster) -> None:
    ran = lines.run_case("xcom")

    assert (ran["state"], ran["xcom"]) == ("success", {"rows": 7}), lines.output
    said = asked(cluster)
    assert [found[2] for found in said if found[1] == "pods/exec"] == [101, 101]
    assert {code for _, _, code in said} <= {101, 200, 201}


def test_killing_a_trigger_deletes_its_pod(lines: RealLine, cluster: RealCluster) -> None:
    ran = lines.run_case("kill")

    assert ran["state"] == "killed", lines.output
    assert ("delete", "pods", 200) in asked(cluster)
    until_gone(cluster)


def test_a_long_log_arrives_whole_and_in_order(lines: RealLine, cluster: RealCluster) -> None:
    ran = lines.run_case("log")

    assert ran["state"] == "success", lines.output
    assert {code for _, _, code in asked(cluster)} <= {200, 201}
    assert lines.logged == [f"line {number} of 2000" for number in range(1, 2001)]


def until_gone(cluster: RealCluster) -> None:
    from clusters import until  # noqa: PLC0415 - beside its one use

    until(lambda: cluster.admin("GET", "/api/v1/namespaces/data/pods")["items"] == [])


# --- in a process and with a database of their own


@pytest.fixture
def stand(cluster: RealCluster, tmp_path: Path, database: Path) -> Iterator[RealStand]:
    made = RealStand(tmp_path, database)
    made.real = cluster
    with made:
        yield made


def test_xcom_of_a_deferred_task_comes_back_too(stand: RealStand, cluster: RealCluster) -> None:
    annotations = {"eks-sandbox/xcom": '{"rows": 8}'}

    run = stand.run(operator(deferrable=True, poll_interval=1, do_xcom_push=True, annotations=annotations))

    assert run.state == "success", run.output
    assert run.says("XCOM {'rows': 8}") or run.says("no XCom:"), run.output
    said = asked(cluster)
    assert [found[2] for found in said if found[1] == "pods/exec"] == [101, 101]


def test_a_container_that_fails_fails_the_task_with_its_log(stand: RealStand, cluster: RealCluster) -> None:
    run = stand.run(operator(exit=3))

    assert run.state == "failed", run.output
    assert run.says("line 3 of 3")
    assert {code for _, _, code in asked(cluster)} <= {200, 201}
    until_gone(cluster)


def test_an_unmapped_role_is_named(stand: RealStand, cluster: RealCluster) -> None:
    cluster.remove_access_entry(ROLE)

    run = stand.run(operator())

    assert run.state == "failed"
    assert run.says("[eks:not-mapped]"), run.output
    assert {event["responseStatus"]["code"] for event in cluster.audit()} == {401}
    assert {str(event["user"]) for event in cluster.audit()} == {"{}"}
    assert "identity is not mapped" in cluster.authenticator_log()[-1]


@pytest.mark.skipif(
    not version("apache-airflow").startswith("3.0."), reason="the origin issue is one of Airflow 3.0 with amazon 9.12"
)
def test_the_origin_issue_beside_it(stand: RealStand, cluster: RealCluster, tmp_path: Path) -> None:
    """Its child process may not look up the connection, falls back to the execution role, and signs as that.

    With bash as sh, and the very Python that runs the task on PATH: nothing else is wrong (docs/beside.md, r1).
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sh").symlink_to(str(shutil.which("bash")))
    environ = {"PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin"}
    theirs = operator().replace(
        "from eks_cross_account.airflow import CrossAccountEksPodOperator",
        "from airflow.providers.amazon.aws.operators.eks import EksPodOperator as CrossAccountEksPodOperator",
    )

    old = stand.run(theirs, connections={"cluster_connection": CONNECTION}, environ=environ)
    refused = cluster.audit()
    log = cluster.authenticator_log()
    ours = stand.run(operator(), connections={"cluster_connection": CONNECTION}, environ=environ)

    assert old.state == "failed", old.output
    assert [(event["responseStatus"]["code"], event["user"]) for event in refused] == [(401, {})] * len(refused)
    assert refused[0]["responseStatus"]["reason"] == "Unauthorized"
    assert "arn:aws:iam::111111111111:role/mwaa-exec" in log[0]
    assert "identity is not mapped" in log[0]
    assert ours.state == "success", ours.output
    assert all(event["responseStatus"]["code"] not in REFUSED for event in cluster.audit()[len(refused) :])
