"""The ids of all findings that have a page in docs/findings. Touches nothing."""

from __future__ import annotations

IDS = frozenset((
    "access-entry-for-nodes", "access-entry-ignored", "access-entry-missing", "access-entry-settling",
    "access-entry-stale", "access-entry-without-rights", "access-policy-scope", "access-policy-settling",
    "access-policy-weak", "admission", "admission-denied", "anonymous", "api-server", "api-server-unknown",
    "arguments", "assume-role-denied", "assume-role-refused", "aws-auth-damaged", "aws-auth-for-nodes",
    "aws-auth-ignored", "aws-auth-missing", "aws-auth-no-row", "aws-auth-role-path", "aws-denied",
    "binding-elsewhere", "binding-other-session", "binding-other-subject", "busy", "clock", "cluster-not-found",
    "cluster-scope", "cluster-unknown", "cluster-unusable", "connection-missing", "connection-unusable",
    "credentials-expired", "credentials-invalid", "credentials-missing", "describe-cluster-denied",
    "eks-unreachable", "entry-refused", "expired-token", "forbidden", "forbidden-unclear", "group-unbound",
    "identity", "identity-mismatch", "identity-unconfirmed", "known-defect", "live-token", "mapping",
    "mapping-contradicted", "namespace-missing", "not-allowed", "not-kubernetes", "not-mapped", "other-cluster",
    "out-of-time", "permission", "permissions", "plugin-failed", "plugin-version", "profile-shadowed",
    "region-unknown", "reserved-username", "role-api-group", "role-missing", "role-ref-dangling",
    "signature-mismatch", "sts-region-disabled", "sts-throttled", "sts-unreachable", "throttled", "tls-failed",
    "token-action", "token-base64", "token-date-expired", "token-date-format", "token-date-missing", "token-dup",
    "token-dup-case", "token-expires", "token-host", "token-host-global", "token-host-partition",
    "token-host-region", "token-param", "token-path", "token-prefix", "token-query", "token-rejected",
    "token-scheme", "token-signed-headers", "token-sts-future", "token-sts-key-id", "token-sts-scope-date",
    "token-sts-scope-host", "token-sts-session-token", "token-sts-signed-headers", "token-sts-userinfo",
    "token-too-large", "token-unusable", "token-url-parse", "trigger-version", "unauthorized", "unauthorized-once",
    "unknown", "unknown-trigger", "unreachable", "user-name-empty", "views-disagree", "wrong-certificate-authority",
    "wrong-cluster-name", "wrong-signer",
))  # fmt: skip
