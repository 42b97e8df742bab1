"""What is missing, and the one cause of the 403 that is on top: on the sandbox, and on the real cluster.

Where RBAC objects tell the cause, the real cluster's do in tests/cluster/test_rbac.py: the sandbox has none.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from asking import ASKER, DEFERRED, EXECUTION, LOOK, RUN, asked, entered, explained, in_account_a, on_top, warned
from clusters import WORKER, B, pod

from eks_cross_account import required_permissions
from eks_cross_account.diagnosis import explain
from eks_cross_account.provider import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable

    from clusters import Target

pytestmark = pytest.mark.skipif(
    tuple(map(int, version("botocore").split(".")[:2])) < (1, 34), reason="this botocore is older than access entries"
)
PODS = "/api/v1/namespaces/data/pods"
JSON = {"Content-Type": "application/json"}
NAMESPACES_TOO = required_permissions("create-resource", resources=("namespaces", "pods"))
ROW = "- rolearn: {}\n  username: {}\n  groups: [{}]\n"


@pytest.fixture(autouse=True)
def account_a(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    in_account_a(target, monkeypatch)


# --- both clusters: a scene returns what is asked then, arguments of asked


def as_worker(**arguments: Any) -> Callable[[Target], dict[str, Any]]:
    def ask(_: Target) -> dict[str, Any]:
        return {"role": WORKER, **arguments}

    ask.__name__ = "-".join(map(str, arguments.values())) if "namespace" in arguments else "as_worker"
    return ask


def with_neither_policy_nor_group(target: Target) -> dict[str, Any]:
    entered(target)
    return {}


def in_a_group_that_nobody_knows(target: Target) -> dict[str, Any]:
    entered(target, groups=("airflow-wrkers",))
    return {}


def mapped_as(username: str) -> Callable[[Target], dict[str, Any]]:
    """By a row of aws-auth, in a group which has nothing."""

    def mapped(target: Target) -> dict[str, Any]:
        target.set_aws_auth({"mapRoles": ROW.format(ASKER.replace("team/", ""), username, "nobody")})
        return {}

    mapped.__name__ = f"username_{username}"
    return mapped


def with_an_entry_that_counts_for_nothing(target: Target) -> dict[str, Any]:
    """By its row in aws-auth it comes in, with a group that has nothing."""
    entered(target)
    target.set_mode("CONFIG_MAP")
    return mapped_as("airflow")(target)


def from_a_role_that_trusts_nobody(target: Target) -> dict[str, Any]:
    shut = f"arn:aws:iam::{B}:role/shut"
    target.sandbox.add_role(shut)
    return {"role": shut}


@pytest.mark.parametrize(
    ("scene", "root", "cause"),
    [
        (with_neither_policy_nor_group, "access-entry-without-rights", "F2"),
        (in_a_group_that_nobody_knows, "forbidden", None),
        (as_worker(namespace="default"), "forbidden", None),
        (as_worker(namespace="dta"), "forbidden", None),  # misspelt: 403 to who may not look
        (as_worker(rules=NAMESPACES_TOO), "cluster-scope", "F5"),
        (as_worker(rules=required_permissions("job")), "forbidden", None),
        (as_worker(rules=required_permissions("executor")), "forbidden", "F8"),  # watch pods
        (mapped_as("''"), "user-name-empty", "F10"),
        (mapped_as("123"), "user-name-empty", "F10"),
        (with_an_entry_that_counts_for_nothing, "forbidden", None),
        (from_a_role_that_trusts_nobody, "assume-role-denied", "F14"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_one_cause_is_on_top(
    target: Target, scene: Callable[[Target], dict[str, Any]], root: str, cause: str | None
) -> None:
    report = asked(**scene(target))

    assert on_top(report) == (root, cause, "broken"), report.to_text()


@pytest.mark.parametrize("rules", [RUN, DEFERRED], ids=["waiting", "deferred"])
@pytest.mark.usefixtures("target")
def test_a_healthy_set_up_shows_not_one_warning(rules: Any) -> None:
    report = asked(rules, role=WORKER, pod=pod("p1"))

    assert (report.root_cause, report.verdict, warned(report)) == (None, "healthy", []), report.to_text()
    assert "admission" in {finding.id for finding in report.findings}


def test_an_admin_is_healthy_where_he_asks_for_much(target: Target) -> None:
    target.sandbox.add_role(f"arn:aws:iam::{B}:role/owner", trust=[EXECUTION], allow=LOOK)
    target.add_access_entry(f"arn:aws:iam::{B}:role/owner", policies={"AmazonEKSClusterAdminPolicy": []})

    report = asked(NAMESPACES_TOO, role=f"arn:aws:iam::{B}:role/owner")

    assert (report.root_cause, report.verdict) == (None, "healthy"), report.to_text()


@pytest.mark.parametrize(
    ("method", "path", "body", "found"),
    [
        ("GET", "/api/v1/namespaces/default/pods", None, ("forbidden", None)),
        ("GET", "/api/v1/namespaces/default/pods/p1/log", None, ("forbidden", None)),
        ("GET", "/api/v1/namespaces/default/pods/p1/exec?command=true", None, ("forbidden", None)),
        ("GET", "/api/v1/namespaces/default/events", None, ("forbidden", None)),
        ("POST", "/api/v1/namespaces/default/pods", pod("p1"), ("forbidden", None)),
        ("DELETE", "/api/v1/namespaces/default/pods/p1", None, ("forbidden", None)),
        ("GET", "/api/v1/pods", None, ("forbidden", "F5")),
        ("GET", "/api/v1/nodes", None, ("forbidden", "F5")),
        ("POST", "/api/v1/namespaces", {"metadata": {"name": "x"}}, ("forbidden", "F5")),
        ("GET", "/metrics", None, ("forbidden", None)),
    ],
)
def test_each_403_is_explained_as_it_is_and_as_its_audit_event_has_it(
    target: Target, method: str, path: str, body: Any, found: tuple[str, str | None]
) -> None:
    answer = target.ask(method, path, body, headers=JSON)
    event = target.audit()[-1]

    (of_answer,) = explained(answer)
    assert (answer.status, of_answer.id, of_answer.cause) == (403, *found), answer.body
    assert of_answer.identity.startswith(f"arn:aws:sts::{B}:assumed-role/cross-account-role/")
    (of_event,) = explain(json.dumps(event), now=utc_now())
    assert (of_event.id, of_event.cause, of_event.identity) == (*found, of_answer.identity)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("pods/p1/exec?command=true", "(do_xcom_push); without it: task fails after the work is done"),
        ("pods/p1/log", "(get_logs); without it: task fails while the pod runs"),
        ("events", "(log_events_on_startup); without it: the pod's events are missing from the log (until"),
        ("pods", "Airflow's pod operator asks for it; without it: no pod is made"),
    ],
)
def test_a_403_says_what_of_airflow_asks_for_it(target: Target, path: str, words: str) -> None:
    (found,) = explained(target.ask("GET", f"/api/v1/namespaces/default/{path}"))

    assert words in found.remedy.text


def test_a_403_of_a_user_without_a_name_is_explained(target: Target) -> None:
    mapped_as("''")(target)

    answer = target.ask("GET", PODS, role=ASKER)

    (found,) = explained(answer)
    assert 'User ""' in answer.document["message"]
    assert (answer.status, found.id, found.cause) == (403, "forbidden", "F10")


def test_a_request_without_a_token_is_told_so(target: Target) -> None:
    """On EKS up to 1.31 it is a 403 of system:anonymous, from then on a 401 like any other."""
    answer = target.ask("GET", PODS, role=None)

    (found,) = explained(answer)
    assert (answer.status, found.id) == (401, "unauthorized")


def test_awss_own_403_is_not_the_clusters(target: Target) -> None:
    report = asked(**from_a_role_that_trusts_nobody(target))
    broken = next(finding for finding in report.findings if finding.state == "FAIL")
    text = dict(broken.evidence)["AWS"]

    (found,) = explain(f"botocore.exceptions.ClientError: An error occurred ({text}", now=utc_now())

    assert (found.id, found.cause) == ("assume-role-denied", "F14")


# --- the sandbox alone: access policies, and single denials by its knob

POLICY = "access policies: EKS's authorizer is not public"


@pytest.mark.knobs(POLICY)
@pytest.mark.parametrize(
    ("policies", "rules", "root", "cause"),
    [
        ({"AmazonEKSEditPolicy": ["staging"]}, RUN, "access-policy-scope", "F4"),
        ({"AmazonEKSEditPolicy": ["Data"]}, RUN, "access-policy-scope", "F4"),  # EKS does not check the name
        ({"AmazonEKSEditPolicy": ["dev-*"]}, RUN, "access-policy-scope", "F4"),
        ({"AmazonEKSViewPolicy": ["data"]}, RUN, "access-policy-weak", "F6"),
        ({"AmazonEKSViewPolicy": []}, RUN, "access-policy-weak", "F6"),
        ({"AmazonEKSAdminViewPolicy": []}, RUN, "access-policy-weak", "F6"),
        ({"AmazonEKSViewPolicy": ["data"], "AmazonEKSEditPolicy": ["staging"]}, RUN, "access-policy-weak", "F6"),
        ({"AmazonEKSEditPolicy": ["data"]}, required_permissions("spark"), "access-policy-weak", "F6"),  # no CRDs
        ({"AmazonEKSEditPolicy": ["data"]}, NAMESPACES_TOO, "cluster-scope", "F5"),
        ({"AmazonEKSEditPolicy": []}, NAMESPACES_TOO, "access-policy-weak", "F6"),
        ({"AmazonEKSClusterAdminPolicy": ["data"]}, NAMESPACES_TOO, "cluster-scope", "F5"),
        ({"AmazonEKSClusterAdminPolicy": ["data"]}, required_permissions("create-resource", resources=("namespaces",)),
         "cluster-scope", "F5"),
        ({"AmazonEKSClusterAdminPolicy": ["data"]}, [*RUN, *required_permissions("secrets-backend")], None, None),
        ({"AmazonEKSEditPolicy": ["da*"]}, RUN, None, None),
        ({"AmazonEKSEditPolicy": ["staging", "data"]}, RUN, None, None),
        ({"AmazonEKSEditPolicy": []}, DEFERRED, None, None),
        ({"AmazonEKSViewPolicy": ["data"], "AmazonEKSEditPolicy": ["data"]}, RUN, None, None),
    ],
)  # fmt: skip
def test_an_access_policy_is_enough_or_its_lack_is_on_top(
    target: Target, policies: dict[str, list[str]], rules: Any, root: str | None, cause: str | None
) -> None:
    entered(target, policies=policies)

    report = asked(rules)

    assert on_top(report) == (root, cause, "broken" if root else "healthy"), report.to_text()
    if root is None:
        assert warned(report) == []


@pytest.mark.knobs(POLICY)
def test_the_fix_of_a_policy_of_another_namespace_names_this_one(target: Target) -> None:
    entered(target, policies={"AmazonEKSEditPolicy": ["staging"]})

    broken = asked()
    commands = "\n".join(
        broken.findings[[each.id for each in broken.findings].index("access-policy-scope")].remedy.commands
    )
    entered(target, policies={"AmazonEKSEditPolicy": ["staging", "data"]})

    assert "cluster-access-policy/AmazonEKSEditPolicy" in commands
    assert "--access-scope type=namespace,namespaces=data" in commands
    assert asked().verdict == "healthy"


@pytest.mark.knobs("deny: what an access policy allows, and is not allowed yet")
def test_a_policy_that_should_allow_it_may_not_have_settled(target: Target) -> None:
    entered(target, policies={"AmazonEKSEditPolicy": ["data"]})
    target.sandbox.deny("kubernetes:get pods/log", principal_arn=ASKER)

    report = asked()

    assert on_top(report) == ("access-policy-settling", "F4", "broken"), report.to_text()
    assert report.findings[[each.id for each in report.findings].index("access-policy-settling")].retry


@pytest.mark.knobs("deny")
@pytest.mark.parametrize(
    ("denied", "release", "root"),
    [
        ("create pods", "10.25.0", "forbidden"),
        ("get pods", "10.25.0", "forbidden"),
        ("list pods", "10.25.0", "forbidden"),
        ("get pods/log", "10.25.0", "forbidden"),
        ("get pods/exec", "10.25.0", "forbidden"),
        ("list events", "10.21.0", "forbidden"),
        ("list events", "10.25.0", None),  # silent
        ("delete pods", "10.25.0", None),
        ("patch pods", "10.25.0", None),
    ],
)
def test_a_single_right_is_missing(target: Target, denied: str, release: str, root: str | None) -> None:
    rules = required_permissions(xcom=True, provider_version=release)
    target.sandbox.deny(f"kubernetes:{denied}", principal_arn=WORKER)

    report = asked(rules, role=WORKER)

    assert (report.root_cause, report.verdict) == (root, "broken" if root else "healthy"), report.to_text()
    assert warned(report) == [("FAIL" if root else "WARN", "forbidden", "F8")]
    assert denied in next(finding.summary for finding in report.findings if finding.id == "forbidden")


@pytest.mark.knobs("the cluster's version")
@pytest.mark.parametrize(("server", "root"), [("1.34", None), ("1.35", "forbidden")])
def test_create_of_exec_is_asked_for_from_1_35_on(target: Target, server: str, root: str | None) -> None:
    target.sandbox.cluster().version = server
    target.sandbox.deny("kubernetes:create pods/exec", principal_arn=WORKER)

    assert asked(role=WORKER).root_cause == root


@pytest.mark.knobs("the cluster's version")
def test_the_403_of_exec_that_names_nobody_is_explained(target: Target) -> None:
    target.sandbox.cluster().version = "1.35"
    target.sandbox.deny("kubernetes:create pods/exec", principal_arn=WORKER)
    target.ask("POST", PODS, pod("p1", start_seconds="0"))

    answer = target.ask("GET", f"{PODS}/p1/exec", command="true")

    (found,) = explained(answer)
    assert answer.document["message"] == 'pods "p1" is forbidden: '
    assert (found.id, found.cause) == ("forbidden", "F8")
    assert "do_xcom_push" in found.remedy.text


@pytest.mark.knobs("the sandbox has no resource namespaces")
def test_that_the_sandbox_has_no_namespaces_to_look_at_is_no_verdict(target: Target) -> None:
    target.sandbox.add_role(f"arn:aws:iam::{B}:role/owner", trust=[EXECUTION], allow=LOOK)
    target.add_access_entry(f"arn:aws:iam::{B}:role/owner", policies={"AmazonEKSClusterAdminPolicy": []})

    report = asked(role=f"arn:aws:iam::{B}:role/owner")

    assert (report.root_cause, report.verdict) == (None, "healthy"), report.to_text()
