"""Good tokens, tokens with one thing wrong, and secrets that must not be seen anywhere."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from botocore.credentials import Credentials
from botocore.hooks import HierarchicalEmitter
from botocore.model import ServiceId
from botocore.signers import RequestSigner

from eks_cross_account.credentials import FrozenCredentials

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
SECRET = "canary+secret/key000000000000000000000000"
SESSION = "canary/session+token=="
CREDENTIALS = FrozenCredentials("ASIAEXAMPLEEXAMPLE01", SECRET, SESSION)
SIGNATURE = "5e1f" * 16
CANARIES = ("canary", SIGNATURE, "X-Amz-Signature")

PARAMETERS = {
    "Action": "GetCallerIdentity",
    "Version": "2011-06-15",
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": "ASIAEXAMPLEEXAMPLE01/20260203/us-west-2/sts/aws4_request",
    "X-Amz-Date": "20260203T040506Z",
    "X-Amz-Expires": "60",
    "X-Amz-Security-Token": SESSION,
    "X-Amz-SignedHeaders": "host;x-k8s-aws-id",
    "X-Amz-Signature": SIGNATURE,
}


def token_of(url: str) -> str:
    return "k8s-aws-v1." + urlsafe_b64encode(url.encode("utf-8", "surrogateescape")).rstrip(b"=").decode()


def url(
    *, base: str = "https://sts.us-west-2.amazonaws.com/", query: str = "", without: str = "", **changed: str
) -> str:
    """The good URL with parameters changed (underscores for dashes), left out, or raw text added."""
    parameters = {**PARAMETERS, **{name.replace("_", "-"): value for name, value in changed.items()}}
    parameters.pop(without, None)
    return f"{base}?{urlencode(parameters, quote_via=quote, safe='')}{query}"


def token(**changes: Any) -> str:
    return token_of(url(**changes))


def botocore_url(
    credentials: FrozenCredentials,
    *,
    cluster_name: str,
    host: str,
    region: str,
    expires_in: int = 60,
    headers: dict[str, str] | None = None,
) -> str:
    """What botocore presigns, at the moment of its own clock."""
    keys = Credentials(credentials.access_key, credentials.secret_key, credentials.token)
    emitter = HierarchicalEmitter()  # the signer holds it weakly
    signer = RequestSigner(ServiceId("sts"), region, "sts", "v4", keys, emitter)
    request = {
        "method": "GET",
        "url": f"https://{host}/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": cluster_name, **(headers or {})},
        "context": {},
    }
    return str(signer.generate_presigned_url(request, region_name=region, expires_in=expires_in, operation_name=""))


def vectors(name: str) -> Any:
    return json.loads((Path(__file__).parent / "vectors" / f"{name}.json").read_text())


def cases(kind: str) -> list[dict[str, Any]]:
    return [case for case in vectors("cases")["cases"] if case["kind"] == kind]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def assert_no_canary(text: str) -> None:
    for canary in CANARIES:
        assert canary not in text
