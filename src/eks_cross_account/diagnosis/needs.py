"""What an operator of Airflow's cncf-kubernetes asks the cluster for, by its options and version. Touches nothing.

Read in the provider's ``operators/pod.py``, ``job.py``, ``spark_kubernetes.py``, ``custom_object_launcher.py``,
``pod_exec.py``, ``resource.py``, ``kueue.py``, ``utils/pod_manager.py``, ``hooks/kubernetes.py``, ``triggers/``,
``executors/`` and ``secrets/`` of the releases from 7.6.0 to 10.25.0, and held against what real operators ask
(``tests/airflow/test_needs.py``, ``test_needs_on_cluster.py``). A release that is newer is taken for 10.25.0.

Not in the table: what a callback does with the client that it is given, and what secrets, ConfigMaps, volumes and
service accounts of the pod need, which the kubelet reads with a right of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Effect = Literal["fails", "hangs", "silent"]
Change = Literal["new", "gone", "now fails"]
MWAA_LINES = (  # Airflow of the line, cncf-kubernetes of its constraints
    ("2.7.2", "7.6.0"), ("2.8.1", "7.13.0"), ("2.9.2", "8.3.1"), ("2.10.1", "8.4.1"), ("2.10.3", "9.0.1"),
    ("2.11.0", "10.5.0"), ("2.11.2", "10.13.0"), ("3.0.6", "10.7.0"), ("3.2.1", "10.16.0"), ("3.3.1", "10.21.0"),
)  # fmt: skip
_SINCE = {  # operators that came later than the table begins
    "job": "8.0.0", "delete-job": "8.1.0", "patch-job": "8.1.0", "kueue-job": "10.1.0", "kueue-install": "10.1.0",
    "secrets-backend": "10.13.0", "pod-exec": "10.22.0",
}  # fmt: skip
_OLDEST, NEWEST = "7.6.0", "10.25.0"
_ON_FINISH = {
    "delete_pod": _OLDEST,
    "keep_pod": _OLDEST,
    "delete_succeeded_pod": _OLDEST,
    "delete_active_pod": "10.12.0",
}
_WORST = ("fails", "hangs", "silent")
_EXEC_CREATE = (1, 35)  # Kubernetes asks for create of exec beside get, kubernetes/kubernetes#134577
_SPARK = "sparkapplications.sparkoperator.k8s.io"


@dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One permission, and what happens without it.

    ``api_group``: "" for the core group. ``resource``: with its subresource, as ``pods/log``. ``effect``: the task
    ``fails``, ``hangs``, or ends as if nothing were wrong (``silent``), of the provider's own operators.
    ``when``: what asks for it, ``always`` or options and circumstances. ``callers``: who has to have it; with MWAA all
    are one role. ``cluster_scoped``: a RoleBinding cannot grant it. ``instead``: a verb on the same resource that
    serves where this one is missing; the effect is that of having neither.
    """

    api_group: str
    resource: str
    verb: str
    effect: Effect
    when: str
    consequence: str = ""
    callers: tuple[str, ...] = ("worker",)
    cluster_scoped: bool = False
    instead: str = ""


