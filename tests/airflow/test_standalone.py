"""A real scheduler, worker and triggerer, each a process of its own, with the connections in the database.

One ``airflow standalone`` for all tests: its DAGs are in standalone_dags.py, each test starts its own and asks the
database how it went. The tests run in the order in which they are written: the last one looks for secrets in all that
the others have left.
"""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from stand import CONNECTION, EXECUTION, Stand
from standalone import AIRFLOW_2, Standalone
from standalone_dags import DENIED, ROLES, name_of

from eks_cross_account.sandbox import trust_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eks_cross_account.sandbox import KubernetesRequest, Sandbox

pytestmark = [
    pytest.mark.slow,
    pytest.mark.standalone,
    pytest.mark.timeout(800),
    pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="finds the processes by /proc"),
]

SESSION = "arn:aws:sts::222222222222:assumed-role/"
USER = f"{SESSION}cross-account-role/airflow_cluster_connection"
CONNECTIONS = {
    "cluster_connection": CONNECTION,
    "account_a": {"conn_type": "aws", "extra": {"region_name": "eu-west-1"}},
}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[Stand]:
    with Stand(tmp_path_factory.mktemp("standalone"), database) as started:
        sandbox = started.sandbox
        for name in ("mapped", "mapped-deferred", "short-sessions", *(f"not-{name_of(denied)}" for denied in DENIED)):
            add_role(sandbox, name, life=timedelta(seconds=25) if name == "short-sessions" else None)
            sandbox.add_access_entry(sandbox.cluster(), ROLES + name, groups=["airflow-workers"])
        for denied in DENIED:
            pattern = f"kubernetes:{denied.removeprefix('deferred ')}"
            sandbox.deny(pattern, principal_arn=f"{ROLES}not-{name_of(denied)}")
        sandbox.add_cluster("strict")
        for name in ("unmapped", "never"):
            add_role(sandbox, name)
        add_role(sandbox, "wants-external-id", external_id="right")
        yield started


def add_role(sandbox: Sandbox, name: str, *, external_id: str | None = None, life: timedelta | None = None) -> None:
    trust = trust_policy(EXECUTION, external_id=external_id, tag_session=True)
    sandbox.add_role(ROLES + name, trust=trust, allow=["eks:DescribeCluster"], life=life)


@pytest.fixture(scope="module")
def sandbox(stand: Stand) -> Sandbox:
    return stand.sandbox


@pytest.fixture(scope="module")
def airflow(stand: Stand, database: Path) -> Iterator[Standalone]:
    dags = Path(__file__).parent / "standalone_dags.py"
    with Standalone(stand, dags, database=database, connections=CONNECTIONS) as started:
        started.start("long")  # it takes a minute: the others run beside it
        yield started


def about(sandbox: Sandbox, pod: str) -> list[KubernetesRequest]:
    """The requests about pods whose name is this and a suffix; create and list name none, and are none of them."""
    named = re.compile(rf"{pod}-[a-z0-9]+")
    return [request for request in list(sandbox.kubernetes_requests) if named.fullmatch(request.name)]


def codes(sandbox: Sandbox, operation: str, pod: str) -> set[int]:
    """How requests of this verb and resource about the pods were answered."""
    return {request.code for request in about(sandbox, pod) if f"{request.verb} {request.resource}" == operation}


def created(sandbox: Sandbox, pod: str) -> set[str]:
    """The names of the pods that there were."""
    return {request.name for request in about(sandbox, pod) if request.code < 300}


def is_deleted(sandbox: Sandbox, pod: str) -> bool:
    """Whether each of them was."""
    done = {request.name for request in about(sandbox, pod) if request.verb == "delete" and request.code == 200}
    return bool(done) and done == created(sandbox, pod)


def users(sandbox: Sandbox, pod: str) -> set[str]:
    return {request.user.get("username", "nobody") for request in about(sandbox, pod)}


