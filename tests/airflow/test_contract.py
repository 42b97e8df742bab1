"""What a DAG file that was written for EksPodOperator relies on, compared with the installed providers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.providers.amazon.aws.operators.eks import EksPodOperator
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger

import eks_cross_account.airflow
from eks_cross_account import RoleHop
from eks_cross_account.airflow import (
    CrossAccountEksMixin,
    CrossAccountEksPodOperator,
    CrossAccountEksPodTrigger,
    EksTokenCheckOperator,
)
from eks_cross_account.airflow._failures import EksFailure
from eks_cross_account.airflow._seams import _first
from eks_cross_account.airflow._target import Target, UnknownTriggerVersionError
from eks_cross_account.airflow.dags import check_dag
from eks_cross_account.airflow.provider_info import get_provider_info
from eks_cross_account.errors import CredentialsError

TaskDeferred = _first("TaskDeferred", "airflow.sdk.exceptions", "airflow.exceptions")
pytestmark = pytest.mark.contract

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
OURS = {
    "role_arn",
    "role_hops",
    "external_id",
    "session_name",
    "cluster_endpoint",
    "cluster_ca",
    "diagnose_on_failure",
}
ALL_LINES = {
    "cluster_name",
    "in_cluster",
    "namespace",
    "pod_context",
    "pod_name",
    "pod_username",
    "aws_conn_id",
    "region",
    "on_finish_action",
    "is_delete_operator_pod",
}


class InHouse(EksPodOperator):
    """An operator as teams have them."""

    def __init__(self, *, team: str = "none", **kwargs: Any) -> None:
        super().__init__(labels={"team": team}, **kwargs)
        self.team = team
        self.ran: list[str] = []

    def execute(self, context: Any) -> Any:
        self.ran.append("in-house execute")
        return super().execute(context)


class CrossAccountInHouse(CrossAccountEksMixin, InHouse):
    pass


class DbtKubernetesBaseOperator(KubernetesPodOperator):
    """Cosmos' classes, as far as their shape matters (cosmos/operators/kubernetes.py and aws_eks.py, 1.10)."""

    def execute(self, context: Any) -> Any:
        return self.build_and_run_cmd(context)

    def build_and_run_cmd(self, context: Any) -> Any:
        return ["ran without a kubeconfig", context]


class DbtAwsEksBaseOperator(DbtKubernetesBaseOperator):
    def __init__(self, cluster_name: str, pod_name: str | None = None, aws_conn_id: str = "aws_default",
                 region: str | None = None, **kwargs: Any) -> None:  # fmt: skip
        self.cluster_name, self.pod_name, self.aws_conn_id, self.region = cluster_name, pod_name, aws_conn_id, region
        super().__init__(name=pod_name, **kwargs)

    def execute(self, context: Any) -> Any:  # noqa: ARG002 - as cosmos has it
        raise AssertionError("this one writes a kubeconfig")


class DbtRunKubernetesOperator(DbtKubernetesBaseOperator):
    pass


class DbtRunAwsEksOperator(DbtAwsEksBaseOperator, DbtRunKubernetesOperator):
    pass


class CrossAccountDbtRun(CrossAccountEksMixin, DbtRunAwsEksOperator):
    pass


def unguarded(operator: Any, context: Any) -> Any:
    """execute() below Airflow 3's guard against calls outside of a task."""
    execute = type(operator).execute
    while hasattr(execute, "__wrapped__"):
        execute = execute.__wrapped__
    return execute(operator, context)


def made(kind: Any = CrossAccountEksPodOperator, **arguments: Any) -> Any:
    given = {
        "task_id": "t",
        "cluster_name": "analytics",
        "region": "eu-west-1",
        "pod_name": "report",
        "image": "busybox",
    }
    return kind(**{**given, **arguments})


def parent_trigger(kind: Any = KubernetesPodTrigger, **arguments: Any) -> Any:
    given = {
        "pod_name": "report-1",
        "pod_namespace": "data",
        "trigger_start_time": datetime(2026, 1, 1, tzinfo=UTC),
        "base_container_name": "base",
    }
    return kind(**{**given, **arguments})