def required_permissions(  # noqa: PLR0913 - the options that decide
    operator: str = "pod",
    *,
    deferrable: bool = False,
    xcom: bool = False,
    logs: bool = True,
    init_logs: bool = False,
    interim_logs: bool = False,
    events: bool = True,
    events_on_failure: bool = False,
    on_finish_action: str = "delete_pod",
    reattach: bool = True,
    callbacks: bool = False,
    istio: bool = False,
    wait: bool = False,
    resources: Iterable[str] = (),
    provider_version: str | None = None,
    server_version: str | None = None,
) -> tuple[Rule, ...]:
    """The rules that the operator needs, no verb of a resource twice: those whose lack fails the task come first.

    ``operator``: one of ``OPERATORS``. The options are those of the operator, by default with its defaults: ``xcom``
    is do_xcom_push, ``logs`` get_logs (of ``spark-sensor`` attach_log), ``init_logs`` init_container_logs,
    ``interim_logs`` logging_interval of a deferred task, ``events`` log_events_on_startup (before 10.25.0 there was no
    such option and it was on), ``events_on_failure`` log_events_on_failure, ``reattach`` reattach_on_restart or
    durable, ``istio`` a pod with its sidecar, ``wait`` wait_until_job_complete. ``resources``: what is created or
    deleted, as ``deployments.apps`` or ``pods``; of the Spark operators the custom resource.
    ``provider_version``: of cncf-kubernetes, as ``10.7.0``; None for the newest known. ``server_version``: as ``1.34``;
    None for the newest.

    Raises ValueError for an operator that there is not, or not in this release, and for options that cannot be meant.
    """
    asked = _Asked(
        operator=operator, deferrable=deferrable, xcom=xcom, logs=logs, init_logs=init_logs, interim_logs=interim_logs,
        events=events, events_on_failure=events_on_failure, on_finish_action=on_finish_action, reattach=reattach,
        callbacks=callbacks, istio=istio, wait=wait, resources=tuple(resources),
        provider=_version(provider_version or NEWEST), server=_version(server_version) if server_version else None,
    )  # fmt: skip
    _check(asked)
    rules = [rule for row in _TABLE[operator] if row.asked(asked) for rule in _rules(row, asked)]
    rules = [rule for rule in rules if rule.resource != "pods/exec" or rule.verb == "get" or _wants_exec_create(asked)]
    return tuple(sorted(_merged(rules), key=lambda rule: (_WORST.index(rule.effect), rule.resource, rule.verb)))


def for_server(rules: Iterable[Rule], version: str) -> tuple[Rule, ...]:
    """The rules that a server of this version asks for; all of them where it is no version."""
    try:
        old = _version(version)[:2] < _EXEC_CREATE
    except ValueError:
        old = False
    return tuple(rule for rule in rules if not (old and (rule.resource, rule.verb) == ("pods/exec", "create")))


def changes_between(old: str, new: str, operator: str = "pod", **options: object) -> tuple[tuple[Rule, Change], ...]:
    """What an upgrade of cncf-kubernetes from ``old`` to ``new`` changes, in the order of ``required_permissions``.

    The rule is as it is in the new release, or, where it is ``gone``, as it was. ``now fails``: its lack was
    silent. ``options``: as of ``required_permissions``, and both releases must have them.
    """
    before, after = (
        {_key(rule): rule for rule in required_permissions(operator, provider_version=version, **options)}  # type: ignore[arg-type] # the caller's
        for version in (old, new)
    )
    told: list[tuple[Rule, Change]] = []
    for key, rule in after.items():
        if key not in before:
            told.append((rule, "new"))
        elif (before[key].effect, rule.effect) == ("silent", "fails"):
            told.append((rule, "now fails"))
    return (*told, *((rule, "gone") for key, rule in before.items() if key not in after))


# --- what was asked


class _Asked(NamedTuple):
    operator: str
    deferrable: bool
    xcom: bool
    logs: bool
    init_logs: bool
    interim_logs: bool
    events: bool
    events_on_failure: bool
    on_finish_action: str
    reattach: bool
    callbacks: bool
    istio: bool
    wait: bool
    resources: tuple[str, ...]
    provider: tuple[int, ...]
    server: tuple[int, ...] | None


def _version(text: str) -> tuple[int, ...]:
    """Its numbers: three of a provider, two or more of a server, whose suffix (-eks-1234, +) tells nothing."""
    found = re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", text)
    if found is None:
        raise ValueError(f"{text!r} is not a version: write it as 10.7.0, or 1.34 for a server")
    return tuple(int(number or 0) for number in found.groups())


def _wants_exec_create(asked: _Asked) -> bool:
    return asked.server is None or asked.server[:2] >= _EXEC_CREATE


_POD_OPTIONS = {"deferrable", "xcom", "init_logs", "interim_logs", "events_on_failure", "callbacks", "istio"}
_OPTIONS: dict[str, set[str]] = {  # that add something, of each operator
    "pod": _POD_OPTIONS,
    "pod-exec": {"xcom"},
    "job": {"deferrable", "xcom", "wait"},
    "delete-job": {"wait"},
    "patch-job": set(),
    "kueue-job": {"deferrable", "xcom", "wait"},
    "kueue-install": set(),
    "spark": {"deferrable", "events_on_failure", "resources"},
    "spark-sensor": {"resources"},
    "create-resource": {"resources"},
    "delete-resource": {"resources"},
    "executor": set(),
    "secrets-backend": set(),
}
_OPTION_SINCE = {  # those that came later than their operator
    ("pod", "callbacks"): "7.14.0",
    ("pod", "interim_logs"): "8.0.0",
    ("pod", "init_logs"): "10.1.0",
    ("job", "xcom"): "9.0.0",
    ("spark", "deferrable"): "10.9.0",
}
OPERATORS: tuple[str, ...] = tuple(_OPTIONS)