def sessions(sandbox: Sandbox, role: str) -> int:
    """How often it was assumed."""
    return sum(key.principal.base_arn == ROLES + role for key in list(sandbox._world.keys.values()))


def lines(airflow: Standalone, dag_id: str, task_id: str) -> list[int]:
    """The numbers of the pod's log lines in the task's log."""
    return [int(number) for number in re.findall(r"\[base\](?: logs:)? line (\d+) of", airflow.log(dag_id, task_id))]


def says(text: str, wanted: str) -> bool:
    """Whether it does, wherever a console broke the line."""
    return "".join(wanted.split()) in "".join(text.replace("\\", "").split())


# --- what works


@pytest.mark.parametrize("how", ["sync", "deferred"])
def test_a_pod_runs_to_its_end(airflow: Standalone, sandbox: Sandbox, how: str) -> None:
    assert airflow.ended("works", how) == "success", airflow.log("works", how)

    assert lines(airflow, "works", how) == [1, 2, 3, 4, 5]
    assert is_deleted(sandbox, how)
    assert users(sandbox, how) == {USER}
    assert "You cannot use AsyncToSync" not in airflow.log("works", how)


@pytest.mark.parametrize("how", ["sync-xcom", "deferred-xcom"])
def test_xcom_comes_back(airflow: Standalone, sandbox: Sandbox, how: str) -> None:
    assert airflow.ended("works", how) == "success", airflow.log("works", how)

    wanted = "select value from xcom where task_id = ? and key = 'return_value'"
    value = airflow.query(wanted, how)[0][0]
    assert "rows" in (value.decode() if isinstance(value, bytes) else value)
    assert codes(sandbox, "get pods/exec", how) == {101}
    assert is_deleted(sandbox, how)


@pytest.mark.parametrize(("how", "most"), [("mapped", 3), ("mapped-deferred", 9)])
def test_mapped_tasks_have_a_pod_each(airflow: Standalone, sandbox: Sandbox, how: str, most: int) -> None:
    assert airflow.ended("mapped", how) == "success", airflow.log("mapped", how)

    assert len(created(sandbox, how)) == 3
    assert is_deleted(sandbox, how)
    assert (
        1 <= sessions(sandbox, how) <= most
    )  # a process each, where deferred twice; and the triggerer, again when it watched none


# --- what fails, and what it says


@pytest.mark.parametrize("how", ["fails", "fails-deferred"])
def test_a_failing_pod_is_the_parents_to_explain(airflow: Standalone, sandbox: Sandbox, how: str) -> None:
    assert airflow.ended("fails", how) == "failed"

    log = airflow.log("fails", how)
    assert re.search(r"Pod fails\S* returned a failure", log), log
    assert "[eks:" not in log
    assert is_deleted(sandbox, how)


@pytest.mark.parametrize("denied", DENIED)
def test_a_right_that_is_missing(airflow: Standalone, sandbox: Sandbox, denied: str) -> None:
    task_id = name_of(denied)
    names_it = ("list pods", "create pods", "get pods", "get pods/log", "get pods/exec", "* events")

    state = airflow.ended("denied", task_id)

    log = airflow.log("denied", task_id)
    assert state == ("failed" if denied in names_it else "success"), log
    if denied in names_it:
        what = denied.replace("*", "list")
        assert says(log, "[eks:forbidden]"), log
        assert says(log, f'may not "{what}" in namespace data on cluster analytics (403)'), log
    else:
        assert not says(log, "[eks:"), log
    if denied in {"list pods", "create pods"}:
        assert created(sandbox, task_id) == set()
    elif denied in {"get pods", "get pods/log", "* events"}:  # it runs, and somebody waits for what it does
        assert says(log, "The pod is running and was NOT deleted"), log
        assert not codes(sandbox, "delete pods", task_id)
    elif denied == "delete pods":
        assert codes(sandbox, "delete pods", task_id) == {403}
        assert says(log, 'cannot delete resource "pods"'), log
    elif denied == "patch pods":
        assert not codes(sandbox, "delete pods", task_id)
        assert says(log, 'cannot patch resource "pods"'), log
    else:
        assert is_deleted(sandbox, task_id)
    if denied == "deferred get pods/log":
        assert "[base]" not in log
        assert 403 in codes(sandbox, "get pods/log", task_id)