def deferred_with(operator: Any, trigger: Any) -> Any:
    with pytest.raises(TaskDeferred) as deferred:
        operator.defer(trigger=trigger, method_name="trigger_reentry")
    return deferred.value.trigger


def parameters(kind: Any) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(kind.__init__).parameters)


def test_it_takes_the_keywords_of_every_line() -> None:
    ours = set(parameters(CrossAccountEksPodOperator))

    assert set(parameters(EksPodOperator)) <= ours
    assert ours >= ALL_LINES | OURS


def test_its_defaults_are_those_of_the_installed_operator() -> None:
    ours, theirs = parameters(CrossAccountEksPodOperator), parameters(EksPodOperator)

    assert {name: ours[name].default for name in theirs} == {name: theirs[name].default for name in theirs}


def test_a_finished_pod_is_treated_as_by_the_installed_operator() -> None:
    assert made().on_finish_action == made(EksPodOperator).on_finish_action


@pytest.mark.parametrize(
    ("given", "action"),
    [
        ({"on_finish_action": "keep_pod"}, "keep_pod"),
        ({"on_finish_action": "delete_succeeded_pod"}, "delete_succeeded_pod"),
        ({"is_delete_operator_pod": True}, "delete_pod"),
        ({"is_delete_operator_pod": False}, "keep_pod"),
    ],
)
def test_what_to_do_with_a_finished_pod_is_as_told(given: dict[str, Any], action: str) -> None:
    assert made(**given).on_finish_action.value == action


def test_template_fields_are_the_installed_ones_and_ours() -> None:
    assert set(CrossAccountEksPodOperator.template_fields) == set(EksPodOperator.template_fields) | OURS