def _check(asked: _Asked) -> None:
    """Raise ValueError for what cannot be meant."""
    if asked.operator not in _OPTIONS:
        raise ValueError(f"there is no operator {asked.operator!r} here, there are: {', '.join(OPERATORS)}")
    if asked.on_finish_action not in _ON_FINISH:
        raise ValueError(f"on_finish_action is one of {', '.join(_ON_FINISH)}, not {asked.on_finish_action!r}")
    given = [name for name in sorted({*_POD_OPTIONS, "wait", "resources"}) if getattr(asked, name)]
    for name in given:
        if name not in _OPTIONS[asked.operator]:
            raise ValueError(f"{asked.operator} has no option {name}")
    _check_together(asked)
    _check_age(asked, given)


def _check_together(asked: _Asked) -> None:
    if asked.interim_logs and not asked.deferrable:
        raise ValueError("interim_logs (logging_interval) is of a deferred task: it needs deferrable")
    if asked.operator in {"job", "kueue-job"} and (asked.deferrable or asked.xcom) and not asked.wait:
        raise ValueError("a job is deferred, and gives an XCom, only with wait (wait_until_job_complete)")
    if asked.operator in {"create-resource", "delete-resource"} and not asked.resources:
        raise ValueError(f"{asked.operator} needs resources: what it is about, as deployments.apps or pods")


def _check_age(asked: _Asked, given: Iterable[str]) -> None:
    came = {
        "this table": _OLDEST,
        asked.operator: _SINCE.get(asked.operator, _OLDEST),
        asked.on_finish_action: _ON_FINISH[asked.on_finish_action],
        **{name: _OPTION_SINCE.get((asked.operator, name), _OLDEST) for name in given},
    }
    for name, since in came.items():
        if asked.provider < _version(since):
            told = ".".join(map(str, asked.provider))
            raise ValueError(f"{name} begins with cncf-kubernetes {since}, this is {told}")


# --- rows


_Span = tuple[str, Effect | None, str]


class _Row(NamedTuple):
    """``outcomes``: from which release on what effect, and why it matters; None: no longer asked for."""

    resource: str  # as deployments.apps, pods/log; * for what was given
    verb: str
    when: str
    outcomes: tuple[_Span, ...]
    asked: Callable[[_Asked], bool] = lambda _: True
    callers: tuple[str, ...] = ("worker",)
    instead: str = ""


_CLUSTER_SCOPED = {
    "apiservices", "certificatesigningrequests", "clusterrolebindings", "clusterroles", "csidrivers",
    "customresourcedefinitions", "flowschemas", "ingressclasses", "mutatingwebhookconfigurations", "namespaces",
    "nodes", "persistentvolumes", "priorityclasses", "prioritylevelconfigurations", "runtimeclasses", "storageclasses",
    "validatingadmissionpolicies", "validatingadmissionpolicybindings", "validatingwebhookconfigurations",
    "volumeattachments",
}  # fmt: skip
_RESOURCE = re.compile(r"[a-z][a-z0-9-]{0,62}(?:\.[a-z0-9-]{1,63})*")


def _rules(row: _Row, asked: _Asked) -> Iterator[Rule]:
    effect, consequence = _outcome(row, asked.provider)
    if effect is None:
        return
    for resource in (asked.resources or (_SPARK,)) if row.resource.startswith("*") else (row.resource,):
        if not _RESOURCE.fullmatch(resource.partition("/")[0]):
            raise ValueError(f"{resource!r} is not a resource: write its plural and group, as deployments.apps")
        plural, _, group = resource.partition("/")[0].partition(".")
        subresource = row.resource.partition("/")[2]
        yield Rule(
            group, f"{plural}/{subresource}" if subresource else plural, row.verb, effect, row.when, consequence,
            row.callers, plural in _CLUSTER_SCOPED, row.instead,
        )  # fmt: skip


