"""Pods and their lives: what a server answers, what a kubelet would do, logs, events and exec."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from clusters import ADMIN, Target, collected, pod, until

if TYPE_CHECKING:
    from collections.abc import Iterator

kubernetes = pytest.importorskip("kubernetes")
websocket = pytest.importorskip("websocket")

PODS = "/api/v1/namespaces/data/pods"
SIDECAR = "airflow-xcom-sidecar"
FILE = "/airflow/xcom/return.json"
READ = f"if [ -s {FILE} ]; then cat {FILE}; else echo __airflow_xcom_result_empty__; fi"
pytestmark = pytest.mark.filterwarnings(
    "default::DeprecationWarning",  # old releases of the clients, on newer Pythons
    "default::PendingDeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # the client leaves the socket of a stream to the collector
)
collected_here = pytest.fixture(autouse=True)(collected)


@pytest.fixture
def core(target: Target) -> Iterator[Any]:
    """The real Kubernetes client."""
    from eks_cross_account.kubernetes import api_client  # noqa: PLC0415 - needs the client

    client = api_client(target.provider(), target.cluster)
    yield kubernetes.client.CoreV1Api(client)
    client.close()


def state(target: Target, name: str = "p1", container: int = 0) -> Any:
    """A container's; empty before the kubelet has seen the pod."""
    found = target.ask("GET", f"{PODS}/{name}").document["status"].get("containerStatuses", [])
    return found[container]["state"] if found else {}


def phase(target: Target, name: str = "p1") -> str:
    found: str = target.ask("GET", f"{PODS}/{name}").document["status"]["phase"]
    return found


def later(target: Target, seconds: float) -> None:
    target.sandbox.clock.advance(timedelta(seconds=seconds))


def started(target: Target, name: str = "p1") -> None:
    until(lambda: phase(target, name) != "Pending")


def over(target: Target, name: str = "p1") -> None:
    until(lambda: phase(target, name) in {"Succeeded", "Failed"})


# --- create, get, list, patch, delete


def test_a_created_pod_comes_back_with_what_a_server_fills_in(target: Target) -> None:
    answer = target.ask("POST", PODS, pod())

    made = answer.document
    assert answer.status == 201
    assert (made["kind"], made["metadata"]["namespace"], made["status"]["phase"]) == ("Pod", "data", "Pending")
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert int(made["metadata"]["resourceVersion"]) > 0
    assert made["spec"]["terminationGracePeriodSeconds"] == 30
    assert ("nodeName" in made["spec"]) == (target.name == "real")  # there a policy stands in for the scheduler


UNREAD = "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error"
UNFIT = 'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal'


@pytest.mark.parametrize(
    ("document", "status", "reason", "message"),
    [
        ({"metadata": {"name": "x"}}, 422, "Invalid", 'Pod "x" is invalid: spec.containers: Required value'),
        ({"metadata": {}, "spec": {"containers": [{"name": "b", "image": "i"}]}}, 422, "Invalid",
         'Pod "" is invalid: metadata.name: Required value: name or generateName is required'),
        ({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "b"}]}}, 422, "Invalid",
         'Pod "x" is invalid: spec.containers[0].image: Required value'),
        ({"metadata": {"name": "x", "namespace": "other"}}, 400, "BadRequest",
         "the namespace of the provided object does not match the namespace sent on the request"),
        (b"{", 400, "BadRequest", UNREAD + ": "),
        ([], 400, "BadRequest", UNREAD + ": json: cannot unmarshal array into Go value of type struct { APIVersion"),
        (pod("Upper"), 422, "Invalid", None),
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_pod_that_cannot_be_is_refused(
    target: Target, document: Any, status: int, reason: str, message: str | None
) -> None:
    answer = target.ask("POST", PODS, document)

    assert (answer.status, answer.document["reason"]) == (status, reason)
    assert answer.document["message"].startswith(message or "")


