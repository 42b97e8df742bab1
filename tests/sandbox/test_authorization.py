"""Who may do what: the grant table, access policies, and 403s in a real server's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from clusters import ADMIN, BARE, SESSION, WORKER, B, SandboxCluster, Target, pod

from eks_cross_account.sandbox import Grant, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

WHO = f"arn:aws:sts::{B}:assumed-role/cross-account-role/{SESSION}"
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def forbidden(message: str, details: dict[str, str]) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Forbidden",
        "details": details,
        "code": 403,
    }


@pytest.mark.parametrize(
    ("method", "path", "message", "details"),
    [
        ("GET", "/api/v1/namespaces/default/pods",
         f'pods is forbidden: User "{WHO}" cannot list resource "pods" in API group "" in the namespace "default"',
         {"kind": "pods"}),
        ("GET", "/api/v1/namespaces/dta/pods",  # misspelt: 403, not 404
         f'pods is forbidden: User "{WHO}" cannot list resource "pods" in API group "" in the namespace "dta"',
         {"kind": "pods"}),
        ("GET", "/api/v1/pods",
         f'pods is forbidden: User "{WHO}" cannot list resource "pods" in API group "" at the cluster scope',
         {"kind": "pods"}),
        ("GET", "/api/v1/namespaces/default/pods/p1",
         f'pods "p1" is forbidden: User "{WHO}" cannot get resource "pods" in API group "" in the namespace "default"',
         {"name": "p1", "kind": "pods"}),
        ("GET", "/api/v1/namespaces/default/pods/p1/log",
         (f'pods "p1" is forbidden: User "{WHO}" cannot get resource "pods/log" in API group "" in the '
         'namespace "default"'), {"name": "p1", "kind": "pods"}),
        ("POST", "/api/v1/namespaces/default/pods",
         f'pods is forbidden: User "{WHO}" cannot create resource "pods" in API group "" in the namespace "default"',
         {"kind": "pods"}),
        ("DELETE", "/api/v1/namespaces/data/pods",
         (f'pods is forbidden: User "{WHO}" cannot deletecollection resource "pods" in API group "" in the namespace '
         '"data"'), {"kind": "pods"}),
        ("GET", "/api/v1/namespaces/data/pods?watch=true",
         f'pods is forbidden: User "{WHO}" cannot watch resource "pods" in API group "" in the namespace "data"',
         {"kind": "pods"}),
        ("POST", "/apis/batch/v1/namespaces/data/jobs",
         (f'jobs.batch is forbidden: User "{WHO}" cannot create resource "jobs" in API group "batch" in the namespace '
         '"data"'), {"group": "batch", "kind": "jobs"}),
        ("GET", "/metrics", f'forbidden: User "{WHO}" cannot get path "/metrics"', {}),
        ("POST", "/version", f'forbidden: User "{WHO}" cannot post path "/version"', {}),
        ("GET", "/api/v1/namespaces/data",
         (f'namespaces "data" is forbidden: User "{WHO}" cannot get resource "namespaces" in API group "" in the '
         'namespace "data"'), {"name": "data", "kind": "namespaces"}),
        ("PUT", "/api/v1/namespaces/data/finalize",
         (f'namespaces "data" is forbidden: User "{WHO}" cannot update resource "namespaces/finalize" in API group "" '
         'in the namespace "data"'), {"name": "data", "kind": "namespaces"}),
    ],
)  # fmt: skip
def test_a_denial_reads_as_a_real_servers(
    target: Target, method: str, path: str, message: str, details: dict[str, str]
) -> None:
    answer = target.ask(method, path)

    assert answer.document == forbidden(message, details)
    assert answer.status == 403
    event = target.audit()[-1]
    assert (event["user"]["username"], event["responseStatus"]["code"]) == (WHO, 403)


@pytest.mark.parametrize(
    ("role", "attributes", "allowed"),
    [
        (WORKER, {"verb": "list", "resource": "pods", "namespace": "data"}, True),
        (WORKER, {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "data"}, True),
        (WORKER, {"verb": "create", "resource": "pods", "subresource": "exec", "namespace": "data"}, True),
        (WORKER, {"verb": "get", "resource": "pods/log", "namespace": "data"}, True),  # as some clients spell it
        (WORKER, {"verb": "list", "resource": "pods", "namespace": "default"}, False),
        (WORKER, {"verb": "list", "resource": "pods"}, False),  # no namespace: all of them
        (WORKER, {"verb": "watch", "resource": "pods", "namespace": "data"}, False),
        (WORKER, {"verb": "create", "resource": "jobs", "group": "batch", "namespace": "data"}, False),
        (BARE, {"verb": "list", "resource": "pods", "namespace": "data"}, False),
        (ADMIN, {"verb": "delete", "resource": "nodes"}, True),
    ],
)
def test_a_review_of_access_answers_as_the_request_would_be(
    target: Target,
    role: str,
    attributes: dict[str, str],
    allowed: bool,  # noqa: FBT001 - a table
) -> None:
    answer = target.ask("POST", REVIEW, {"spec": {"resourceAttributes": attributes}}, role=role)

    assert answer.status == 201
    assert answer.document["status"]["allowed"] is allowed
    assert ("reason" in answer.document["status"]) is allowed


@pytest.mark.parametrize(
    "spec",
    [
        [1],
        "x",
        {"resourceAttributes": []},
        {"resourceAttributes": {"verb": ["get"]}},
        {"resourceAttributes": {"verb": "get", "resource": 5}},
        {"resourceAttributes": {"group": {}}},
        {"nonResourceAttributes": {"path": None, "verb": 5}},
    ],
    ids=str,
)
def test_a_review_of_access_that_cannot_be_read_is_refused(target: Target, spec: Any) -> None:
    answer = target.ask("POST", REVIEW, {"spec": spec})

    assert (answer.status, answer.document["reason"]) == (400, "BadRequest")


def test_the_audit_event_of_a_resource_names_its_api_group(target: Target) -> None:
    target.ask("POST", REVIEW, {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}})
    target.ask("GET", "/api/v1/namespaces/data/pods")

    assert [event["objectRef"] for event in target.audit()] == [
        {"resource": "selfsubjectaccessreviews", "apiGroup": "authorization.k8s.io", "apiVersion": "v1"},
        {"resource": "pods", "namespace": "data", "apiVersion": "v1"},
    ]


def test_a_path_can_be_reviewed_too(target: Target) -> None:
    for path, allowed in (("/version", True), ("/metrics", False)):
        review = {"spec": {"nonResourceAttributes": {"verb": "get", "path": path}}}
        assert target.ask("POST", REVIEW, review).document["status"]["allowed"] is allowed


@pytest.mark.parametrize("spec", [{}, {"resourceAttributes": None}], ids=str)
def test_a_review_of_nothing_is_invalid_in_a_real_servers_words(target: Target, spec: Any) -> None:
    answer = target.ask("POST", REVIEW, {"kind": "SelfSubjectAccessReview", "spec": spec})

    why = "Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
    named = '.authorization.k8s.io "" is invalid: spec.resourceAttributes'  # the server forgets the kind on its way
    assert (answer.status, answer.document["message"]) == (422, f"{named}: {why}")
    assert answer.document["details"] == {
        "group": "authorization.k8s.io",
        "causes": [{"reason": "FieldValueInvalid", "message": why, "field": "spec.resourceAttributes"}],
    }


@pytest.mark.knobs("access policies: EKS's authorizer is not public")
@pytest.mark.parametrize(
    ("policy", "namespaces", "may"),
    [
        ("AmazonEKSViewPolicy", ["data"], {"list pods": True, "create pods": False, "get pods/exec": False}),
        ("AmazonEKSEditPolicy", ["data"], {"create pods": True, "get pods/exec": True, "watch events": True}),
        ("AmazonEKSEditPolicy", ["da*"], {"create pods": True}),
        ("AmazonEKSEditPolicy", ["dta"], {"create pods": False}),  # EKS does not check the namespace's name
        ("AmazonEKSAdminViewPolicy", [], {"list nodes": True, "create pods": False}),
        ("AmazonEKSClusterAdminPolicy", [], {"delete nodes": True}),
    ],
)
def test_an_access_policy_lets_in_where_it_is_scoped_to(
    target: Target, policy: str, namespaces: list[str], may: dict[str, bool]
) -> None:
    target.sandbox.add_access_entry(target.sandbox.cluster(), BARE, policies={policy: namespaces})

    for asked, allowed in may.items():
        verb, _, whole = asked.partition(" ")
        resource, _, subresource = whole.partition("/")
        attributes = {"verb": verb, "resource": resource, "subresource": subresource, "namespace": "data"}
        review = target.ask("POST", REVIEW, {"spec": {"resourceAttributes": attributes}}, role=BARE)
        assert review.document["status"]["allowed"] is allowed, asked


@pytest.mark.knobs("deny")
def test_the_knob_denies_one_request_to_one_role_or_to_all(target: Target) -> None:
    target.ask("POST", "/api/v1/namespaces/data/pods", pod())
    log = "/api/v1/namespaces/data/pods/p1/log"

    target.sandbox.deny("kubernetes:get pods/log", principal_arn=WORKER)
    denied = [target.ask("GET", log, role=role).status for role in (WORKER, ADMIN)]
    target.sandbox.deny("kubernetes:*")
    all_denied = target.ask("GET", log, role=ADMIN).status
    target.sandbox.undeny()

    assert (denied, all_denied) == ([403, 400], 403)  # 400: waiting to start
    assert target.ask("GET", "/api/v1/namespaces/data/pods").status == 200


@pytest.mark.knobs("faults")
@pytest.mark.parametrize(
    ("knob", "status", "reason"),
    [
        (lambda s: s.throttle("kubernetes:list pods", times=1), 429, "TooManyRequests"),
        (lambda s: s.respond("kubernetes:*", 403, "<html>blocked", times=1), 403, None),
    ],
)
def test_a_fault_meets_the_requests_of_its_pattern(target: Target, knob: Any, status: int, reason: str | None) -> None:
    knob(target.sandbox)

    first, second = (target.ask("GET", "/api/v1/namespaces/data/pods") for _ in range(2))

    assert (first.status, second.status) == (status, 200)
    if reason is not None:
        assert first.document["reason"] == reason
        assert first.headers["retry-after"] == "1"


@pytest.fixture
def own() -> Iterator[Sandbox]:
    """A sandbox with a table of its own: exec by `get` alone."""
    rows = (
        Grant(user=f"arn:aws:sts::{B}:assumed-role/cross-account-role/{SESSION}", verbs=("get", "create"),
              resources=("pods",), namespace="x"),
        Grant(group="airflow-workers", verbs=("get",), resources=("pods/exec",), namespace="x"),
    )  # fmt: skip
    with Sandbox(grants=rows, namespaces=("x",)) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("version", "status", "message"),
    [("1.34", 400, "Upgrade request required"), ("1.35", 403, 'pods "p1" is forbidden: ')],
)
def test_from_1_35_exec_needs_create_too_and_says_nothing_of_it(
    own: Sandbox, version: str, status: int, message: str
) -> None:
    target = SandboxCluster(own)
    own.cluster().version = version
    assert target.ask("POST", "/api/v1/namespaces/x/pods", pod(start_seconds="0")).status == 201

    answer = target.ask("GET", "/api/v1/namespaces/x/pods/p1/exec", command="true")

    assert (answer.status, answer.document["message"]) == (status, message)


def test_a_grant_is_for_a_group_or_for_a_user() -> None:
    for who in ({}, {"group": "g", "user": "u"}):
        with pytest.raises(ValueError, match="a group or for a user"):
            Grant(verbs=("get",), resources=("pods",), **who)


@pytest.mark.knobs("what it leaves out")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/version", 200),
        ("HEAD", "/version", 200),
        ("POST", "/version", 405),
        ("PUT", "/api/v1/namespaces/data/pods/p1", 405),
        ("GET", "/api/v1/namespaces/data/pods?watch=1", 405),
        ("GET", "/api/v1/nodes", 404),
        ("GET", "/apis/batch/v1/namespaces/data/jobs", 404),
        ("GET", "/apis/x/v1/namespaces/data/pods", 404),
        ("GET", "/nothing", 404),
    ],
)
def test_what_the_sandbox_does_not_have_is_refused_to_an_admin_too(
    target: Target, method: str, path: str, status: int
) -> None:
    assert target.ask(method, path, role=ADMIN).status == status