def _outcome(row: _Row, provider: tuple[int, ...]) -> tuple[Effect | None, str]:
    """Of the last span that has begun."""
    found: tuple[Effect | None, str] = (None, "")
    for since, effect, consequence in row.outcomes:
        if provider >= _version(since):
            found = (effect, consequence)
    return found


def _key(rule: Rule) -> tuple[str, str, str]:
    return (rule.api_group, rule.resource, rule.verb)


def _merged(rules: Iterable[Rule]) -> Iterator[Rule]:
    """One rule for each permission: the worst effect with its consequence, all that ask for it, all that need it."""
    same: dict[tuple[str, str, str], list[Rule]] = {}
    for rule in rules:
        same.setdefault(_key(rule), []).append(rule)
    for found in same.values():
        worst = min(found, key=lambda rule: _WORST.index(rule.effect))
        whens = list(dict.fromkeys(rule.when for rule in found))
        callers = tuple(sorted({caller for rule in found for caller in rule.callers}))
        yield replace(worst, when="always" if "always" in whens else ", ".join(whens), callers=callers)


def _spans(*outcomes: _Span) -> tuple[_Span, ...]:
    return outcomes


def _from_start(effect: Effect, consequence: str) -> tuple[_Span, ...]:
    return _spans((_OLDEST, effect, consequence))


def _keeps(asked: _Asked) -> bool:
    return asked.on_finish_action in {"keep_pod", "delete_active_pod"}


_BOTH = ("triggerer", "worker")
_LOST_WORK = "task fails after the work is done"
_EVENTS_FAIL = "task fails, and its running pod is deleted (by EksPodOperator; ours leaves it)"
_LOGS_FAIL = "task fails while the pod runs, which EksPodOperator deletes and ours leaves"


def _pod_rows() -> Iterator[_Row]:
    """KubernetesPodOperator and all that is built on it."""
    yield _Row("pods", "create", "always", _from_start("fails", "no pod is made"))
    yield _Row("pods", "get", "always", _from_start("fails", "task fails, its pod is left"),
               lambda asked: not asked.deferrable)  # fmt: skip
    yield _Row("pods", "get", "always", _from_start("fails", "task fails, its pod is left"),
               lambda asked: asked.deferrable, _BOTH)  # fmt: skip
    # asked before the pod is made to reattach to one, and after, whatever the options, to remember it
    yield _Row("pods", "list", "always", _from_start("fails", "no pod is made"),
               lambda asked: not asked.deferrable and asked.reattach)  # fmt: skip
    yield _Row("pods", "list", "always", _from_start("fails", "task fails once its pod is made, which is left"),
               lambda asked: not asked.deferrable and not asked.reattach)  # fmt: skip
    yield _Row("pods", "list", "reattach_on_restart", _from_start("fails", "no pod is made"),
               lambda asked: asked.deferrable and asked.reattach)  # fmt: skip
    yield _Row("pods", "list", "callbacks", _from_start("fails", "task fails once its pod is made, which is left"),
               lambda asked: asked.deferrable and asked.callbacks)  # fmt: skip
    yield from _log_rows()
    yield from _event_rows()
    yield from _xcom_rows()
    yield from _end_rows()


def _log_rows() -> Iterator[_Row]:
    yield _Row("pods/log", "get", "get_logs", _from_start("fails", _LOGS_FAIL),
               lambda asked: asked.logs and not asked.deferrable)  # fmt: skip
    yield _Row("pods/log", "get", "init_container_logs", _from_start("fails", _LOGS_FAIL),
               lambda asked: asked.init_logs and not asked.deferrable)  # fmt: skip
    after = _spans(
        (_OLDEST, "fails", _LOST_WORK),
        ("8.3.0", "silent", "the pod's log is missing from the task's"),
    )  # fmt: skip
    yield _Row("pods/log", "get", "get_logs", after, lambda asked: asked.logs and asked.deferrable)
    yield _Row("pods/log", "get", "logging_interval", (("8.0.0", "fails", _LOGS_FAIL), ("10.10.0", None, "")),
               lambda asked: asked.interim_logs and asked.logs)  # fmt: skip
    yield _Row("pods/log", "get", "logging_interval", (
        ("10.10.0", "fails", "the trigger fails, and the task with it"),
        ("10.15.0", "silent", "no log before the pod has ended; the trigger of ours fails, which reads the refusal"),
        ("10.18.0", "silent", "no log before the pod has ended"),
    ), lambda asked: asked.interim_logs and asked.logs, ("triggerer",))  # fmt: skip


