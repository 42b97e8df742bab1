"""Ways to make tokens, and to read one again, in one process; rates as JSON. Run by scripts/bench, in its environment.

Every way is timed for a third of a second, in turn, over and over: what the machine does meanwhile hits all of them.
"""

from __future__ import annotations

import hmac
import json
import re
import sys
import threading
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.credentials import Credentials
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from eks_cross_account import FrozenCredentials, TokenProvider, encode_token, explain_forbidden, presign, violations

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, SECRET, SESSION = "ASIAEXAMPLEEXAMPLE01", "x" * 40, b64encode(Random(1).randbytes(585)).decode()
REGION, CLUSTER = "eu-west-1", "analytics"
SLICE = 0.33  # seconds
PARAMS = {
    "method": "GET",
    "url": f"https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
    "body": {},
    "headers": {"x-k8s-aws-id": CLUSTER},
    "context": {},
}


def ours() -> Callable[[], Any]:
    credentials = FrozenCredentials(KEY, SECRET, SESSION)
    return lambda: encode_token(presign(credentials, cluster_name=CLUSTER, region=REGION, now=datetime.now(UTC)))


def signer_reused() -> Callable[[], Any]:
    session = botocore.session.Session()
    events = session.get_component("event_emitter")  # the signer holds it weakly
    signer = RequestSigner(ServiceId("sts"), REGION, "sts", "v4", Credentials(KEY, SECRET, SESSION), events)

    def sign(_: Any = session) -> str:
        return encode_token(signer.generate_presigned_url(PARAMS, region_name=REGION, expires_in=60, operation_name=""))

    return sign


def _client(session: Any) -> Any:
    client = session.create_client("sts", region_name=REGION)

    def name(params: Any, context: Any, **_: Any) -> None:
        context["cluster"] = params.pop("ClusterName")

    def add(request: Any, **_: Any) -> None:
        request.headers["x-k8s-aws-id"] = request.context["cluster"]

    client.meta.events.register("provide-client-params.sts.GetCallerIdentity", name)
    client.meta.events.register("before-sign.sts.GetCallerIdentity", add)
    return client


def _session() -> Any:
    session = botocore.session.Session()
    session.set_credentials(KEY, SECRET, SESSION)
    return session


def client_reused() -> Callable[[], Any]:
    client = _client(_session())
    return lambda: encode_token(
        client.generate_presigned_url("get_caller_identity", Params={"ClusterName": CLUSTER}, ExpiresIn=60)
    )


def client_per_token() -> Callable[[], Any]:
    """As Airflow's module does it: a session and a client each time."""
    return lambda: encode_token(
        _client(_session()).generate_presigned_url("get_caller_identity", Params={"ClusterName": CLUSTER}, ExpiresIn=60)
    )


def awscrt() -> Callable[[], Any]:
    from awscrt import auth, http  # noqa: PLC0415 - a peer of its own

    provider = auth.AwsCredentialsProvider.new_static(KEY, SECRET, SESSION)

    def sign() -> str:
        headers = http.HttpHeaders([("host", f"sts.{REGION}.amazonaws.com"), ("x-k8s-aws-id", CLUSTER)])
        request = http.HttpRequest("GET", "/?Action=GetCallerIdentity&Version=2011-06-15", headers)
        config = auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4,
            signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
            credentials_provider=provider,
            region=REGION,
            service="sts",
            expiration_in_seconds=60,
        )
        signed = auth.aws_sign_request(request, config).result(5)
        return encode_token(f"https://sts.{REGION}.amazonaws.com{signed.path}")

    return sign


def hmac_chain() -> Callable[[], Any]:
    """Nothing but the five HMACs of a signature: what no Python can be faster than."""

    def chain() -> bytes:
        key = f"AWS4{SECRET}".encode()
        for part in (b"20260203", b"eu-west-1", b"sts", b"aws4_request", b"text"):
            key = hmac.digest(key, part, "sha256")
        return key

    return chain


def fresh() -> Callable[[], Any]:
    provider = TokenProvider(
        lambda: FrozenCredentials(KEY, SECRET, SESSION, datetime.now(UTC) + timedelta(hours=1)),
        cluster_name=CLUSTER,
        region=REGION,
    )
    provider.get_token()
    return provider.get_token


def locked_dict() -> Callable[[], Any]:
    lock, held = threading.Lock(), {CLUSTER: ("token", time.time() + 840)}

    def read() -> Any:
        with lock:
            token, expiration = held[CLUSTER]
            return token if expiration > time.time() else None

    return read


def judged() -> Callable[[], Any]:
    text, now = ours()(), datetime.now(UTC)
    return lambda: violations(text, now=now, region=REGION)


def rate(call: Callable[[], Any]) -> float:
    """Calls per second of this thread's CPU time would hide waiting; so by the wall."""
    step = 1
    start = time.perf_counter()
    done = 0
    while (spent := time.perf_counter() - start) < SLICE:
        for _ in range(step):
            call()
        done += step
        step = min(step * 2, 512)
    return done / spent


def threaded(call: Callable[[], Any], threads: int) -> float:
    """Calls per second of all threads together."""
    stop, counts = threading.Event(), [0] * threads

    def work(place: int) -> None:
        done = 0
        while not stop.is_set():
            for _ in range(64):
                call()
            done += 64
        counts[place] = done

    running = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    start = time.perf_counter()
    for thread in running:
        thread.start()
    time.sleep(SLICE)
    stop.set()
    for thread in running:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


DENIED = (
    'pods "report-x1" is forbidden: User "arn:aws:sts::222222222222:assumed-role/airflow/s" cannot get resource '
    '"pods/log" in API group "" in the namespace "data"\n'
)
NOISE = "[2026-02-03T04:05:06.789+0000] {pod_manager.py:488} INFO - [base] 200 rows written in 0.3 s, all is well\n"
PLAIN = re.compile(
    r'User "([^"]*)" cannot ([a-z]+) resource "([^"]*)" in API group "([^"]*)" in the namespace "([^"]*)"'
)


def log(megabytes: int) -> str:
    """A task's log, with a denial every hundred lines."""
    block = NOISE * 99 + DENIED
    return block * (megabytes * 1_000_000 // len(block))


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


WAYS: dict[str, Callable[[], Callable[[], Any]]] = {
    "ours": ours,
    "botocore RequestSigner, reused": signer_reused,
    "botocore STS client, reused": client_reused,
    "session and client per token": client_per_token,
    "awscrt": awscrt,
    "HMAC chain only": hmac_chain,
    "get_token, fresh": fresh,
    "dict behind a lock": locked_dict,
    "violations": judged,
}


def main(rounds: int) -> None:
    ways = {name: make() for name, make in WAYS.items()}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    shared: dict[str, list[float]] = {}
    pasted: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, call in ways.items():
            rates[name].append(rate(call))
        for name in ("get_token, fresh", "dict behind a lock"):
            for threads in (1, 8, 64):
                shared.setdefault(f"{name}, {threads}", []).append(threaded(ways[name], threads))
    for megabytes in (1, 10):
        text = log(megabytes)
        for name, call in (("explain_forbidden", explain_forbidden), ("plain regex", PLAIN.findall)):
            pasted[f"{name}, {megabytes} MB"] = [seconds(lambda call=call, text=text: call(text)) for _ in range(3)]
    print(json.dumps({"rates": rates, "threads": shared, "seconds": pasted}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
