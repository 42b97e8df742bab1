"""The floor: the least a Python of the standard library can do for one token. A peer of scripts/bench, not ours."""

import hashlib
import hmac
import json
import os
import sys
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

cluster_name, region = sys.argv[1], os.environ["AWS_REGION"]
key, secret, session = (
    os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
)
now = datetime.now(UTC)
date, day, host = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d"), f"sts.{region}.amazonaws.com"
scope = f"{day}/{region}/sts/aws4_request"
query = urlencode(
    sorted(
        {
            "Action": "GetCallerIdentity",
            "Version": "2011-06-15",
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{key}/{scope}",
            "X-Amz-Date": date,
            "X-Amz-Expires": "60",
            "X-Amz-Security-Token": session,
            "X-Amz-SignedHeaders": "host;x-k8s-aws-id",
        }.items()
    ),
    quote_via=quote,
    safe="-_.~",
)
headers = f"host:{host}\nx-k8s-aws-id:{cluster_name}\n\nhost;x-k8s-aws-id"
request = f"GET\n/\n{query}\n{headers}\n{hashlib.sha256().hexdigest()}"
signing = f"AWS4{secret}".encode()
for part in (day, region, "sts", "aws4_request"):
    signing = hmac.digest(signing, part.encode(), "sha256")
text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
url = f"https://{host}/?{query}&X-Amz-Signature={hmac.digest(signing, text.encode(), 'sha256').hex()}"
token = f"k8s-aws-v1.{urlsafe_b64encode(url.encode()).decode().rstrip('=')}"
print(
    json.dumps(
        {
            "kind": "ExecCredential",
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "spec": {},
            "status": {"expirationTimestamp": f"{now + timedelta(minutes=14):%Y-%m-%dT%H:%M:%SZ}", "token": token},
        }
    )
)