def _event_rows() -> Iterator[_Row]:
    """Events of the start: there is no option before 10.25.0, and then an error of theirs no longer counts."""
    sync = _spans(("10.6.0", "fails", _EVENTS_FAIL), ("10.25.0", None, ""))
    warned = "the pod's events are missing from the log"
    yield _Row("events", "list", "always", sync, lambda asked: not asked.deferrable)
    yield _Row("events", "list", "log_events_on_startup", (("10.25.0", "silent", warned),),
               lambda asked: asked.events and not asked.deferrable)  # fmt: skip
    polled = _spans(("10.10.0", "fails", "the trigger fails, and the task with it"), ("10.12.0", None, ""))
    yield _Row("events", "list", "always", polled, lambda asked: asked.deferrable, ("triggerer",))
    watched = _spans(
        ("10.12.0", "fails", "the trigger fails, and the task with it, unless it may list events"),
        ("10.18.0", "silent", warned),  # what a trigger says of a pod that succeeded does not count from then on
        ("10.25.0", None, ""),
    )
    yield _Row("events", "watch", "always", watched, lambda asked: asked.deferrable, ("triggerer",), "list")
    yield _Row("events", "watch", "log_events_on_startup", (("10.25.0", "silent", warned),),
               lambda asked: asked.events and asked.deferrable, ("triggerer",), "list")  # fmt: skip
    yield _Row("events", "list", "log_events_on_failure", _from_start("silent", warned),
               lambda asked: asked.events_on_failure)  # fmt: skip


def _xcom_rows() -> Iterator[_Row]:
    """Exec in the sidecar: get, for the Python client opens a websocket; create from Kubernetes 1.35 on."""
    deferred = _spans(
        (_OLDEST, "hangs", "task waits for the end of a sidecar that nobody tells to end"),
        ("10.17.0", "fails", _LOST_WORK),
    )
    for verb in ("get", "create"):
        yield _Row("pods/exec", verb, "do_xcom_push", _from_start("fails", _LOST_WORK),
                   lambda asked: asked.xcom and not asked.deferrable)  # fmt: skip
        yield _Row("pods/exec", verb, "do_xcom_push", deferred, lambda asked: asked.xcom and asked.deferrable)


def _end_rows() -> Iterator[_Row]:
    """What is done with the pod, whose errors are logged and never raised."""
    killed = "a killed task's pod goes on"
    for action, when, consequence in (
        ("delete_pod", "always", "pods are left; a retry that finds an old one fails"),
        ("delete_succeeded_pod", "the pod succeeded, task is killed", f"pods are left; {killed}"),
        ("delete_active_pod", "task is killed", killed),
        ("keep_pod", "task is killed", killed),
    ):
        for deferrable, callers in ((False, ("worker",)), (True, _BOTH)):
            yield _Row("pods", "delete", when, _from_start("silent", consequence),
                       _ends(action, deferrable=deferrable), callers)  # fmt: skip
    kept = "a retry may take the old pod for its own"
    yield _Row("pods", "patch", "always", _from_start("silent", kept), _keeps)
    yield _Row("pods", "patch", "the pod did not succeed", _from_start("silent", kept), lambda asked: not _keeps(asked))
    for verb in ("get", "create"):  # its sidecar is told to end
        yield _Row("pods/exec", verb, "istio", (("7.6.0", "silent", "the pod is left"), ("7.7.0", None, "")),
                   lambda asked: asked.istio)  # fmt: skip


def _ends(action: str, *, deferrable: bool) -> Callable[[_Asked], bool]:
    return lambda asked: asked.on_finish_action == action and asked.deferrable is deferrable


