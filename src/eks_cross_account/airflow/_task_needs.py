"""What a task of a DAG asks Kubernetes for: its operator's options, read off the task. Touches the DAG's file only."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eks_cross_account._printable import printable
from eks_cross_account.airflow._seams import DAG
from eks_cross_account.airflow._target import Target, target_of
from eks_cross_account.errors import EksTokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KINDS = {  # the class in the method resolution order that says what a task is; the first of each task counts
    "KubernetesPodExecOperator": "pod-exec",
    "KubernetesStartKueueJobOperator": "kueue-job",
    "KubernetesInstallKueueOperator": "kueue-install",
    "KubernetesDeleteJobOperator": "delete-job",
    "KubernetesPatchJobOperator": "patch-job",
    "KubernetesJobOperator": "job",
    "SparkKubernetesOperator": "spark",
    "SparkKubernetesSensor": "spark-sensor",
    "KubernetesCreateResourceOperator": "create-resource",
    "KubernetesDeleteResourceOperator": "delete-resource",
    "KubernetesPodOperator": "pod",
}
_OPTIONS = {  # of required_permissions: the task's attribute
    "deferrable": "deferrable",
    "xcom": "do_xcom_push",
    "logs": "get_logs",
    "init_logs": "init_container_logs",
    "interim_logs": "logging_interval",
    "events": "log_events_on_startup",
    "events_on_failure": "log_events_on_failure",
    "reattach": "reattach_on_restart",
    "callbacks": "callbacks",
    "wait": "wait_until_job_complete",
}
_OF_KIND = {  # what an operator inherits beside its own, and does not use
    "pod-exec": {"xcom"},
    "delete-job": set(),
    "patch-job": set(),
    "kueue-install": set(),
    "spark-sensor": {"logs"},
    "create-resource": set(),
    "delete-resource": set(),
    "spark": {"deferrable", "logs", "events", "events_on_failure", "reattach"},
}


class NoSuchTaskError(EksTokenError):
    """The file has no such DAG, the DAG no such task, or the task is no operator of Kubernetes."""


@dataclass(frozen=True, slots=True)
class TaskNeeds:
    """``options``: of ``required_permissions``. ``target``: the cluster, None where it is not one of EKS.

    ``make_pod``: the pod as the task would create it; templates are not rendered.
    """

    name: str
    options: Mapping[str, Any]
    namespace: str | None = None
    target: Target | None = None
    make_pod: Callable[[], Mapping[str, Any]] | None = None


def task_needs(file: str, dag_id: str, task_id: str) -> TaskNeeds:
    """What this task of this file asks for. Raises NoSuchTaskError."""
    return needs_of(_task(file, dag_id, task_id))


def needs_of(task: Any) -> TaskNeeds:  # noqa: ANN401 - an operator
    """What a task asks for. Raises NoSuchTaskError for one that does not call Kubernetes."""
    kind = next((_KINDS[cls.__name__] for cls in type(task).__mro__ if cls.__name__ in _KINDS), None)
    if kind is None:
        raise NoSuchTaskError(
            f"task {printable(task.task_id)} is a {type(task).__name__}, and no operator of Kubernetes"
        )
    names = {name: attribute for name, attribute in _OPTIONS.items() if name in _OF_KIND.get(kind, _OPTIONS)}
    options: dict[str, Any] = {
        name: bool(getattr(task, attribute)) for name, attribute in names.items() if hasattr(task, attribute)
    }
    action = getattr(task, "on_finish_action", None)
    if action is not None:
        options["on_finish_action"] = str(getattr(action, "value", action))
    if kind in {"job", "kueue-job"} and not options.get("wait"):
        options |= {"deferrable": False, "xcom": False}
    options["interim_logs"] = bool(options.get("interim_logs") and options.get("deferrable"))
    if not options["interim_logs"]:
        del options["interim_logs"]
    resources = _resources(task) if kind in {"create-resource", "delete-resource"} else ()
    installed = version("apache-airflow-providers-cncf-kubernetes")
    return TaskNeeds(
        task.task_id,
        {"operator": kind, **options, **({"resources": resources} if resources else {}), "provider_version": installed},
        getattr(task, "namespace", None),
        _target(task),
        (lambda: _pod(task)) if kind == "pod" else None,
    )


def _task(file: str, dag_id: str, task_id: str) -> Any:  # noqa: ANN401 - an operator
    if not Path(file).is_file():
        raise NoSuchTaskError(f"there is no file {printable(file)}")
    dag_bag = _dag_bag()
    known = inspect.signature(dag_bag.__init__).parameters  # Airflow 3.3 has no examples to leave out
    wanted = {"include_examples": False, "safe_mode": False}
    bag = dag_bag(dag_folder=file, **{name: value for name, value in wanted.items() if name in known})
    dags: dict[str, Any] = bag.dags
    if dag_id not in dags:
        broken = "; ".join(str(text).strip().splitlines()[-1] for text in bag.import_errors.values())
        there = f"it has: {', '.join(map(printable, dags)) or 'none'}" + (f" ({printable(broken)})" if broken else "")
        raise NoSuchTaskError(f"{printable(file)} has no DAG {printable(dag_id)}; {there}")
    tasks: dict[str, Any] = dags[dag_id].task_dict
    if task_id not in tasks:
        there = ", ".join(map(printable, tasks))
        raise NoSuchTaskError(f"DAG {printable(dag_id)} has no task {printable(task_id)}; it has: {there}")
    return tasks[task_id]


def _dag_bag() -> Any:  # noqa: ANN401 - Airflow's, by line
    for module in ("airflow.dag_processing.dagbag", "airflow.models.dagbag"):
        try:
            return importlib.import_module(module).DagBag
        except (ImportError, AttributeError):
            continue
    raise NoSuchTaskError(f"this Airflow has no DagBag that is known here ({DAG.__module__})")


def _target(task: Any) -> Target | None:  # noqa: ANN401 - an operator
    if not getattr(task, "cluster_name", None):
        return None
    if hasattr(task, "role_hops"):
        return target_of(task)
    return Target(task.cluster_name, getattr(task, "region", None) or None, getattr(task, "aws_conn_id", None) or None)


def _pod(task: Any) -> Mapping[str, Any]:  # noqa: ANN401 - an operator
    """As the operator would send it, without the labels of a run. Raises NoSuchTaskError where it cannot be made."""
    from kubernetes.client import ApiClient  # noqa: PLC0415 - heavy, and here already where it is used

    build = task.build_pod_request_obj
    arguments = {"dry_run": True} if "dry_run" in inspect.signature(build).parameters else {}
    client: Any = ApiClient()
    try:
        made: dict[str, Any] = client.sanitize_for_serialization(build(**arguments))
    except Exception as error:  # a template that cannot stay one, a file that is not here; older providers ask a hook
        what = f"{type(error).__name__}: {error}"
        raise NoSuchTaskError(
            f"the pod of task {printable(task.task_id)} cannot be made here: {printable(what)}"
        ) from error
    return made


def _resources(task: Any) -> tuple[str, ...]:  # noqa: ANN401 - an operator
    """Plural and group of each object, as the operator makes them out of kinds."""
    import yaml  # type: ignore[import-untyped] # noqa: PLC0415 - Airflow has it

    text = task.yaml_conf if getattr(task, "yaml_conf", None) else Path(task.yaml_conf_file).read_text()
    found = [document for document in yaml.safe_load_all(text) if isinstance(document, dict)]
    return tuple(
        ".".join(filter(None, (f"{str(each.get('kind')).lower()}s", str(each.get("apiVersion")).rpartition("/")[0])))
        for each in found
    )