def test_a_wrong_external_id_is_named(airflow: Standalone, sandbox: Sandbox) -> None:
    assert airflow.ended("refused", "wrong-external-id") == "failed"

    log = airflow.log("refused", "wrong-external-id")
    role = f"{ROLES}wants-external-id"
    assert says(log, "[eks:assume-role-denied]"), log
    assert says(log, f"may not assume {role} (hop 1 of 1"), log
    assert says(log, "external id sent: yes). Mend: trust policy, owner of account 222222222222"), log
    assert sessions(sandbox, "wants-external-id") == 0


def test_a_role_that_is_not_mapped_is_named(airflow: Standalone) -> None:
    assert airflow.ended("refused", "unmapped") == "failed"

    log = airflow.log("refused", "unmapped")
    assert says(log, f"[eks:not-mapped] Cluster strict (222222222222, eu-west-1) refused {ROLES}unmapped: 401."), log


def test_a_missing_connection_is_named_and_nothing_is_signed(airflow: Standalone, sandbox: Sandbox) -> None:
    assert airflow.ended("refused", "no-connection") == "failed"

    assert says(airflow.log("refused", "no-connection"), "[eks:connection-missing]")
    assert sessions(sandbox, "never") == 0
    assert created(sandbox, "no-connection") == set()


# --- what is interrupted


@pytest.mark.skipif(version("apache-airflow").startswith("3.0."), reason="Airflow 3.0 does not retry a killed task")
def test_a_retry_finds_the_pod_of_a_worker_that_was_killed(airflow: Standalone, sandbox: Sandbox) -> None:
    airflow.start("worker_killed")
    airflow.until(lambda: 200 in codes(sandbox, "get pods/log", "worker-killed"))
    pid = airflow.query("select pid from task_instance where task_id = 'worker-killed'")[0][0]
    assert pid in airflow.processes()
    with suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)

    assert airflow.ended("worker_killed", "worker-killed") == "success", airflow.log("worker_killed", "worker-killed")

    tries = airflow.query("select try_number from task_instance where task_id = 'worker-killed'")[0][0]
    assert tries == 2
    assert len(created(sandbox, "worker-killed")) == 1
    assert is_deleted(sandbox, "worker-killed")


def test_killing_a_deferred_task_deletes_its_pod(airflow: Standalone, sandbox: Sandbox) -> None:
    airflow.start("killed_deferred")
    watched(airflow, sandbox, "killed_deferred", "killed-deferred")

    airflow.fail("killed_deferred", "killed-deferred")

    airflow.until(lambda: is_deleted(sandbox, "killed-deferred"))
    assert airflow.ended("killed_deferred", "killed-deferred") == "failed"


def test_a_triggerer_that_was_taken_for_dead_deletes_no_pod(airflow: Standalone, sandbox: Sandbox) -> None:
    airflow.start("taken_over")
    watched(airflow, sandbox, "taken_over", "taken-over")
    airflow.change(
        "insert into job (job_type, state, start_date, latest_heartbeat) "
        "values ('TriggererJob', 'running', datetime('now'), datetime('now', '+1 hour'))"
    )
    other = airflow.query("select max(id) from job")[0][0]
    mine = "select trigger_id from task_instance where task_id = 'taken-over'"

    airflow.change(f"update trigger set triggerer_id = ? where id = ({mine})", other)  # noqa: S608 - constants

    airflow.until(lambda: sandbox.clock.now() - about(sandbox, "taken-over")[-1].at > timedelta(seconds=6))
    assert not codes(sandbox, "delete pods", "taken-over")
    airflow.change("update job set latest_heartbeat = start_date, end_date = start_date where id = ?", other)
    assert airflow.ended("taken_over", "taken-over") == "success", airflow.log("taken_over", "taken-over")
    assert len(created(sandbox, "taken-over")) == 1