def _job_rows() -> Iterator[_Row]:
    """KubernetesJobOperator: from 9.0.0 to 10.12 it looks for the job's pod, and makes one, whether it waits or not."""
    yield _Row("jobs.batch", "create", "always", _from_start("fails", "no job is made"))
    yield _Row("jobs.batch", "delete", "task is killed", _from_start("silent", "a killed task's job goes on"))
    for deferrable, caller in ((False, "worker"), (True, "triggerer")):
        yield _Row("jobs.batch/status", "get", "wait_until_job_complete",
                   _from_start("fails", "task fails, the job goes on"), _waits(deferrable=deferrable),
                   (caller,))  # fmt: skip
    found = "task fails, the job goes on"
    yield _Row("pods", "list", "always", (("9.0.0", "fails", found), ("10.13.0", None, "")))
    yield _Row("pods", "create", "parallelism is not set", (("9.0.0", "fails", found), ("10.13.0", None, "")))
    yield _Row("pods", "list", "wait_until_job_complete", (("10.13.0", "fails", found),), lambda asked: asked.wait)
    yield from _job_pod_rows()


def _waits(*, deferrable: bool) -> Callable[[_Asked], bool]:
    return lambda asked: asked.wait and asked.deferrable is deferrable


def _job_pod_rows() -> Iterator[_Row]:
    """Of a job that is waited for."""
    logs = _spans(("9.0.0", "fails", _LOST_WORK))
    sync, deferred = _waits(deferrable=False), _waits(deferrable=True)
    for verb, resource in (("get", "pods"), ("get", "pods/log")):
        yield _Row(resource, verb, "get_logs", logs, lambda asked: asked.logs and sync(asked))
    triggers = _spans(("9.0.0", "fails", "the trigger fails, and the task with it"), ("10.7.0", None, ""))
    yield _Row("pods", "get", "get_logs", triggers, lambda asked: asked.logs and deferred(asked), ("triggerer",))
    yield _Row("pods", "get", "get_logs", (*logs, ("10.18.0", "silent", "the pods' logs are missing from the task's")),
               lambda asked: asked.logs and deferred(asked))  # fmt: skip
    yield _Row("pods/log", "get", "get_logs", logs, lambda asked: asked.logs and deferred(asked))
    for waits, caller in ((sync, "worker"), (deferred, "triggerer")):
        for resource, verb in (("pods", "get"), ("pods/exec", "get"), ("pods/exec", "create")):
            yield _Row(resource, verb, "do_xcom_push", logs, _with_xcom(waits), (caller,))
    cleaned = _spans(("10.18.0", "silent", "the job's pods are left"))
    yield _Row("pods", "get", "wait_until_job_complete", cleaned, lambda asked: asked.wait)
    yield _Row("pods", "delete", "wait_until_job_complete", cleaned, lambda asked: asked.wait and not _keeps(asked))
    yield _Row("pods", "patch", "keep_pod, or a pod did not succeed", cleaned, lambda asked: asked.wait)


def _with_xcom(waits: Callable[[_Asked], bool]) -> Callable[[_Asked], bool]:
    return lambda asked: asked.xcom and waits(asked)


def _spark_rows() -> Iterator[_Row]:
    """SparkKubernetesOperator: from 7.14.0 a pod operator whose pod is the driver's; its errors are all raised."""
    yield _Row("*", "create", "always", _from_start("fails", "no application is made"))
    yield _Row("*", "delete", "task is killed", (
        (_OLDEST, "silent", "a killed task's application goes on"), ("7.14.0", None, ""),
    ))  # fmt: skip
    yield _Row("*", "delete", "delete_on_termination, task is killed", (("7.14.0", "fails", _LOST_WORK),))
    yield _Row("*/status", "get", "always", (("7.14.0", "fails", "task fails, the application goes on"),))
    for deferrable, callers in ((False, ("worker",)), (True, _BOTH)):
        yield _Row("pods", "get", "always", (("7.14.0", "fails", "task fails, the application goes on"),),
                   _is_deferred(deferrable=deferrable), callers)  # fmt: skip
    yield _Row("pods", "list", "always", (("7.14.0", "fails", "no application is made"),),
               lambda asked: asked.reattach or not asked.deferrable)  # fmt: skip
    yield _Row("pods", "patch", "the application did not succeed, keep_pod", (
        ("7.14.0", "fails", "the application is not deleted"),
    ))  # fmt: skip
    yield from (_since(row, "7.14.0") for row in (*_log_rows(), *_event_rows()))


def _is_deferred(*, deferrable: bool) -> Callable[[_Asked], bool]:
    return lambda asked: asked.deferrable is deferrable


def _since(row: _Row, version: str) -> _Row:
    """The row, not before this release."""
    begun = [outcome for outcome in row.outcomes if _version(outcome[0]) <= _version(version)]
    later = tuple(outcome for outcome in row.outcomes if _version(outcome[0]) > _version(version))
    return row._replace(outcomes=(*((version, *outcome[1:]) for outcome in begun[-1:]), *later))


