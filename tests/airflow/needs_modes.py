"""How the pod operator is run to see what it asks for: line_dag.py makes the tasks, test_needs.py judges them."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from kubernetes import client

KNOWN = inspect.signature(KubernetesPodOperator.__init__).parameters
WAITS = {"sync", "deferred_sync"}  # whose pods start late enough for events to be asked for on any machine
DELETES_SUCCEEDED = frozenset({"patch pods"})  # a pod that succeeded is deleted, not marked
GOES_ON = frozenset({"delete pods"})  # a pod that is kept is deleted when its task is killed, which this one is not


class Mode(NamedTuple):
    """``arguments`` of the operator, ``options`` of required_permissions that say the same.

    ``unasked``: what is needed in a run that ends otherwise than this one. ``maybe``: what this one need not come to.
    """

    arguments: dict[str, Any]
    options: dict[str, Any]
    unasked: frozenset[str] = frozenset()
    succeeds: bool = True
    maybe: frozenset[str] = frozenset()


def annotated(**told: str) -> dict[str, Any]:
    """What the sandbox is told of the pod, which starts after a triggerer has begun to look at it."""
    all_told = {"start_seconds": "1.5", **told}
    return {"annotations": {f"eks-sandbox/{name.replace('_', '-')}": value for name, value in all_told.items()}}


def callbacks() -> Any:
    """That do nothing: what they ask for is their own."""
    try:
        from airflow.providers.cncf.kubernetes.callbacks import KubernetesPodOperatorCallback  # noqa: PLC0415 - since 7.14
    except ImportError:
        return []
    takes_many = "list" in str(KNOWN["callbacks"].annotation)
    return [KubernetesPodOperatorCallback] if takes_many else KubernetesPodOperatorCallback


FAILS = annotated(exit_code="3")
XCOM = annotated(xcom='{"rows": 7}')
LONGER = annotated(run_seconds="4", log_lines="8")
INIT = [client.V1Container(name="before", image="busybox")]
SIDECAR = {"full_pod_spec": client.V1Pod(spec=client.V1PodSpec(containers=[
    client.V1Container(name="base", image="busybox"), client.V1Container(name="istio-proxy", image="istio/proxyv2"),
]))}  # fmt: skip
KEPT = {"on_finish_action": "keep_pod"}
MODES: dict[str, Mode] = {
    "sync": Mode(annotated(start_seconds="4"), {}, DELETES_SUCCEEDED),
    "failed": Mode(FAILS, {}, succeeds=False),
    "no_logs": Mode({"get_logs": False}, {"logs": False}, DELETES_SUCCEEDED),
    "init_logs": Mode(
        {"init_containers": INIT, "init_container_logs": True, "get_logs": False, **annotated()},
        {"init_logs": True, "logs": False}, DELETES_SUCCEEDED, maybe=frozenset({"list events"}),
        # up to 10.16 init logs are read before the start is waited for, and here it is over with them
    ),
    "xcom": Mode({"do_xcom_push": True, **XCOM}, {"xcom": True}, DELETES_SUCCEEDED),
    "keep_pod": Mode(KEPT, KEPT, GOES_ON),
    "delete_succeeded_pod": Mode(
        {"on_finish_action": "delete_succeeded_pod"}, {"on_finish_action": "delete_succeeded_pod"}, DELETES_SUCCEEDED
    ),
    "delete_active_pod": Mode(
        {"on_finish_action": "delete_active_pod"}, {"on_finish_action": "delete_active_pod"}, GOES_ON
    ),
    "no_reattach": Mode({"reattach_on_restart": False}, {"reattach": False}, DELETES_SUCCEEDED),
    "no_events": Mode({"log_events_on_startup": False}, {"events": False}, DELETES_SUCCEEDED),
    "events_on_failure": Mode(
        {"log_events_on_failure": True, **FAILS}, {"events_on_failure": True}, succeeds=False
    ),
    "callbacks": Mode({"callbacks": callbacks()}, {"callbacks": True}, DELETES_SUCCEEDED),
    "istio": Mode(  # 7.6 deletes once the sidecar has done as told, which it does not here
        SIDECAR, {"istio": True}, DELETES_SUCCEEDED, maybe=frozenset({"delete pods"})
    ),
}  # fmt: skip
KILLED = Mode({**KEPT, **annotated(run_seconds="60")}, KEPT, succeeds=False)  # by line_dag.py
DEFERRED: dict[str, Any] = {"deferrable": True, "poll_interval": 1, **annotated()}
ALSO_DEFERRED = (
    "sync", "failed", "no_logs", "xcom", "keep_pod", "no_reattach", "no_events", "events_on_failure", "callbacks",
    "istio",
)  # fmt: skip
for name in ALSO_DEFERRED:
    found = MODES[name]
    MODES[f"deferred_{name}"] = found._replace(
        arguments={**DEFERRED, **found.arguments}, options={"deferrable": True, **found.options}
    )
MODES["deferred_interim_logs"] = Mode(
    {**DEFERRED, "logging_interval": 1, **LONGER}, {"deferrable": True, "interim_logs": True}, DELETES_SUCCEEDED
)
MODES["deferred_callbacks_no_reattach"] = Mode(
    {**DEFERRED, "callbacks": callbacks(), "reattach_on_restart": False},
    {"deferrable": True, "callbacks": True, "reattach": False}, DELETES_SUCCEEDED,
)  # fmt: skip
KNOWN_ACTIONS = {"delete_pod", "keep_pod", "delete_succeeded_pod"}
if "DELETE_ACTIVE_POD" in dir(inspect.getmodule(KubernetesPodOperator).OnFinishAction):  # type: ignore[union-attr]
    KNOWN_ACTIONS.add("delete_active_pod")


def exists(mode: Mode) -> bool:
    """Whether the installed provider has all its arguments."""
    return set(mode.arguments) <= set(KNOWN) and mode.arguments.get("on_finish_action", "keep_pod") in KNOWN_ACTIONS