@pytest.mark.knobs("annotations")
def test_a_life_that_is_no_number_is_refused(target: Target) -> None:
    answer = target.ask("POST", PODS, pod(run_seconds="long"))

    why = 'metadata.annotations[eks-sandbox/run-seconds]: Invalid value: "long": must be a number'
    assert (answer.status, answer.document["message"]) == (422, f'Pod "p1" is invalid: {why}')


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with another value at the path."""
    name, _, rest = path.partition("/")
    return {**document, name: changed(document[name], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("metadata", [], UNFIT + " array into Go struct field Pod.metadata of type v1.ObjectMeta"),
        ("metadata", "x", UNFIT + " string into Go struct field Pod.metadata of type v1.ObjectMeta"),
        ("metadata/name", 5, UNFIT + " number into Go struct field ObjectMeta.metadata.name of type string"),
        ("metadata/generateName", True, None),
        ("metadata/namespace", {}, None),
        ("metadata/labels", 5,
         UNFIT + " number into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
        ("metadata/labels", {"a": 5},
         UNFIT + " number into Go struct field ObjectMeta.metadata.labels of type string"),
        ("metadata/annotations", [], None),
        ("metadata/annotations", {"eks-sandbox/log": ["x"]}, None),
        ("spec", [], UNFIT + " array into Go struct field Pod.spec of type v1.PodSpec"),
        ("spec/containers", 5, UNFIT + " number into Go struct field PodSpec.spec.containers of type []v1.Container"),
        ("spec/containers", ["x"], UNFIT + " string into Go struct field PodSpec.spec.containers of type v1.Container"),
        ("spec/containers", [{"name": 5, "image": "i"}],
         UNFIT + " number into Go struct field Container.spec.containers.name of type string"),
        ("spec/initContainers", "x",
         UNFIT + " string into Go struct field PodSpec.spec.initContainers of type []v1.Container"),
        ("spec/terminationGracePeriodSeconds", "30",
         UNFIT + " string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"),
        ("spec/terminationGracePeriodSeconds", 1.5,
         UNFIT + " number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"),
        ("spec/terminationGracePeriodSeconds", 2**63,
         UNFIT + " number 9223372036854775808 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of "
         "type int64"),
    ],
    ids=str,
)  # fmt: skip
def test_a_field_of_another_type_refuses_the_pod(target: Target, path: str, value: Any, message: str | None) -> None:
    answer = target.ask("POST", PODS, changed(pod(), path, value))

    assert (answer.status, answer.document["reason"]) == (400, "BadRequest")
    assert message in {None, answer.document["message"]}
    assert target.ask("GET", PODS, labelSelector="team=a").document["items"] == []


def test_null_is_as_if_the_field_were_not_there(target: Target) -> None:
    document = changed(pod(start_seconds="0"), "spec/initContainers", None)
    document = changed(document, "metadata/generateName", None)
    document["metadata"]["annotations"]["eks-sandbox/log"] = None

    made = target.ask("POST", PODS, document)
    refused = target.ask("POST", PODS, changed(pod("p2"), "spec/containers", [None]))

    assert (made.status, made.document["metadata"]["annotations"]["eks-sandbox/log"]) == (201, "")
    assert target.ask("GET", f"{PODS}/p1/log").body == b"\n"
    assert (refused.status, len(refused.document["details"]["causes"])) == (422, 2)


def test_an_init_container_needs_name_and_image_too(target: Target) -> None:
    answer = target.ask("POST", PODS, changed(pod(), "spec/initContainers", [{"name": "i"}]))

    assert answer.status == 422
    assert answer.document["message"] == 'Pod "p1" is invalid: spec.initContainers[0].image: Required value'


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b'{"metadata": {"name": "x"}, "spec": {"a": NaN}}', 400, UNREAD),
        (b'{"spec": ' + b"[" * 100_000, 400, UNREAD),
        (b" " * (3 * 1024 * 1024 + 1), 413, "limit is 3145728"),
    ],
    ids=["nan", "deep", "long"],
)
def test_a_body_that_is_no_json_too_deep_or_too_long_is_refused(
    target: Target, body: bytes, status: int, message: str
) -> None:
    answer = target.ask("POST", PODS, body)

    assert answer.status == status
    assert message in answer.document["message"]


@pytest.mark.knobs("less than a real server reads")
@pytest.mark.parametrize(
    "body",
    [b'{"metadata": {"name": "x"}, "spec": {"a": 1e400}}', b'{"spec": ' + b'{"a": ' * 300 + b"1" + b"}" * 301],
    ids=["a number too large for Python", "300 deep"],
)
def test_a_body_that_only_go_can_hold_is_refused(target: Target, body: bytes) -> None:
    assert target.ask("POST", PODS, body).status == 400


@pytest.mark.knobs("a log of its own")
def test_half_a_surrogate_pair_is_read_as_go_reads_it(target: Target) -> None:
    target.ask("POST", PODS, pod(start_seconds="0", log="a\ud800b"))

    assert target.ask("GET", f"{PODS}/p1/log").body.decode() == "a\ufffdb\n"


def test_a_name_that_is_taken_and_one_that_is_generated(target: Target) -> None:
    target.ask("POST", PODS, pod())

    again = target.ask("POST", PODS, pod())
    names = {target.ask("POST", PODS, pod(None)).document["metadata"]["name"] for _ in range(3)}

    assert (again.status, again.document["message"]) == (409, 'pods "p1" already exists')
    assert again.document["details"] == {"name": "p1", "kind": "pods"}
    assert len(names) == 3
    assert all(name.startswith("made-") and len(name) == 10 for name in names)


def test_a_namespace_that_is_not_there_is_not_found_by_who_may_create_in_it(target: Target) -> None:
    answer = target.ask("POST", "/api/v1/namespaces/dta/pods", pod(), role=ADMIN)

    assert (answer.status, answer.document["message"]) == (404, 'namespaces "dta" not found')


def test_a_dry_run_leaves_nothing(target: Target) -> None:
    assert target.ask("POST", PODS, pod(), dryRun="All").status == 201

    gone = target.ask("GET", f"{PODS}/p1")
    assert (gone.status, gone.document["message"]) == (404, 'pods "p1" not found')


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ({"labelSelector": "team=a"}, ["p1", "p2"]),
        ({"labelSelector": "team==a,role!=x"}, ["p1"]),
        ({"labelSelector": "role in (x, y),team"}, ["p2"]),
        ({"labelSelector": "role notin (x)"}, ["p1", "p3"]),
        ({"labelSelector": "!team"}, ["p3"]),
        ({"fieldSelector": "metadata.name=p2"}, ["p2"]),
        ({"fieldSelector": "metadata.name!=p2,status.phase=Running"}, ["p1", "p3"]),
        ({"fieldSelector": "status.phase=Failed"}, []),
        ({}, ["p1", "p2", "p3"]),
    ],
    ids=str,
)
def test_a_list_is_what_the_selectors_pick(target: Target, selector: dict[str, str], found: list[str]) -> None:
    for name, labels in (("p1", {"team": "a"}), ("p2", {"team": "a", "role": "x"}), ("p3", {})):
        made = pod(name, run_seconds="600")
        target.ask("POST", PODS, {**made, "metadata": {**made["metadata"], "labels": labels}})
    for name in ("p1", "p2", "p3"):
        started(target, name)

    listed = target.ask("GET", PODS, **selector).document

    assert [item["metadata"]["name"] for item in listed["items"]] == found
    assert (listed["kind"], "kind" in str(listed["items"][:1])) == ("PodList", False)


@pytest.mark.parametrize(
    "selector",
    [{"labelSelector": "a=b=c"}, {"labelSelector": "(("}, {"fieldSelector": "spec.x=1"}, {"fieldSelector": "x"}],
)
def test_a_selector_that_cannot_be_read_is_refused(target: Target, selector: dict[str, str]) -> None:
    assert target.ask("GET", PODS, **selector).status == 400


@pytest.mark.parametrize(
    ("kind", "patch", "labels"),
    [
        ("application/merge-patch+json", {"metadata": {"labels": {"done": "yes", "team": None}}}, {"done": "yes"}),
        ("application/strategic-merge-patch+json", {"metadata": {"labels": {"x": "y"}}}, {"team": "a", "x": "y"}),
        ("application/json-patch+json", [{"op": "add", "path": "/metadata/labels/a~1b", "value": "c"}],
         {"team": "a", "a/b": "c"}),
        ("application/json-patch+json", [{"op": "test", "path": "/metadata/labels/team", "value": "a"},
                                         {"op": "remove", "path": "/metadata/labels/team"}], {}),
        ("application/merge-patch+json", {"status": {"phase": "Failed"}}, {"team": "a"}),  # ignored here
    ],
    ids=str,
)  # fmt: skip
def test_labels_can_be_patched(target: Target, kind: str, patch: Any, labels: dict[str, str]) -> None:
    before = target.ask("POST", PODS, pod()).document["metadata"]["resourceVersion"]

    answer = target.ask("PATCH", f"{PODS}/p1", patch, headers={"Content-Type": kind})

    assert (answer.status, answer.document["metadata"].get("labels", {})) == (200, labels)
    assert answer.document["status"]["phase"] != "Failed"
    changed = labels != {"team": "a"}
    assert (int(answer.document["metadata"]["resourceVersion"]) > int(before)) or not changed


@pytest.mark.parametrize(
    ("kind", "patch", "status"),
    [
        ("application/merge-patch+json", {"spec": {"containers": []}}, 422),
        ("application/merge-patch+json", {"metadata": {"uid": "other"}}, 422),
        ("application/merge-patch+json", {"metadata": {"resourceVersion": "1"}}, 409),
        ("application/merge-patch+json", {"metadata": {"resourceVersion": []}}, 422),
        ("application/merge-patch+json", {"metadata": {"labels": 5}}, 422),
        ("application/merge-patch+json", {"metadata": {"labels": {"a": 5}}}, 422),
        ("application/merge-patch+json", {"metadata": "x"}, 422),
        ("application/merge-patch+json", {"metadata": None}, 400),
        ("application/merge-patch+json", [], 400),
        ("application/json-patch+json", [{"op": "replace", "path": "/metadata/labels", "value": ["team"]}], 422),
        ("application/json-patch+json", [{"op": "add", "path": "/metadata", "value": 5}], 422),
        ("application/json-patch+json", {"metadata": {}}, 400),
        ("application/json-patch+json", [{"op": "test", "path": "/metadata/labels/team", "value": "b"}], 422),
        ("application/json-patch+json", [{"op": "move"}], 422),
        ("text/plain", {}, 415),
    ],
    ids=str,
)
def test_a_patch_that_a_pod_does_not_take_is_refused(target: Target, kind: str, patch: Any, status: int) -> None:
    target.ask("POST", PODS, pod())

    assert target.ask("PATCH", f"{PODS}/p1", patch, headers={"Content-Type": kind}).status == status
    assert target.ask("GET", f"{PODS}/p1").document["metadata"]["labels"] == {"team": "a"}


@pytest.mark.knobs("the clock")
def test_a_deleted_pod_is_stopped_and_then_gone(target: Target) -> None:
    target.ask("POST", PODS, pod(run_seconds="600", stop_seconds="5"))
    later(target, 1)

    answer = target.ask("DELETE", f"{PODS}/p1")
    again = target.ask("DELETE", f"{PODS}/p1")

    assert (answer.status, again.status) == (200, 200)
    assert answer.document["metadata"]["deletionGracePeriodSeconds"] == 30
    assert "running" in state(target)
    later(target, 4)
    assert target.ask("GET", f"{PODS}/p1").status == 200
    later(target, 2)
    assert target.ask("GET", f"{PODS}/p1").status == 404
    assert target.ask("DELETE", f"{PODS}/p1").status == 404


@pytest.mark.parametrize("how", [{"gracePeriodSeconds": 0}, None], ids=["body", "query"])
def test_without_grace_it_is_gone_at_once(target: Target, how: Any) -> None:
    target.ask("POST", PODS, pod(run_seconds="600"))
    started(target)

    query = {} if how else {"gracePeriodSeconds": "0"}
    assert target.ask("DELETE", f"{PODS}/p1", how, **query).status == 200

    assert target.ask("GET", f"{PODS}/p1").status == 404


@pytest.mark.parametrize(
    ("grace", "told"),
    [("-5", 1), ("5", 5), ("999999999999", 999999999999)],
)
def test_a_grace_period_below_zero_is_a_second_and_an_endless_one_is_kept(
    target: Target, grace: str, told: int
) -> None:
    target.ask("POST", PODS, pod(run_seconds="600"))
    started(target)

    answer = target.ask("DELETE", f"{PODS}/p1", gracePeriodSeconds=grace)

    assert (answer.status, answer.document["metadata"]["deletionGracePeriodSeconds"]) == (200, told)


def test_the_body_of_a_delete_counts_and_then_its_query_does_not(target: Target) -> None:
    target.ask("POST", PODS, pod(run_seconds="600"))
    started(target)

    answer = target.ask("DELETE", f"{PODS}/p1", {}, gracePeriodSeconds=0)

    assert answer.document["metadata"]["deletionGracePeriodSeconds"] == 30


def test_a_pod_that_is_over_needs_no_grace(target: Target) -> None:
    target.ask("POST", PODS, pod(stop_seconds="5"))
    over(target)

    answer = target.ask("DELETE", f"{PODS}/p1")

    assert answer.document["metadata"]["deletionGracePeriodSeconds"] == 0
    assert target.ask("GET", f"{PODS}/p1").status == 404


@pytest.mark.parametrize(
    ("body", "query"),
    [
        (None, {"gracePeriodSeconds": "soon"}),
        (None, {"gracePeriodSeconds": "1e3"}),
        (None, {"gracePeriodSeconds": "9" * 5000}),
        ({"gracePeriodSeconds": "0"}, {}),
        ({"gracePeriodSeconds": 10**30}, {}),
        ({"preconditions": [1]}, {}),
        ({"preconditions": {"uid": 5}}, {}),
        ([], {}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_delete_that_cannot_be_read_is_refused(target: Target, body: Any, query: dict[str, str]) -> None:
    target.ask("POST", PODS, pod(run_seconds="600"))

    answer = target.ask("DELETE", f"{PODS}/p1", body, **query)

    assert (answer.status, answer.document["reason"]) == (400, "BadRequest")
    assert "deletionTimestamp" not in target.ask("GET", f"{PODS}/p1").document["metadata"]


def test_a_delete_may_insist_on_the_very_pod(target: Target) -> None:
    target.ask("POST", PODS, pod())

    assert target.ask("DELETE", f"{PODS}/p1", {"preconditions": {"uid": "another"}}).status == 409


# --- lives


@pytest.mark.knobs("the clock")
@pytest.mark.parametrize(
    ("life", "after", "phases", "last"),
    [
        ({"start_seconds": "10", "run_seconds": "10"}, (5, 10, 10), ["Pending", "Running", "Succeeded"],
         {"exitCode": 0}),
        ({"run_seconds": "10", "exit_code": "3"}, (5, 10), ["Running", "Failed"], {"exitCode": 3, "reason": "Error"}),
        ({"run_seconds": "10", "exit_code": "137", "reason": "OOMKilled"}, (5, 10), ["Running", "Failed"],
         {"exitCode": 137, "reason": "OOMKilled"}),
    ],
)  # fmt: skip
def test_a_pod_lives_as_its_annotations_say(
    target: Target, life: dict[str, str], after: tuple[int, ...], phases: list[str], last: dict[str, Any]
) -> None:
    target.ask("POST", PODS, pod(**life))

    seen = []
    for seconds in after:
        later(target, seconds)
        seen.append(phase(target))

    assert seen == phases
    terminated = state(target)["terminated"]
    assert last.items() <= terminated.items()
    assert terminated["startedAt"] < terminated["finishedAt"]


@pytest.mark.knobs("no scheduler on the real one")
def test_a_pod_that_no_node_takes_stays_pending_and_says_why(target: Target) -> None:
    why = "0/3 nodes are available: 3 Insufficient cpu."
    target.ask("POST", PODS, pod(pending=why))
    later(target, 3600)

    status = target.ask("GET", f"{PODS}/p1").document["status"]

    assert (status["phase"], status.get("containerStatuses")) == ("Pending", None)
    scheduled = status["conditions"][0]
    assert (scheduled["type"], scheduled["status"], scheduled["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert scheduled["message"] == why
    assert events(target) == [("FailedScheduling", "Warning", why)]
    assert target.ask("GET", f"{PODS}/p1/log").body == b""
    target.ask("DELETE", f"{PODS}/p1")
    assert target.ask("GET", f"{PODS}/p1").status == 404  # no kubelet has to agree


def test_an_image_that_cannot_be_pulled_keeps_its_container_waiting(target: Target) -> None:
    target.ask("POST", PODS, pod(waiting="ImagePullBackOff", waiting_message="no such image"))
    until(lambda: "message" in state(target).get("waiting", {}))

    assert phase(target) == "Pending"
    assert state(target) == {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    answer = target.ask("GET", f"{PODS}/p1/log")
    expected = 'container "base" in pod "p1" is waiting to start: ImagePullBackOff'
    assert (answer.status, answer.document["message"]) == (400, expected)


def test_one_container_can_fail_beside_another(target: Target) -> None:
    document = pod(containers=("base", "side"), run_seconds="0.5")
    document["metadata"]["annotations"]["eks-sandbox/exit-code.side"] = "9"
    target.ask("POST", PODS, document)
    over(target)

    codes = [state(target, container=index)["terminated"]["exitCode"] for index in (0, 1)]

    assert (codes, phase(target)) == ([0, 9], "Failed")


def test_an_init_container_that_fails_ends_the_pod_before_it_began(target: Target) -> None:
    document = pod()
    document["spec"]["initContainers"] = [{"name": "prepare", "image": "busybox"}]
    document["metadata"]["annotations"] = {"eks-sandbox/exit-code.prepare": "2", "eks-sandbox/log.prepare": "no disk"}
    target.ask("POST", PODS, document)
    over(target)

    status = target.ask("GET", f"{PODS}/p1").document["status"]

    assert status["phase"] == "Failed"
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 2
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert target.ask("GET", f"{PODS}/p1/log", container="prepare").body == b"no disk\n"


# --- logs


@pytest.mark.knobs("the clock")
def test_a_log_can_be_had_whole_by_its_tail_since_and_with_dates(target: Target) -> None:
    target.ask("POST", PODS, pod(start_seconds="0", run_seconds="10", log_lines="10"))
    later(target, 4.5)
    log = f"{PODS}/p1/log"

    half = target.ask("GET", log).body.splitlines()
    later(target, 10)
    tail = target.ask("GET", log, tailLines=2).body
    recent = target.ask("GET", log, sinceSeconds=7).body.splitlines()
    dated = target.ask("GET", log, timestamps="true", tailLines=1).body.decode()
    cut = target.ask("GET", log, limitBytes=8).body

    assert half == [f"line {number} of 10".encode() for number in range(1, 6)]
    assert tail == b"line 9 of 10\nline 10 of 10\n"
    assert recent == [b"line 9 of 10", b"line 10 of 10"]
    moment, _, line = dated.partition(" ")
    assert (line, len(moment), moment[-1]) == ("line 10 of 10\n", 30, "Z")
    assert target.ask("GET", log, sinceTime=moment[:26] + "Z").body == b"line 10 of 10\n"
    assert cut == b"line 1 o"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"container": "x"}, "container x is not valid for pod p1"),
        ({}, "a container name must be specified for pod p1, choose one of: [base side]"),
        ({"container": "base", "previous": "true"}, 'previous terminated container "base" in pod "p1" not found'),
        ({"container": "base", "tailLines": "x"}, 'strconv.ParseInt: parsing "x": invalid syntax'),
        (
            {"container": "base", "sinceTime": "yesterday"},
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
        (
            {"container": "base", "sinceTime": "2026-02-03T04:05:06"},
            'parsing time "2026-02-03T04:05:06" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"',
        ),
        ({"container": "base", "tailLines": "--5"}, 'strconv.ParseInt: parsing "--5": invalid syntax'),
        ({"container": "base", "tailLines": "9" * 5000}, None),
    ],
)
def test_a_log_that_cannot_be_is_refused(target: Target, query: dict[str, str], message: str | None) -> None:
    target.ask("POST", PODS, pod(containers=("base", "side"), start_seconds="0"))

    answer = target.ask("GET", f"{PODS}/p1/log", **query)

    assert answer.status == 400
    assert message in {None, answer.document["message"]}


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"sinceSeconds": "1", "sinceTime": "2026-02-03T04:05:06Z"},
         "[]: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"),
    ],
)  # fmt: skip
def test_options_of_a_log_are_validated(target: Target, query: dict[str, str], why: str) -> None:
    target.ask("POST", PODS, pod(start_seconds="0"))
    started(target)

    answer = target.ask("GET", f"{PODS}/p1/log", **query)

    assert (answer.status, answer.document["message"]) == (422, f'PodLogOptions "p1" is invalid: {why}')
    assert answer.document["details"]["kind"] == "PodLogOptions"


def test_since_longer_ago_than_there_are_dates_is_since_ever(target: Target) -> None:
    target.ask("POST", PODS, pod(start_seconds="0"))

    assert target.ask("GET", f"{PODS}/p1/log", sinceSeconds=10**15).body == b"container base of the sandbox\n"


def test_a_followed_log_gives_every_line_once_and_ends_with_its_container(target: Target, core: Any) -> None:
    target.ask("POST", PODS, pod(start_seconds="0", run_seconds="1", log_lines="50"))

    stream = core.read_namespaced_pod_log("p1", "data", follow=True, _preload_content=False)
    read = b"".join(stream.stream()).decode().splitlines()

    assert read == [f"line {number} of 50" for number in range(1, 51)]
    assert phase(target) == "Succeeded"


def test_a_followed_log_ends_when_its_pod_is_deleted(target: Target, core: Any) -> None:
    target.ask("POST", PODS, pod(start_seconds="0", run_seconds="600"))
    stream = core.read_namespaced_pod_log("p1", "data", follow=True, _preload_content=False)
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.extend(stream.stream()))
    thread.start()

    target.ask("DELETE", f"{PODS}/p1")
    thread.join(20)

    assert not thread.is_alive()
    assert b"".join(read) == b"container base of the sandbox\n"


@pytest.mark.knobs("the clock")
def test_init_containers_run_one_after_the_other_and_then_the_rest(target: Target) -> None:
    life = {"run-seconds.first": "5", "run-seconds.second": "5", "run-seconds": "600"}
    document = pod(start_seconds="0", **life)
    inits = [{"name": name, "image": "busybox"} for name in ("first", "second")]
    target.ask("POST", PODS, changed(document, "spec/initContainers", inits))

    seen = []
    for _ in range(3):
        status = target.ask("GET", f"{PODS}/p1").document["status"]
        every = status["initContainerStatuses"] + status["containerStatuses"]
        seen.append((status["phase"], [next(iter(found["state"])) for found in every]))
        later(target, 5)

    assert seen == [
        ("Pending", ["running", "waiting", "waiting"]),
        ("Pending", ["terminated", "running", "waiting"]),
        ("Running", ["terminated", "terminated", "running"]),
    ]


@pytest.mark.knobs("the clock")
def test_an_init_container_that_cannot_start_holds_the_rest(target: Target) -> None:
    document = pod(start_seconds="0", **{"waiting.first": "ImagePullBackOff"})
    target.ask("POST", PODS, changed(document, "spec/initContainers", [{"name": "first", "image": "busybox"}]))

    later(target, 60)

    assert (phase(target), state(target)) == ("Pending", {"waiting": {"reason": "PodInitializing"}})


# --- events


def events(target: Target, **query: str) -> list[tuple[str, str, str]]:
    listed = target.ask("GET", "/api/v1/namespaces/data/events", role=ADMIN, **query).document
    return [(item["reason"], item["type"], item["message"]) for item in listed["items"]]


@pytest.mark.knobs("no kubelet writes events on the real one")
def test_events_tell_a_pods_life_and_can_be_selected(target: Target) -> None:
    for name in ("p1", "p2"):
        target.ask("POST", PODS, pod(name, run_seconds="600"))
    later(target, 1)
    target.ask("DELETE", f"{PODS}/p1")

    told = events(target, fieldSelector="involvedObject.name=p1")

    assert [reason for reason, _, _ in told] == ["Scheduled", "Pulled", "Created", "Started", "Killing"]
    assert {kind for _, kind, _ in told} == {"Normal"}
    assert told[0][2] == "Successfully assigned data/p1 to sandbox-node"
    assert len(events(target)) == 9


@pytest.mark.knobs("as above")
def test_a_container_that_waits_for_its_init_container_is_no_trouble_with_an_image(target: Target) -> None:
    document = pod(start_seconds="0", **{"exit-code.first": "1"})
    target.ask("POST", PODS, changed(document, "spec/initContainers", [{"name": "first", "image": "busybox"}]))

    assert [reason for reason, _, _ in events(target)] == ["Scheduled", "Pulled", "Created", "Started"]


@pytest.mark.knobs("the clock")
def test_a_clock_that_is_set_back_tells_no_event_twice(target: Target) -> None:
    target.ask("POST", PODS, pod(run_seconds="600"))
    later(target, 10)
    before = events(target)

    later(target, -15)
    events(target)
    later(target, 15)

    assert events(target) == before


@pytest.mark.knobs("as above")
def test_events_have_no_labels_to_select_by(target: Target) -> None:
    target.ask("POST", PODS, pod())

    assert events(target, labelSelector="team=a") == []
    assert len(events(target, labelSelector="!team")) == 1
    assert target.ask("GET", "/api/v1/namespaces/data/events", watch=1, labelSelector="((").status == 400


@pytest.mark.knobs("as above")
def test_a_watch_of_events_goes_on_from_a_version(target: Target, core: Any) -> None:
    target.ask("POST", PODS, pod(run_seconds="600"))
    later(target, 1)
    version = core.list_namespaced_event("data").metadata.resource_version
    watch = kubernetes.watch.Watch()
    threading.Timer(0.1, lambda: target.ask("POST", PODS, pod("p2", pending="no node"))).start()

    seen = [
        (event["type"], event["object"].reason)
        for event in watch.stream(core.list_namespaced_event, "data", resource_version=version, timeout_seconds=1)
    ]

    assert seen == [("ADDED", "FailedScheduling")]


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ({"timeoutSeconds": "soon"}, 400, "BadRequest"),
        ({"timeoutSeconds": "nan"}, 400, "BadRequest"),
        ({"resourceVersion": "x"}, 500, None),
    ],
    ids=str,
)
def test_a_watch_that_cannot_be_read_is_refused_before_it_begins(
    target: Target, query: dict[str, str], status: int, reason: str | None
) -> None:
    answer = target.ask("GET", "/api/v1/namespaces/data/events", watch=1, **query)

    assert (answer.status, answer.document.get("reason")) == (status, reason)
    assert target.audit()[-1]["responseStatus"]["code"] == status


def test_a_watch_without_time_ends_at_once(target: Target) -> None:
    answer = target.ask("GET", "/api/v1/namespaces/data/events", watch=1, timeoutSeconds=-(10**15))

    assert (answer.status, answer.body) == (200, b"")


# --- exec


def xcom_pod(target: Target, **life: str) -> None:
    target.ask("POST", PODS, pod(containers=("base", SIDECAR), start_seconds="0", run_seconds="0.1", **life))
    until(lambda: "terminated" in state(target))


def exec_in(core: Any, command: list[str], **options: Any) -> Any:
    from kubernetes.stream import stream  # noqa: PLC0415 - needs the client

    given = {"container": SIDECAR, "stderr": True, "stdin": False, "stdout": True, "tty": False, **options}
    return stream(core.connect_get_namespaced_pod_exec, "p1", "data", command=command, _preload_content=False, **given)


@pytest.mark.parametrize(
    ("life", "result"), [({"xcom": '{"rows": 7}'}, '{"rows": 7}'), ({}, "__airflow_xcom_result_empty__\n")]
)
def test_the_sidecars_two_commands_run_as_airflow_sends_them_today(
    target: Target, core: Any, life: dict[str, str], result: str
) -> None:
    xcom_pod(target, **life)
    assert phase(target) == "Running"

    read = exec_in(core, ["/bin/sh", "-c", READ])
    read.run_forever(timeout=20)
    code, text = read.returncode, read.read_all()
    kill = exec_in(core, ["/bin/sh"], stdin=True)
    kill.write_stdin("kill -2 $(pgrep -u $(id -u) -f 'sh')\n")
    kill.run_forever(timeout=20)

    assert (code, text) == (0, result)
    assert not kill.is_open()
    assert phase(target) == "Succeeded"
    assert [event["responseStatus"]["code"] for event in target.audit() if event["objectRef"].get("subresource")] == [
        101,
        101,
    ]


@pytest.mark.parametrize("kill", ["kill -s SIGINT 1", "kill -2 1", "for f in /proc/[0-9]*/comm; do kill -2 1; done"])
def test_older_releases_ask_a_shell_line_by_line(target: Target, core: Any, kill: str) -> None:
    xcom_pod(target, xcom="[1]")
    shell = exec_in(core, ["/bin/sh"], stdin=True)

    shell.write_stdin(READ + "\n")
    until(lambda: shell.update(timeout=1) or shell.peek_stdout())
    read = shell.read_stdout()
    shell.write_stdin(kill + "\n")
    shell.run_forever(timeout=20)

    assert (read, phase(target)) == ("[1]", "Succeeded")


@pytest.mark.knobs("kwok passes no exit code on")
def test_a_command_that_the_sandbox_does_not_have_fails_as_one_that_is_not_there(target: Target, core: Any) -> None:
    xcom_pod(target)
    run = exec_in(core, ["ls", "-l"])

    run.run_forever(timeout=20)

    assert (run.returncode, run.read_stderr()) == (127, "sh: ls: not a command of the sandbox\n")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"container": SIDECAR, "command": "true"}, 400),  # no upgrade
        ({"container": SIDECAR}, 400),
        ({"command": "true"}, 400),  # which container?
    ],
)
def test_an_exec_that_cannot_be_is_refused(target: Target, query: dict[str, str], status: int) -> None:
    xcom_pod(target)

    assert target.ask("GET", f"{PODS}/p1/exec", **query).status == status


def test_an_upgrade_that_is_no_websockets_handshake_is_refused(target: Target) -> None:
    xcom_pod(target)
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}

    answer = target.ask("GET", f"{PODS}/p1/exec", headers=headers, container=SIDECAR, command="true")

    assert answer.status == 400


@pytest.mark.knobs("from 1.36 on the handshake succeeds all the same")
def test_a_container_that_has_ended_takes_no_exec(target: Target, core: Any) -> None:
    xcom_pod(target)

    with pytest.raises(kubernetes.client.ApiException, match="container not found"):
        exec_in(core, ["true"], container="base")


@pytest.mark.knobs("stop")
def test_a_shell_that_is_left_open_ends_with_the_sandbox(target: Target, core: Any) -> None:
    xcom_pod(target)
    shell = exec_in(core, ["/bin/sh"], stdin=True)

    target.sandbox.stop()

    with pytest.raises(websocket.WebSocketConnectionClosedException):
        shell.run_forever(timeout=20)