def test_another_triggerer_goes_on_with_what_a_newer_release_has_deferred(
    airflow: Standalone, sandbox: Sandbox
) -> None:
    airflow.start("newer_release")
    watched(airflow, sandbox, "newer_release", "newer-release")
    mine = "select trigger_id from task_instance where task_id = 'newer-release'"
    row = airflow.query(f"select kwargs from trigger where id = ({mine})")[0][0]  # noqa: S608 - constants; no Fernet key
    newer = row.replace('"cluster_name":', '"from_the_future": "1", "cluster_name":', 1)
    assert newer != row

    airflow.lose_triggerer()
    airflow.change(f"update trigger set kwargs = ? where id = ({mine})", newer)  # noqa: S608 - as above
    airflow.start_triggerer()

    assert airflow.ended("newer_release", "newer-release") == "success", airflow.log("newer_release", "newer-release")
    assert len(re.findall(r"Checking pod 'newer-release", airflow.log("newer_release", "newer-release"))) == 2
    assert len(created(sandbox, "newer-release")) == 1
    assert is_deleted(sandbox, "newer-release")


def watched(airflow: Standalone, sandbox: Sandbox, dag_id: str, task_id: str) -> None:
    """Wait until the triggerer asks for the deferred task's pod."""
    airflow.until(lambda: airflow.is_in(dag_id, task_id, "deferred"))
    before = len(about(sandbox, task_id))
    airflow.until(lambda: len(about(sandbox, task_id)) >= before + 3)


# --- what lasts


@pytest.mark.parametrize("how", ["long", "long-deferred"])
def test_a_pod_outlives_tokens_and_role_sessions(airflow: Standalone, sandbox: Sandbox, how: str) -> None:
    assert airflow.ended("long", how) == "success", airflow.log("long", how)

    assert lines(airflow, "long", how) == list(range(1, 121))
    assert users(sandbox, how) == {f"{SESSION}short-sessions/airflow_account_a"}
    assert is_deleted(sandbox, how)
    assert sessions(sandbox, "short-sessions") >= 4
    assert 401 not in {request.code for request in sandbox.kubernetes_requests if request.cluster == "analytics"}


# --- after everything


def test_every_request_was_that_of_the_task_s_role(airflow: Standalone, sandbox: Sandbox) -> None:
    assert airflow.processes()
    names = {request.user.get("username", "") for request in sandbox.kubernetes_requests if request.code != 401}

    assert {name.rpartition("/")[2] for name in names} == {"airflow_cluster_connection", "airflow_account_a"}
    assert all(name.startswith(SESSION) for name in names)


def test_no_secret_is_in_anything_that_airflow_has_written(airflow: Standalone, sandbox: Sandbox) -> None:
    wanted = {"k8s-aws-v1.", "X-Amz-Signature="}
    for key in sandbox._world.keys.values():
        wanted |= {secret[:40] for secret in (key.secret_key, key.session_token or "") if secret}
    wanted |= {quote(secret, safe="") for secret in wanted}
    pattern = re.compile(b"|".join(re.escape(secret.encode()) for secret in sorted(wanted)))
    places = dict(airflow.files())

    found = {str(file): sorted(set(pattern.findall(raw))) for file, raw in places.items()}

    assert any(b"DEBUG" in raw or b'"debug"' in raw for raw in places.values())
    assert any(file.name == "airflow.db" for file in places)
    assert {file: what for file, what in found.items() if what} == {}
    assert AIRFLOW_2 or any(b"task_id=long-deferred" in str(file).encode() for file in places)