def _executor_rows() -> Iterator[_Row]:
    """KubernetesExecutor; the tasks' pods have a ServiceAccount of their own."""
    lost = "tasks end, and the executor does not hear of it"
    told: tuple[tuple[str, str, str, Effect, str], ...] = (
        ("pods", "create", "always", "fails", "no task starts"),
        ("pods", "list", "always", "hangs", lost),
        ("pods", "watch", "always", "hangs", lost),
        ("pods", "delete", "delete_worker_pods, task is killed", "hangs", "pods are left, tasks stay as they were"),
        ("pods", "patch", "always", "silent", "the next scheduler takes pods that are done for its own"),
    )
    for resource, verb, when, effect, consequence in told:
        yield _Row(resource, verb, when, _from_start(effect, consequence), callers=("scheduler",))
    yield _Row("pods", "get", "a scheduler adopts pods without annotation",
               (("10.24.0", "hangs", "they are not adopted"),), callers=("scheduler",))  # fmt: skip
    yield _Row("pods/log", "get", "the log of a running task is looked at",
               _from_start("silent", "the page shows an error instead"), callers=("api-server",))  # fmt: skip


_KUEUE = (  # the kinds in Kueue's manifests.yaml
    "apiservices.apiregistration.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io", "configmaps", "customresourcedefinitions.apiextensions.k8s.io",
    "deployments.apps", "mutatingwebhookconfigurations.admissionregistration.k8s.io", "namespaces",
    "rolebindings.rbac.authorization.k8s.io", "roles.rbac.authorization.k8s.io", "secrets", "serviceaccounts",
    "services", "validatingwebhookconfigurations.admissionregistration.k8s.io",
)  # fmt: skip


def _kueue_install_rows() -> Iterator[_Row]:
    """KubernetesInstallKueueOperator: every object of the manifest, and a wait for its deployment."""
    for resource in _KUEUE:
        yield _Row(resource, "create", "always", _from_start("fails", "Kueue is installed in part"))
    for resource in ("clusterroles", "roles"):
        yield _Row(f"{resource}.rbac.authorization.k8s.io", "escalate", "the caller lacks what Kueue's roles grant",
                   _from_start("fails", "Kueue is installed in part"))  # fmt: skip
        yield _Row(f"{resource}.rbac.authorization.k8s.io", "bind", "the caller lacks what Kueue's roles grant",
                   _from_start("fails", "Kueue is installed in part"))  # fmt: skip
    yield _Row("deployments.apps/status", "get", "always", _from_start("fails", "task fails, Kueue is installed"))


_TABLE: dict[str, tuple[_Row, ...]] = {
    "pod": tuple(_pod_rows()),
    "pod-exec": (
        _Row("pods", "get", "always", _from_start("fails", "nothing is run")),
        *(_Row("pods/exec", verb, "always", _from_start("fails", "nothing is run")) for verb in ("get", "create")),
    ),
    "job": tuple(_job_rows()),
    "delete-job": (
        _Row("jobs.batch/status", "get", "always", _from_start("fails", "the job is left")),
        _Row("jobs.batch", "delete", "always", _from_start("fails", "the job is left")),
    ),
    "patch-job": (_Row("jobs.batch", "patch", "always", _from_start("fails", "the job is as it was")),),
    "kueue-job": tuple(_job_rows()),
    "kueue-install": tuple(_kueue_install_rows()),
    "spark": tuple(_spark_rows()),
    "spark-sensor": (
        _Row("*", "get", "always", _from_start("fails", "the sensor fails")),
        _Row("pods/log", "get", "attach_log", _from_start("silent", "the driver's log is missing from the task's"),
             lambda asked: asked.logs),
    ),
    "create-resource": (_Row("*", "create", "always", _from_start("fails", "it is not made")),),
    "delete-resource": (_Row("*", "delete", "always", _from_start("fails", "it is left")),),
    "executor": tuple(_executor_rows()),
    "secrets-backend": (
        _Row("secrets", "list", "always", _from_start("fails", "connections, variables or settings are not found"),
             callers=("api-server", "scheduler", "triggerer", "worker")),
    ),
}  # fmt: skip