@pytest.mark.parametrize("kind", [CrossAccountEksPodOperator, CrossAccountInHouse])
def test_it_is_made_and_dry_run_without_network_or_connection(kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made(kind, role_arn=ROLE, aws_conn_id="not_there").dry_run()

    assert "image: busybox" in capsys.readouterr().out


def test_a_role_and_hops_are_two_ways_to_say_the_same() -> None:
    with pytest.raises(ValueError, match="role_arn and role_hops are two ways to say the same"):
        made(role_arn=ROLE, role_hops=[ROLE])


def test_a_kubeconfig_is_not_taken() -> None:
    with pytest.raises(ValueError, match="config_file is not an argument of this operator"):
        made(config_file="/some/kubeconfig")


def test_an_endpoint_needs_its_ca() -> None:
    with pytest.raises(CredentialsError, match="cluster_endpoint and cluster_ca belong together"):
        made(cluster_endpoint="https://example.com").eks_target()


@pytest.mark.parametrize(
    ("given", "hops"),
    [
        ({}, ()),
        ({"role_arn": ""}, ()),  # a template that rendered to nothing
        ({"role_arn": ROLE}, (RoleHop(ROLE),)),
        ({"role_arn": ROLE, "external_id": "x1", "session_name": "me"}, (RoleHop(ROLE, "me", "x1"),)),
        ({"role_hops": [ROLE, {"role_arn": ROLE, "external_id": "x1"}]}, (RoleHop(ROLE), RoleHop(ROLE, None, "x1"))),
        ({"role_hops": [RoleHop(ROLE, duration=900)]}, (RoleHop(ROLE, duration=900),)),
    ],
)
def test_roles_as_an_operator_takes_them(given: dict[str, Any], hops: tuple[RoleHop, ...]) -> None:
    assert made(**given).eks_target().hops == hops


def test_the_mixin_goes_in_front_of_an_operator_of_ones_own() -> None:
    operator = made(CrossAccountInHouse, team="data", role_arn=ROLE)

    assert isinstance(operator, EksPodOperator)
    assert (operator.team, operator.cluster_name, operator.labels) == ("data", "analytics", {"team": "data"})
    assert set(CrossAccountInHouse.template_fields) == set(EksPodOperator.template_fields) | OURS


@pytest.mark.parametrize("method", ["execute", "trigger_reentry", "invoke_defer_method", "_refresh_cached_properties"])
def test_no_method_that_writes_kubeconfigs_is_reached(method: str) -> None:
    order = CrossAccountInHouse.__mro__
    own = [kind for kind in order[order.index(CrossAccountEksMixin) + 1 :] if method in vars(kind)]
    after = [kind.__name__ for kind in own if kind is not InHouse]

    assert not after or after[0] in {"_InProcess", "KubernetesPodOperator"}


def test_cosmos_operators_run_without_their_kubeconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__ALLOW_NESTED_OPERATORS", "True")
    operator = made(CrossAccountDbtRun, role_arn=ROLE)

    assert operator.cluster_name == "analytics"
    assert unguarded(operator, {"ti": None}) == ["ran without a kubeconfig", {"ti": None}]
    assert set(OURS) <= set(CrossAccountDbtRun.template_fields)


def test_a_real_operator_of_cosmos_is_passed_over_and_defers_with_our_trigger() -> None:
    """Where astronomer-cosmos is installed, which no line has: seen with 1.10.3 on 2.10.3."""
    aws_eks = pytest.importorskip("cosmos.operators.aws_eks")

    class Ours(CrossAccountEksMixin, aws_eks.DbtRunAwsEksOperator):
        pass

    operator = made(Ours, role_arn=ROLE, project_dir="/dbt")
    order = [kind.__name__ for kind in Ours.__mro__]

    assert order.index("_InProcessDbtAwsEksBaseOperator") < order.index("DbtAwsEksBaseOperator")
    assert (operator.cluster_name, operator.role_arn) == ("analytics", ROLE)
    assert type(deferred_with(operator, parent_trigger())) is CrossAccountEksPodTrigger


def test_the_mixin_goes_in_front_of_the_plain_pod_operator() -> None:
    class Plain(CrossAccountEksMixin, KubernetesPodOperator):
        pass

    operator = Plain(task_id="t", cluster_name="analytics", region="eu-west-1", image="busybox", namespace="data")

    assert (operator.cluster_name, operator.aws_conn_id) == ("analytics", "aws_default")


@pytest.mark.parametrize("kind", [CrossAccountEksPodOperator, CrossAccountInHouse])
def test_partial_takes_our_arguments(kind: Any) -> None:
    mapped = kind.partial(
        task_id="t", cluster_name="analytics", image="busybox", pod_name="p", role_arn=ROLE, diagnose_on_failure=False
    ).expand(arguments=[["a"], ["b"]])

    assert mapped.partial_kwargs["role_arn"] == ROLE


def test_default_args_reach_our_arguments() -> None:
    assert made(default_args={"role_arn": ROLE}).role_arn == ROLE


def test_the_parents_trigger_becomes_ours_with_all_its_arguments() -> None:
    theirs = parent_trigger(poll_interval=7, get_logs=False)
    operator = made(role_arn=ROLE, aws_conn_id="cluster_connection")

    ours = deferred_with(operator, theirs)

    assert type(ours) is CrossAccountEksPodTrigger
    path, kwargs = ours.serialize()
    assert path == "eks_cross_account.airflow.triggers.CrossAccountEksPodTrigger"
    assert kwargs.pop("eks") == {
        "v": 1,
        "cluster_name": "analytics",
        "aws_conn_id": "cluster_connection",
        "region": "eu-west-1",
        "hops": [{"role_arn": ROLE}],
    }
    assert kwargs == theirs.serialize()[1]


def test_the_trigger_survives_its_row() -> None:
    ours = deferred_with(made(role_hops=[RoleHop(ROLE, duration=900, tags={"a": "b"})]), parent_trigger())

    _, kwargs = ours.serialize()
    again = CrossAccountEksPodTrigger(**kwargs)

    assert again.serialize() == ours.serialize()
    assert again._target == made(role_hops=[RoleHop(ROLE, duration=900, tags={"a": "b"})]).eks_target()


def test_kubeconfig_and_extras_of_the_kubernetes_connection_stay_out_of_the_row() -> None:
    taken = inspect.signature(KubernetesPodTrigger.__init__).parameters
    secret = {"users": [{"user": {"token": "CANARY"}}]}
    given = {name: secret for name in ("config_dict", "connection_extras") if name in taken}

    ours = deferred_with(made(), parent_trigger(**given))

    assert "CANARY" not in repr(ours.serialize())


def test_the_providers_own_eks_trigger_becomes_ours() -> None:
    eks = pytest.importorskip("airflow.providers.amazon.aws.triggers.eks")
    if not hasattr(eks, "EksPodTrigger"):
        pytest.skip("this provider has no EksPodTrigger")

    ours = deferred_with(made(), parent_trigger(eks.EksPodTrigger, eks_cluster_name="analytics"))

    assert type(ours) is CrossAccountEksPodTrigger


def test_a_trigger_that_is_not_known_is_refused() -> None:
    class Other(KubernetesPodTrigger):
        pass

    with pytest.raises(TypeError, match=r"\[eks:unknown-trigger\] this task defers with .*Other"):
        made().defer(trigger=parent_trigger(Other), method_name="trigger_reentry")


def test_a_key_of_a_later_release_is_kept_and_not_minded() -> None:
    eks = {**Target("analytics").to_dict(), "later": [1]}

    trigger = parent_trigger(CrossAccountEksPodTrigger, eks=eks)

    assert trigger.serialize()[1]["eks"] == eks


@pytest.mark.parametrize("changed", [{"v": 2}, {"cluster_name": ""}, {"hops": [7]}])
def test_no_row_can_end_the_triggerer(changed: dict[str, Any]) -> None:
    """What a trigger raises when it is made, but for TypeError, ends the triggerer on every line."""
    parent_trigger(CrossAccountEksPodTrigger, eks={**Target("analytics").to_dict(), **changed})


def test_a_higher_format_is_refused_in_words() -> None:
    trigger = parent_trigger(CrossAccountEksPodTrigger, eks={**Target("analytics").to_dict(), "v": 2})

    with pytest.raises(
        EksFailure, match=r"\[eks:trigger-version\] this task was deferred by a newer eks-cross-account"
    ):
        _ = trigger.hook
    with pytest.raises(UnknownTriggerVersionError):
        Target.from_dict(trigger.eks)


def test_the_check_dag_has_its_params() -> None:
    dag = check_dag(tags=["mine"])

    assert set(dag.params) == {"connection", "cluster", "region", "role", "namespace", "deferrable", "xcom"}
    assert isinstance(dag.get_task("check"), EksTokenCheckOperator)


@pytest.mark.parametrize("name", ["canary", "check", "drop_in", "own_hook", "own_operator"])
def test_an_example_dag_is_one(name: str) -> None:
    module = __import__(f"eks_cross_account.airflow.example_dags.{name}", fromlist=["dag"])

    assert module.dag.task_ids


def test_the_provider_says_what_it_is() -> None:
    info = get_provider_info()

    assert {"name", "description", "package-name"} <= set(info)
    assert info["operators"][0]["python-modules"] == ["eks_cross_account.airflow.operators"]


def test_the_public_names_can_be_had() -> None:
    for name in eks_cross_account.airflow.__all__:
        assert getattr(eks_cross_account.airflow, name).__name__ == name


@pytest.mark.parametrize(
    ("rendered", "on"),
    [(True, True), (False, False), ("True", True), ("False", False), ("no", False), ("0", False), ("", False)],
)
def test_diagnosis_can_be_switched_by_a_template(rendered: Any, on: Any) -> None:
    from eks_cross_account.airflow.operators import _is_on  # noqa: PLC0415 - not without Airflow

    assert _is_on(rendered) is on


def test_a_dag_file_loads_no_room_of_the_diagnosis() -> None:
    """The scheduler reads it again and again; what a failure needs is loaded when something has failed."""
    code = (
        "import sys; from eks_cross_account.airflow import CrossAccountEksPodOperator; "
        "print([name for name in sys.modules if name.startswith('eks_cross_account.diagnosis')])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"
