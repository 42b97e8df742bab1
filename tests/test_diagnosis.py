"""What `check` says: each broken link has one root cause on top, and its remedy mends it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from eks_cross_account import ClusterError, CredentialsError, RoleHop, UnknownRegionError, diagnose
from eks_cross_account.diagnosis import Finding, Remedy, Report
from eks_cross_account.diagnosis.remedies import trust_statement
from eks_cross_account.sandbox import trust_policy

if TYPE_CHECKING:
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

A, B = "111111111111", "222222222222"
EXECUTION = f"arn:aws:iam::{A}:role/service-role/mwaa-exec"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"


def check(**options: Any) -> Report:
    return diagnose(**{"cluster_name": "analytics", "role_arn": ROLE, **options})


def states(report: Report) -> list[tuple[str, str]]:
    return [(finding.id, finding.state) for finding in report.findings]


def root(report: Report) -> Finding:
    return next(finding for finding in report.findings if finding.id == report.root_cause)


@pytest.mark.usefixtures("eks_sandbox")
def test_a_chain_that_holds_is_unknown_until_the_cluster_is_asked() -> None:
    report = check()

    assert states(report) == [
        ("credentials", "PASS"),
        ("assume-role", "PASS"),
        ("cluster", "PASS"),
        ("token", "PASS"),
        ("identity", "PASS"),
        ("api-server", "SKIP"),
    ]
    assert (report.verdict, report.exit_code, report.root_cause) == ("unknown", 3, None)
    assert report.identity is not None
    assert report.identity["canonical_arn"] == ROLE


def test_no_credentials() -> None:
    report = check(region="eu-west-1")

    assert states(report) == [("credentials-missing", "FAIL")]
    assert (report.verdict, report.exit_code) == ("broken", 1)


def test_a_profile_that_does_not_exist() -> None:
    assert states(check(region="eu-west-1", profile="nobody")) == [("credentials-missing", "FAIL")]


def test_credentials_that_aws_does_not_know(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ASIAEXAMPLEEXAMPLE01")

    report = check()

    assert report.root_cause == "credentials-invalid"
    assert eks_sandbox.requests


def test_credentials_whose_session_has_ended(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = eks_sandbox.issue_session(EXECUTION, life=timedelta(seconds=-1))
    for name, value in (("ACCESS_KEY_ID", ended.access_key), ("SECRET_ACCESS_KEY", ended.secret_key),
                        ("SESSION_TOKEN", ended.token or "")):  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)

    assert check().root_cause == "credentials-expired"


def test_a_wrong_secret_key(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    assert check().root_cause == "signature-mismatch"
    assert eks_sandbox.requests


def test_a_clock_that_is_wrong(eks_sandbox: Sandbox) -> None:
    eks_sandbox.clock.advance(timedelta(hours=1))

    report = check()

    assert report.root_cause == "signature-mismatch"
    assert "clock" in (root(report).remedy or Remedy("")).text


def test_a_trust_policy_that_lacks_the_caller_and_the_remedy_that_mends_it(eks_sandbox: Sandbox) -> None:
    arn = f"arn:aws:iam::{B}:role/closed"
    eks_sandbox.add_role(arn, trust=[f"arn:aws:iam::{B}:root"])

    report = check(role_arn=arn)

    finding = root(report)
    assert (finding.id, finding.owner, finding.cause, finding.retry) == ("assume-role-denied", B, "F14", False)
    assert ("external id sent", "no") in finding.evidence
    assert "because no resource-based policy allows the sts:AssumeRole action" in dict(finding.evidence)["AWS"]
    statement = trust_statement(f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod")
    assert finding.remedy is not None
    assert json.dumps(statement, indent=2) in finding.remedy.text
    eks_sandbox.delete_role(arn)
    eks_sandbox.add_role(arn, trust={"Statement": [statement]}, allow=["eks:DescribeCluster"])
    assert check(role_arn=arn).root_cause is None


@pytest.mark.parametrize("sent", [None, "wrong-7"])
def test_an_external_id_that_is_missing_or_wrong_is_hinted_at(eks_sandbox: Sandbox, sent: str | None) -> None:
    arn = f"arn:aws:iam::{B}:role/external"
    eks_sandbox.add_role(arn, trust=trust_policy(EXECUTION, external_id="partner-7"))

    finding = root(check(role_arn=arn, external_id=sent))

    assert finding.id == "assume-role-denied"
    assert finding.remedy is not None
    assert ("sent no external id" if sent is None else "did send an external id") in finding.remedy.text


def test_a_caller_that_is_not_allowed_to_ask_is_told_apart(eks_sandbox: Sandbox) -> None:
    eks_sandbox.add_role(f"arn:aws:iam::{A}:role/poor")
    eks_sandbox.add_role(f"arn:aws:iam::{B}:role/open", trust=[f"arn:aws:iam::{A}:root"])
    poor = eks_sandbox.issue_session(f"arn:aws:iam::{A}:role/poor")
    import botocore.session  # noqa: PLC0415 - one use

    session = botocore.session.Session()
    session.set_credentials(poor.access_key, poor.secret_key, poor.token)

    finding = root(check(role_arn=f"arn:aws:iam::{B}:role/open", session=session))

    assert (finding.id, finding.owner) == ("assume-role-denied", A)
    assert finding.remedy is not None
    assert finding.remedy.commands[0].startswith("aws iam put-role-policy --role-name poor ")


def test_the_second_hop_is_named_as_the_second(eks_sandbox: Sandbox) -> None:
    gate = f"arn:aws:iam::{B}:role/gateway"
    eks_sandbox.add_role(gate, trust=[EXECUTION], allow=["sts:AssumeRole"])

    report = check(role_arn=None, role_hops=[RoleHop(gate), RoleHop("arn:aws:iam::333333333333:role/nobody")])

    assert [finding.title for finding in report.findings] == ["credentials", "hop 1 of 2", "hop 2 of 2"]
    assert root(report).summary.startswith(f"{gate} may not assume arn:aws:iam::333333333333:role/nobody")


@pytest.mark.usefixtures("eks_sandbox")
def test_a_duration_that_chaining_forbids_is_shown_in_awss_words() -> None:
    finding = root(check(role_arn=None, role_hops=[RoleHop(ROLE, duration=7200)]))

    assert finding.id == "assume-role-refused"
    assert "1 hour session limit for roles assumed by role chaining" in dict(finding.evidence)["AWS"]


@pytest.mark.usefixtures("eks_sandbox")
def test_a_cluster_that_is_not_there() -> None:
    report = check(cluster_name="analytic")

    assert report.root_cause == "cluster-not-found"
    assert f"account {B}" in root(report).summary
    assert "eu-west-1 (AWS_REGION)" in root(report).summary


def test_a_cluster_that_may_not_be_described_is_no_failure_of_the_token(eks_sandbox: Sandbox) -> None:
    eks_sandbox.deny("eks:DescribeCluster")

    report = check()

    assert ("describe-cluster-denied", "WARN") in states(report)
    assert ("identity", "PASS") in states(report)
    assert report.verdict == "unknown"


def test_sts_out_of_reach_is_unknown_and_never_broken(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    eks_sandbox.disconnect("sts:*")

    report = check()

    assert {finding.id for finding in report.findings} == {"sts-unreachable"}
    assert (report.verdict, report.exit_code) == ("unknown", 3)
    assert all(finding.retry for finding in report.findings)


def test_a_throttled_hop_is_unknown(eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    eks_sandbox.throttle("sts:AssumeRole")

    assert ("sts-unreachable", "UNKNOWN") in states(check())


def test_a_token_that_would_be_too_large(eks_sandbox: Sandbox) -> None:
    eks_sandbox._aws.token_bytes = 2800

    report = check()

    assert report.root_cause == "token-unusable"
    assert "the session token has 2800 bytes" in root(report).summary


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"cluster_name": "bad name"}, ClusterError),
        ({"region": "us-east-1.evil.com"}, UnknownRegionError),
        ({"region": None}, UnknownRegionError),
        ({"role_arn": "role"}, CredentialsError),
        ({"external_id": "x7", "role_arn": None}, ValueError),
    ],
    ids=str,
)
def test_an_argument_that_cannot_be_asked_about_is_an_error(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        check(**{"region": "eu-west-1", **options})


def test_where_the_credentials_came_from_is_said(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "(environment variables)" in check().findings[0].summary
    keys = eks_sandbox.issue_session(EXECUTION)
    script = tmp_path / "keys.sh"
    document = {"Version": 1, "AccessKeyId": keys.access_key, "SecretAccessKey": keys.secret_key,
                "SessionToken": keys.token}  # fmt: skip
    script.write_text(f"echo '{json.dumps(document)}'\n")
    (tmp_path / "config").write_text(f"[profile process]\ncredential_process = sh {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    report = check(profile="process")

    assert "(credential_process of the AWS profile)" in report.findings[0].summary


def test_a_report_shows_no_secret(eks_sandbox: Sandbox) -> None:
    eks_sandbox.deny("eks:*")

    report = check()

    shown = report.to_text() + report.to_json() + repr(report)
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        assert eks_sandbox.environ[name] not in shown
    assert "k8s-aws-v1" not in shown
    assert "X-Amz" not in shown


PASSED = Finding("credentials", "PASS", "aws", "credentials", "arn:aws:iam::111111111111:user/alice (env)")
BROKEN = Finding(
    "assume-role-denied",
    "FAIL",
    "aws",
    "hop 1 of 1",
    "alice may not assume r (hop 1 of 1)",
    (("AWS", "AccessDenied: no"),),
    Remedy("add this:\n{\n  1\n}", ("aws iam get-role --role-name r",)),
    cause="F14",
    owner="222222222222",
)


def test_a_report_as_text() -> None:
    report = Report("analytics", "eu-west-1 (argument)", (PASSED, BROKEN))

    assert report.to_text() == (
        "cluster analytics, region eu-west-1 (argument)\n"
        "\n"
        "PASS    credentials: arn:aws:iam::111111111111:user/alice (env)\n"
        "FAIL    [assume-role-denied] alice may not assume r (hop 1 of 1)\n"
        "        AWS: AccessDenied: no\n"
        "        fix (account 222222222222): add this:\n"
        "        {\n"
        "          1\n"
        "        }\n"
        "        aws iam get-role --role-name r\n"
        "        Retrying will not help.\n"
        "\n"
        "verdict: broken - root cause: assume-role-denied\n"
    )


def test_a_report_as_json() -> None:
    report = Report("analytics", "eu-west-1 (argument)", (BROKEN,))

    assert json.loads(report.to_json()) == {
        "schema": "eks-token-check/1",
        "command": "check",
        "verdict": "broken",
        "exit_code": 1,
        "root_cause": "assume-role-denied",
        "identity": None,
        "cluster": None,
        "findings": [
            {
                "id": "assume-role-denied",
                "state": "FAIL",
                "view": "aws",
                "title": "hop 1 of 1",
                "summary": "alice may not assume r (hop 1 of 1)",
                "evidence": {"AWS": "AccessDenied: no"},
                "remedy": {
                    "text": "add this:\n{\n  1\n}",
                    "commands": ["aws iam get-role --role-name r"],
                    "hcl": None,
                    "yaml": None,
                },
                "cause": "F14",
                "owner": "222222222222",
                "retry": False,
            }
        ],
    }


@pytest.mark.parametrize(
    ("findings", "confirmed", "verdict"),
    [
        ((), False, "unknown"),
        ((PASSED,), False, "unknown"),
        ((PASSED,), True, "healthy"),
        ((PASSED, BROKEN), True, "broken"),
        ((replace(BROKEN, state="UNKNOWN"),), False, "unknown"),
    ],
    ids=["nothing checked", "not confirmed", "confirmed", "one broken", "one unknown"],
)
def test_a_verdict_is_never_good_by_default(
    findings: tuple[Finding, ...],
    confirmed: bool,  # noqa: FBT001 - a table
    verdict: str,
) -> None:
    assert Report("c", "r", findings, confirmed=confirmed).verdict == verdict
