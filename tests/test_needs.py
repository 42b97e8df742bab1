"""What operators need, as a table: the rows were measured with real operators (tests/airflow/test_needs*.py)."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from eks_cross_account.diagnosis import Rule, required_permissions
from eks_cross_account.diagnosis.needs import MWAA_LINES, OPERATORS, changes_between, for_server

NEWEST = "10.25.0"


def rules(operator: str = "pod", **options: Any) -> dict[str, Rule]:
    found = required_permissions(operator, **options)
    by_name = {
        f"{rule.verb} {rule.resource}" + (f".{rule.api_group}" if rule.api_group else ""): rule for rule in found
    }
    assert len(by_name) == len(found)
    return by_name


def effects(operator: str = "pod", **options: Any) -> dict[str, str]:
    return {name: rule.effect for name, rule in rules(operator, **options).items()}


# --- the pod operator of the newest provider, by option

SYNC = {
    "create pods": "fails", "get pods": "fails", "list pods": "fails", "get pods/log": "fails",
    "list events": "silent", "delete pods": "silent", "patch pods": "silent",
}  # fmt: skip
DEFERRED = {
    "create pods": "fails", "get pods": "fails", "list pods": "fails", "get pods/log": "silent",
    "watch events": "silent", "delete pods": "silent", "patch pods": "silent",
}  # fmt: skip
EXEC = {"get pods/exec": "fails", "create pods/exec": "fails"}


def without(table: dict[str, str], *names: str) -> dict[str, str]:
    return {name: effect for name, effect in table.items() if name not in names}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, SYNC),
        ({"reattach": False}, SYNC),  # the pod is looked for after it was made, too
        ({"callbacks": True}, SYNC),
        ({"istio": True}, SYNC),  # nothing is run in the sidecar
        ({"logs": False}, without(SYNC, "get pods/log")),
        ({"logs": False, "init_logs": True}, SYNC),
        ({"events": False}, without(SYNC, "list events")),
        ({"events": False, "events_on_failure": True}, SYNC),
        ({"xcom": True}, SYNC | EXEC),
        ({"on_finish_action": "keep_pod"}, SYNC),  # delete: a task that is killed
        ({"on_finish_action": "delete_active_pod"}, SYNC),
        ({"deferrable": True}, DEFERRED),
        ({"deferrable": True, "reattach": False}, without(DEFERRED, "list pods")),
        ({"deferrable": True, "reattach": False, "callbacks": True}, DEFERRED),
        ({"deferrable": True, "logs": False}, without(DEFERRED, "get pods/log")),
        ({"deferrable": True, "logs": False, "init_logs": True}, without(DEFERRED, "get pods/log")),
        ({"deferrable": True, "interim_logs": True}, DEFERRED),
        ({"deferrable": True, "events": False}, without(DEFERRED, "watch events")),
        ({"deferrable": True, "events_on_failure": True}, DEFERRED | {"list events": "silent"}),
        ({"deferrable": True, "xcom": True}, DEFERRED | EXEC),
    ],
    ids=str,
)
def test_a_pod_needs(options: dict[str, Any], expected: dict[str, str]) -> None:
    assert effects(**options) == expected


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_pod_never_needs(deferrable: bool) -> None:  # noqa: FBT001 - both modes
    """Nor do secrets, ConfigMaps, volumes and service accounts of the pod: the kubelet reads those."""
    every = rules(
        deferrable=deferrable, xcom=True, init_logs=True, interim_logs=deferrable, events_on_failure=True,
        callbacks=True, istio=True,
    )  # fmt: skip

    assert {rule.resource for rule in every.values()} == {"pods", "pods/log", "pods/exec", "events"}
    assert "watch pods" not in every
    assert "update pods" not in every
    assert {rule.api_group for rule in every.values()} == {""}
    assert not any(rule.cluster_scoped for rule in every.values())


@pytest.mark.parametrize(
    ("server", "verbs"),
    [
        ("1.34", {"get"}), ("1.34.9-eks-0abc123", {"get"}), ("v1.30+", {"get"}),
        ("1.35", {"get", "create"}), ("1.36.3", {"get", "create"}), (None, {"get", "create"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("operator", ["pod", "pod-exec", "job"])
def test_exec_needs_create_too_from_kubernetes_1_35_on(operator: str, server: str | None, verbs: set[str]) -> None:
    options = {"pod": {"xcom": True}, "job": {"xcom": True, "wait": True}}.get(operator, {})

    found = required_permissions(operator, server_version=server, **options)

    assert {rule.verb for rule in found if rule.resource == "pods/exec"} == verbs


@pytest.mark.parametrize(
    ("options", "name", "when", "callers"),
    [
        ({}, "list events", "log_events_on_startup", ("worker",)),
        ({"provider_version": "10.7.0"}, "list events", "always", ("worker",)),  # there was no option yet
        ({}, "patch pods", "the pod did not succeed", ("worker",)),
        ({"on_finish_action": "keep_pod"}, "patch pods", "always", ("worker",)),
        ({"on_finish_action": "keep_pod"}, "delete pods", "task is killed", ("worker",)),
        ({}, "get pods", "always", ("worker",)),
        ({"deferrable": True}, "get pods", "always", ("triggerer", "worker")),
        ({"deferrable": True}, "watch events", "log_events_on_startup", ("triggerer",)),
        ({"deferrable": True}, "list pods", "reattach_on_restart", ("worker",)),
        ({"deferrable": True}, "get pods/log", "get_logs", ("worker",)),
        ({"deferrable": True, "interim_logs": True}, "get pods/log", "get_logs, logging_interval",
         ("triggerer", "worker")),
        ({"deferrable": True, "interim_logs": True, "provider_version": "9.0.1"}, "get pods/log",
         "get_logs, logging_interval", ("worker",)),
        ({"deferrable": True, "xcom": True}, "get pods/exec", "do_xcom_push", ("worker",)),
        ({"deferrable": True}, "delete pods", "always", ("triggerer", "worker")),
    ],
)  # fmt: skip
def test_who_needs_it_and_what_asks_for_it(
    options: dict[str, Any], name: str, when: str, callers: tuple[str, ...]
) -> None:
    assert (rules(**options)[name].when, rules(**options)[name].callers) == (when, callers)


def test_watching_events_is_needed_only_where_listing_is_not_allowed() -> None:
    assert rules(deferrable=True)["watch events"].instead == "list"
    assert {rule.instead for rule in required_permissions()} == {""}


# --- by release: what happens when a rule is missing

DENIED = {
    "list events, sync": ("list events", {}),
    "events, deferred": ("events", {"deferrable": True}),
    "logs, sync": ("get pods/log", {}),
    "logs, deferred": ("get pods/log", {"deferrable": True}),
    "exec, sync": ("get pods/exec", {"xcom": True}),
    "exec, deferred": ("get pods/exec", {"xcom": True, "deferrable": True}),
}


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        # list events, sync | events, deferred | logs, sync | logs, deferred | exec, sync | exec, deferred
        ("7.6.0", "- - fails fails fails hangs"),
        ("7.13.0", "- - fails fails fails hangs"),
        ("8.2.0", "- - fails fails fails hangs"),
        ("8.3.1", "- - fails silent fails hangs"),
        ("8.4.1", "- - fails silent fails hangs"),
        ("9.0.1", "- - fails silent fails hangs"),
        ("10.5.0", "- - fails silent fails hangs"),
        ("10.6.0", "fails - fails silent fails hangs"),
        ("10.7.0", "fails - fails silent fails hangs"),
        ("10.10.0", "fails fails fails silent fails hangs"),
        ("10.13.0", "fails fails fails silent fails hangs"),
        ("10.16.0", "fails fails fails silent fails hangs"),
        ("10.17.0", "fails fails fails silent fails fails"),
        ("10.21.0", "fails silent fails silent fails fails"),
        ("10.24.0", "fails silent fails silent fails fails"),
        ("10.25.0", "silent silent fails silent fails fails"),
        ("11.3.0", "silent silent fails silent fails fails"),  # newer than the table: as its newest
    ],
)
def test_what_a_missing_rule_does_by_release(provider: str, expected: str) -> None:
    told = []
    for name, options in DENIED.values():
        found = effects(provider_version=provider, **options)
        worst = {found.get(name), found.get(f"watch {name}"), found.get(f"list {name}")} - {None}
        told.append(worst.pop() if worst else "-")
        assert worst == set()

    assert " ".join(told) == expected


@pytest.mark.parametrize(
    ("provider", "expected"),
    [("7.6.0", "silent"), ("7.7.0", None), (NEWEST, None)],
)
def test_the_sidecar_of_istio_was_told_to_end_in_7_6_only(provider: str, expected: str | None) -> None:
    assert effects(istio=True, provider_version=provider, server_version="1.34").get("get pods/exec") == expected


@pytest.mark.parametrize(
    ("provider", "effect"),
    [("8.3.1", "fails"), ("10.7.0", "fails"), ("10.10.0", "fails"), ("10.13.0", "fails"), ("10.16.0", "silent"),
     ("10.21.0", "silent")],
)  # fmt: skip
def test_logs_of_a_deferred_pod_that_runs(provider: str, effect: str) -> None:
    found = rules(deferrable=True, interim_logs=True, provider_version=provider)

    assert found["get pods/log"].effect == effect


def test_events_cannot_be_switched_off_before_10_25() -> None:
    assert "list events" in effects(events=False, provider_version="10.21.0")
    assert "watch events" in effects(events=False, deferrable=True, provider_version="10.21.0")
    assert "list events" not in effects(events=False, provider_version="10.25.0")


# --- the other operators

JOB = {"create jobs.batch": "fails", "delete jobs.batch": "silent"}
WAITED = JOB | {
    "get jobs/status.batch": "fails", "list pods": "fails", "get pods": "fails", "get pods/log": "fails",
    "delete pods": "silent", "patch pods": "silent",
}  # fmt: skip
SPARK = "sparkapplications.sparkoperator.k8s.io"


@pytest.mark.parametrize(
    ("operator", "options", "expected"),
    [
        ("pod-exec", {}, {"get pods": "fails"} | EXEC),
        ("pod-exec", {"xcom": True}, {"get pods": "fails"} | EXEC),
        ("job", {}, JOB),
        ("kueue-job", {}, JOB),
        ("job", {"wait": True}, WAITED),
        ("kueue-job", {"wait": True}, WAITED),
        ("job", {"wait": True, "logs": False}, without(WAITED, "get pods/log") | {"get pods": "silent"}),
        ("job", {"wait": True, "xcom": True}, WAITED | EXEC),
        ("job", {"wait": True, "deferrable": True}, WAITED | {"get pods": "silent"}),
        ("job", {"wait": True, "deferrable": True, "xcom": True}, WAITED | EXEC),
        ("delete-job", {}, {"get jobs/status.batch": "fails", "delete jobs.batch": "fails"}),
        ("delete-job", {"wait": True}, {"get jobs/status.batch": "fails", "delete jobs.batch": "fails"}),
        ("patch-job", {}, {"patch jobs.batch": "fails"}),
        ("create-resource", {"resources": ["deployments.apps", "pods"]},
         {"create deployments.apps": "fails", "create pods": "fails"}),
        ("delete-resource", {"resources": ["rayclusters.ray.io"]}, {"delete rayclusters.ray.io": "fails"}),
        ("spark-sensor", {}, {f"get {SPARK}": "fails", "get pods/log": "silent"}),
        ("spark-sensor", {"logs": False}, {f"get {SPARK}": "fails"}),
        ("spark", {}, {
            f"create {SPARK}": "fails", f"delete {SPARK}": "fails",
            "get sparkapplications/status.sparkoperator.k8s.io": "fails", "list pods": "fails", "get pods": "fails",
            "patch pods": "fails", "get pods/log": "fails", "list events": "silent",
        }),
        ("spark", {"provider_version": "7.13.0"}, {f"create {SPARK}": "fails", f"delete {SPARK}": "silent"}),
        ("secrets-backend", {}, {"list secrets": "fails"}),
        ("executor", {}, {
            "create pods": "fails", "list pods": "hangs", "watch pods": "hangs", "delete pods": "hangs",
            "get pods": "hangs", "patch pods": "silent", "get pods/log": "silent",
        }),
    ],
)  # fmt: skip
def test_another_operator_needs(operator: str, options: dict[str, Any], expected: dict[str, str]) -> None:
    assert effects(operator, **options) == expected


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("8.3.1", JOB),  # nothing is asked about its pods
        ("9.0.1", JOB | {"list pods": "fails", "create pods": "fails"}),  # whether it is waited for or not
        ("10.12.0", JOB | {"list pods": "fails", "create pods": "fails"}),
        ("10.13.0", JOB),
    ],
)
def test_a_job_that_is_not_waited_for(provider: str, expected: dict[str, str]) -> None:
    assert effects("job", provider_version=provider) == expected


def test_only_the_executor_watches_pods() -> None:
    resources = {"create-resource": ["pods"], "delete-resource": ["pods"]}

    watching = [name for name in OPERATORS if "watch pods" in effects(name, resources=resources.get(name, ()))]

    assert watching == ["executor"]


def test_kueue_is_installed_by_one_who_may_do_much_in_the_whole_cluster() -> None:
    found = rules("kueue-install")

    assert {rule.verb for rule in found.values()} == {"create", "get", "escalate", "bind"}
    assert found["get deployments/status.apps"].effect == "fails"
    assert {rule.resource for rule in found.values() if rule.cluster_scoped} == {
        "apiservices", "clusterrolebindings", "clusterroles", "customresourcedefinitions",
        "mutatingwebhookconfigurations", "namespaces", "validatingwebhookconfigurations",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("pods", ("", "pods", False)),
        ("deployments.apps", ("apps", "deployments", False)),
        ("namespaces", ("", "namespaces", True)),
        ("clusterroles.rbac.authorization.k8s.io", ("rbac.authorization.k8s.io", "clusterroles", True)),
        ("priorityclasses.scheduling.k8s.io", ("scheduling.k8s.io", "priorityclasses", True)),
        ("rayclusters.ray.io", ("ray.io", "rayclusters", False)),
    ],
)
def test_a_resource_is_written_as_plural_and_group(resource: str, expected: tuple[str, str, bool]) -> None:
    (rule,) = required_permissions("create-resource", resources=[resource])

    assert (rule.api_group, rule.resource, rule.cluster_scoped) == expected


def test_spark_may_be_another_custom_resource() -> None:
    found = rules("spark", resources=["sparkjobs.example.org"])

    assert {"create sparkjobs.example.org", "get sparkjobs/status.example.org"} <= set(found)


# --- order and shape


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_fails_comes_first_then_by_resource_and_verb(operator: str) -> None:
    found = required_permissions(operator, resources=("pods",) if operator.endswith("resource") else ())

    places = [("fails", "hangs", "silent").index(rule.effect) for rule in found]
    assert places == sorted(places)
    for effect in ("fails", "hangs", "silent"):
        same = [(rule.resource, rule.verb) for rule in found if rule.effect == effect]
        assert same == sorted(same)
    assert all(rule.when and rule.consequence and rule.callers for rule in found)
    assert len({(rule.api_group, rule.resource, rule.verb) for rule in found}) == len(found)


def test_the_options_are_those_of_the_operator_with_its_defaults() -> None:
    told = {name: found.default for name, found in inspect.signature(required_permissions).parameters.items()}

    assert told == {
        "operator": "pod", "deferrable": False, "xcom": False, "logs": True, "init_logs": False,
        "interim_logs": False, "events": True, "events_on_failure": False, "on_finish_action": "delete_pod",
        "reattach": True, "callbacks": False, "istio": False, "wait": False, "resources": (),
        "provider_version": None, "server_version": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("operator", "options", "message"),
    [
        ("bash", {}, "there is no operator 'bash' here, there are: pod, pod-exec, job, "),
        ("delete-job", {"deferrable": True}, "delete-job has no option deferrable"),
        ("executor", {"xcom": True}, "executor has no option xcom"),
        ("pod", {"wait": True}, "pod has no option wait"),
        ("pod", {"resources": ["pods"]}, "pod has no option resources"),
        ("pod", {"interim_logs": True}, "it needs deferrable"),
        ("job", {"deferrable": True}, "only with wait (wait_until_job_complete)"),
        ("job", {"xcom": True}, "only with wait (wait_until_job_complete)"),
        ("create-resource", {}, "create-resource needs resources"),
        ("create-resource", {"resources": ["Deployment"]}, "'Deployment' is not a resource"),
        ("create-resource", {"resources": ["pods; rm"]}, "'pods; rm' is not a resource"),
        ("pod", {"on_finish_action": "burn"}, "on_finish_action is one of delete_pod, keep_pod"),
        ("pod", {"provider_version": "7.5.1"}, "this table begins with cncf-kubernetes 7.6.0, this is 7.5.1"),
        ("pod", {"provider_version": "new"}, "'new' is not a version"),
        ("pod", {"server_version": "1"}, "'1' is not a version"),
        ("pod-exec", {"provider_version": "10.21.0"}, "pod-exec begins with cncf-kubernetes 10.22.0"),
        ("job", {"provider_version": "7.14.0"}, "job begins with cncf-kubernetes 8.0.0"),
        ("pod", {"init_logs": True, "provider_version": "10.0.0"}, "init_logs begins with cncf-kubernetes 10.1.0"),
        ("pod", {"on_finish_action": "delete_active_pod", "provider_version": "10.7.0"},
         "delete_active_pod begins with cncf-kubernetes 10.12.0"),
        ("spark", {"deferrable": True, "provider_version": "10.8.0"}, "deferrable begins with cncf-kubernetes 10.9.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_a_value_error(operator: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        required_permissions(operator, **options)

    assert message in str(refused.value)


# --- upgrades


def changes(old: str, new: str, operator: str = "pod", **options: Any) -> set[tuple[str, str]]:
    return {(f"{rule.verb} {rule.resource}", change) for rule, change in changes_between(old, new, operator, **options)}


@pytest.mark.parametrize(
    ("old", "new", "options", "expected"),
    [
        ("10.5.0", "10.7.0", {}, {("list events", "new")}),  # apache/airflow#58736
        ("10.5.0", "10.7.0", {"deferrable": True}, set()),
        ("10.7.0", "10.13.0", {"deferrable": True}, {("watch events", "new")}),
        ("10.10.0", "10.13.0", {"deferrable": True}, {("watch events", "new"), ("list events", "gone")}),
        ("10.21.0", "10.25.0", {}, set()),  # what failed no longer does
        ("10.25.0", "10.21.0", {}, {("list events", "now fails")}),
        ("10.16.0", "10.17.0", {"deferrable": True, "xcom": True}, set()),  # what hung fails: no worse
        ("8.3.1", "9.0.1", {"operator": "job"}, {("list pods", "new"), ("create pods", "new")}),
        ("10.7.0", "10.13.0", {"operator": "job"}, {("list pods", "gone"), ("create pods", "gone")}),
        ("10.16.0", "10.21.0", {"operator": "job", "wait": True}, {("delete pods", "new"), ("patch pods", "new")}),
        ("7.6.0", "7.6.0", {}, set()),
    ],
)  # fmt: skip
def test_what_an_upgrade_asks_for(old: str, new: str, options: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    assert changes(old, new, **options) == expected


def test_what_is_gone_is_told_as_it_was_and_what_fails_as_it_is() -> None:
    ((gone, _),) = changes_between("7.6.0", "7.13.0", istio=True, server_version="1.34")
    ((fails, _),) = changes_between("10.25.0", "10.24.0")

    assert (gone.verb, gone.resource, gone.effect) == ("get", "pods/exec", "silent")
    assert (fails.verb, fails.resource, fails.effect) == ("list", "events", "fails")


def test_an_upgrade_of_what_the_old_release_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pod-exec begins with cncf-kubernetes 10\.22\.0"):
        changes_between("10.7.0", NEWEST, "pod-exec")


@pytest.mark.parametrize(("airflow", "provider"), MWAA_LINES)
def test_every_line_of_mwaa_is_in_the_table(airflow: str, provider: str) -> None:
    assert airflow.count(".") == 2
    assert "create pods" in effects(provider_version=provider)


@pytest.mark.parametrize(
    ("version", "verbs"),
    [("1.34", {"get"}), ("1.35", {"get", "create"}), ("", {"get", "create"}), ("v?", {"get", "create"})],
)
def test_a_server_before_1_35_asks_for_get_of_exec_alone_and_an_unknown_one_for_both(
    version: str, verbs: set[str]
) -> None:
    rules = required_permissions("pod", xcom=True)

    asked = for_server(rules, version)

    assert {rule.verb for rule in asked if rule.resource == "pods/exec"} == verbs
    assert {rule for rule in rules if rule.resource != "pods/exec"} < set(asked)
