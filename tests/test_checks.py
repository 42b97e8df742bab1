"""Every cause of docs/causes.md that a program can see: a case that fires its check, and a neighbour that does not.

The evidence is made by hand; the same causes on the sandbox are in test_diagnosis and test_mapping_diagnosis.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_diagnosis import (
    CLUSTER,
    GOOD,
    ROLE,
    SILENT_STS,
    WAY,
    A,
    B,
    answered,
    hop,
    undescribed,
    way,
)  # fmt: skip
from tokens import NOW, token

from eks_cross_account import AssumeRoleError, CallerIdentity, ClusterError, CredentialsError, TokenRejectedError
from eks_cross_account.cluster import AssociatedPolicy, DescribedEntry
from eks_cross_account.diagnosis._environment import (
    DEFECTS,
    PACKAGES,
    ClockEvidence,
    Environment,
    clock,
    defects_of,
    environment,
)  # fmt: skip
from eks_cross_account.diagnosis._mapping_probes import (
    AwsAuthEvidence,
    EntryEvidence,
    NotChecked,
    RoleEvidence,
    judge_aws_auth,
)  # fmt: skip
from eks_cross_account.diagnosis._reach import ReviewEvidence
from eks_cross_account.diagnosis.checks import judge
from eks_cross_account.diagnosis.evidence import HopEvidence
from eks_cross_account.errors import CredentialsUnavailableError
from eks_cross_account.rules import violations

if TYPE_CHECKING:
    from eks_cross_account.diagnosis import Finding, Report

PAGE = Path(__file__).parents[1] / "docs/causes.md"
HOUR = timedelta(hours=1)
PATH_ROLE = f"arn:aws:iam::{B}:role/team/cross-account-role"
REFUSED = ReviewEvidence(401)
ENTRY = DescribedEntry(ROLE, "u:{{SessionName}}", ("g",), "STANDARD", NOW - HOUR, NOW - HOUR)
OLD_ROLE = RoleEvidence(ROLE, "AROAEXAMPLE", NOW - 2 * HOUR)


def entry(**fields: Any) -> EntryEvidence:
    return EntryEvidence(ROLE, replace(ENTRY, **fields), policies=())


NO_ENTRY = EntryEvidence(ROLE, None, (f"arn:aws:iam::{B}:role/other",))


def refused(**changes: Any) -> dict[str, Any]:
    return {"review": REFUSED, "role": OLD_ROLE, **changes}


def mode(name: str | None) -> dict[str, Any]:
    return {"cluster": replace(CLUSTER, authentication_mode=name)}


def aws_auth(**data: str) -> AwsAuthEvidence:
    found = judge_aws_auth(data, ROLE)
    assert isinstance(found, AwsAuthEvidence)
    return found


def row(arn: str, username: str = "airflow") -> str:
    return f"- rolearn: {arn}\n  username: '{username}'\n  groups: [g]\n"


def bad_token(text: str, now: Any = NOW, **more: Any) -> dict[str, Any]:
    broken = violations(text, now=now, partition="aws", region="us-west-2")
    assert broken
    return {"token_violations": broken, "identity": None, "review": None, **more}


def sts_says(code: str) -> dict[str, Any]:
    return {"identity": None, "review": None, "identity_problem": TokenRejectedError("x", status=403, code=code)}


def unmade(rule: str) -> dict[str, Any]:
    problem = CredentialsError("x", rule=rule)
    return {"token": None, "token_problem": problem, "identity": None, "review": None}


def hop_says(code: str, message: str = "x") -> dict[str, Any]:
    problem = AssumeRoleError("x", role_arn=ROLE, code=code, aws_message=message, hop=1)
    gone = dict.fromkeys(("cluster", "reach", "token", "identity", "review"))
    return {"hops": (HopEvidence(1, 1, ROLE, external_id_sent=False, problem=problem),), **gone}


def installed(package: str, version: str, airflow: str = "3.0.6") -> dict[str, Any]:
    return {"environment": Environment("3.11.7", ((package, version), ("apache-airflow", airflow))), **refused()}


def clocks(*ahead: float, whose: str = "STS") -> tuple[ClockEvidence, ...]:
    return tuple(ClockEvidence(whose, seconds) for seconds in ahead)


AMAZON = "apache-airflow-providers-amazon"
OTHER_ROLE = CallerIdentity(A, f"arn:aws:sts::{A}:assumed-role/mwaa-exec/AmazonMWAA-prod", "AROA:AmazonMWAA-prod")
SHADOWED = {"environment": Environment(variables=("AWS_PROFILE",)), "credentials_from": "env"}
API, BOTH, CONFIG_MAP = mode("API"), mode("API_AND_CONFIG_MAP"), mode("CONFIG_MAP")

# cause, finding, its state, the evidence, a neighbour whose report has no such finding
CASES: list[tuple[str, str, str, dict[str, Any], dict[str, Any]]] = [
    ("U1", "known-defect", "WARN", installed("kubernetes", "36.0.1"), installed("kubernetes", "36.0.4")),
    ("U3", "known-defect", "WARN", installed(AMAZON, "9.29.0"), installed(AMAZON, "9.30.0")),
    ("U4", "token-base64", "FAIL", bad_token(token() + "="), {}),
    ("U5", "token-too-large", "FAIL", bad_token(token(X_Amz_Security_Token="x" * 4000)), {}),
    ("U5", "token-unusable", "FAIL", unmade("too_large"), {}),
    ("U6", "token-host", "FAIL", bad_token(token(base="https://localhost.us-west-2.example.com/")), {}),
    ("U7", "token-expires", "FAIL", bad_token(token(X_Amz_Expires="3600")), {}),
    ("U7", "token-expires", "FAIL", bad_token(token(without="X-Amz-Expires")), {}),
    ("U8", "token-signed-headers", "FAIL", bad_token(token(X_Amz_SignedHeaders="host")), {}),
    ("U8", "token-param", "FAIL", bad_token(token(query="&x-k8s-aws-id=c")), {}),
    ("U8", "token-sts-signed-headers", "FAIL", bad_token(token(X_Amz_SignedHeaders="a;host;x-k8s-aws-id")), {}),
    ("U9", "token-date-expired", "FAIL", bad_token(token(), NOW + HOUR), {}),
    ("U10", "wrong-cluster-name", "FAIL", {"cluster": replace(CLUSTER, name="Analytics")}, {}),
    ("U10", "wrong-cluster-name", "FAIL", refused(cluster=replace(CLUSTER, outpost_id="0b1c")),
     {"cluster": replace(CLUSTER, outpost_id="0b1c")}),
    ("U11", "credentials-expired", "FAIL", sts_says("ExpiredToken"), sts_says("SignatureDoesNotMatch")),
    ("U11", "credentials-invalid", "FAIL", sts_says("InvalidClientTokenId"), sts_says("SignatureDoesNotMatch")),
    ("U11", "credentials-expired", "FAIL", hop_says("ExpiredToken"), hop_says("AccessDenied")),
    ("U12", "token-sts-session-token", "FAIL", bad_token(token(without="X-Amz-Security-Token")), {}),
    ("U12", "token-unusable", "FAIL", unmade("sts_session_token"), {}),
    ("U12", "credentials-invalid", "FAIL", {"caller_problem": CredentialsError("x", rule="sts_session_token")}, {}),
    ("U13", "sts-region-disabled", "FAIL", sts_says("RegionDisabledException"), sts_says("InvalidClientTokenId")),
    ("U13", "sts-region-disabled", "FAIL", hop_says("RegionDisabledException"), hop_says("AccessDenied")),
    ("U14", "clock", "FAIL", {"clocks": clocks(-400), **sts_says("SignatureDoesNotMatch")},
     {"clocks": clocks(30), **sts_says("SignatureDoesNotMatch")}),
    ("U14", "clock", "WARN", {"clocks": clocks(90)}, {"clocks": clocks(59)}),
    ("U15", "not-mapped", "FAIL", refused(), {}),
    ("U15", "access-entry-missing", "FAIL", refused(entry=NO_ENTRY), refused(entry=NotChecked("eks:x"))),
    ("U15", "access-entry-missing", "FAIL", {"review": None, "entry": NO_ENTRY, **API},
     {"review": None, "entry": NO_ENTRY, **BOTH}),  # aws-auth was not looked at
    ("U15", "access-entry-settling", "FAIL", refused(entry=entry(modified=NOW)), refused(entry=entry())),
    ("U15", "aws-auth-no-row", "FAIL", refused(aws_auth=aws_auth(mapRoles=row("arn:aws:iam::1:role/x")), **CONFIG_MAP),
     refused(aws_auth=aws_auth(mapRoles=row(ROLE)), **CONFIG_MAP)),
    ("U15", "reserved-username", "FAIL", refused(entry=entry(username="system:x")), refused(entry=entry(username="x"))),
    ("U16", "wrong-signer", "FAIL", {"identity": OTHER_ROLE}, {"hops": hop(PATH_ROLE)}),
    ("U16", "known-defect", "WARN", installed(AMAZON, "9.9.0"), installed(AMAZON, "9.13.0")),
    ("U16", "known-defect", "WARN", installed(AMAZON, "9.12.0", "3.0.6"), installed(AMAZON, "9.12.0", "2.11.2")),
    ("U17", "access-entry-stale", "FAIL", refused(entry=entry(), role=replace(OLD_ROLE, created=NOW)),
     refused(entry=entry())),
    ("U17", "mapping", "UNKNOWN", {"review": None, "entry": entry(), "role": NotChecked("iam:GetRole")},
     {"review": None, "entry": entry(), "role": OLD_ROLE}),
    ("U17", "role-missing", "FAIL", {"review": None, "principal_arn": ROLE, "role_is_missing": True},
     {"review": None, "principal_arn": ROLE, "role": OLD_ROLE}),
    ("U18", "aws-auth-role-path", "FAIL", refused(aws_auth=aws_auth(mapRoles=row(PATH_ROLE)), **CONFIG_MAP),
     refused(aws_auth=aws_auth(mapRoles=row(ROLE.upper().replace("ARN:AWS:IAM", "arn:aws:iam"))), **CONFIG_MAP)),
    ("U18", "aws-auth-role-path", "FAIL",
     refused(aws_auth=aws_auth(mapRoles=row(f"arn:aws:sts::{B}:assumed-role/cross-account-role/s")), **CONFIG_MAP),
     refused(aws_auth=aws_auth(mapRoles=row(f"arn:aws:iam::{B}:role/team/other")), **CONFIG_MAP)),
    ("U19", "access-entry-ignored", "FAIL", refused(entry=entry(), **CONFIG_MAP), refused(entry=entry(), **BOTH)),
    ("U19", "aws-auth-ignored", "FAIL", refused(entry=NO_ENTRY, aws_auth=aws_auth(mapRoles=row(ROLE)), **API),
     refused(entry=NO_ENTRY, aws_auth=aws_auth(mapRoles=row(ROLE)), **BOTH)),
    ("U20", "aws-auth-damaged", "FAIL", refused(aws_auth=aws_auth(mapRoles="- rolearn: ["), **CONFIG_MAP),
     refused(aws_auth=aws_auth(mapRoles=row(ROLE) + "- 7\n"), **CONFIG_MAP)),
    ("U20", "aws-auth-damaged", "FAIL", refused(aws_auth=aws_auth(maproles=row(ROLE)), **CONFIG_MAP),
     refused(aws_auth=aws_auth(mapRoles=row(ROLE), maproles="x"), **CONFIG_MAP)),
    ("U20", "aws-auth-missing", "FAIL", refused(aws_auth=AwsAuthEvidence("absent"), **CONFIG_MAP),
     refused(aws_auth=AwsAuthEvidence("maps"), **CONFIG_MAP)),
    ("U21", "access-entry-for-nodes", "FAIL", refused(entry=entry(type="EC2_LINUX")), refused(entry=entry())),
    ("U21", "aws-auth-for-nodes", "FAIL",
     refused(aws_auth=aws_auth(mapRoles=row(ROLE, "system:node:{{EC2PrivateDNSName}}")), **CONFIG_MAP),
     refused(aws_auth=aws_auth(mapRoles=row(ROLE, "airflow:{{SessionName}}")), **CONFIG_MAP)),
    ("U22", "mapping-contradicted", "UNKNOWN", refused(entry=entry(), **API), {"entry": entry(), **API}),
    ("U22", "other-cluster", "FAIL", refused(described=replace(CLUSTER, endpoint="https://NEW.eks.amazonaws.com")),
     refused(described=CLUSTER)),
    ("U23", "unauthorized-once", "WARN", {"first_review": REFUSED}, {}),
    ("U24", "token-prefix", "FAIL", bad_token("Bearer " + token()), {}),
    ("U24", "known-defect", "WARN", installed("kubernetes", "36.0.3"), installed("kubernetes", "37.0.1")),
    ("U25", "profile-shadowed", "WARN", refused(**SHADOWED), refused(**{**SHADOWED, "profile": "b"})),
    ("U26", "known-defect", "WARN", installed(AMAZON, "8.28.0"), installed(AMAZON, "9.34.0")),
    ("N1", "unreachable", "FAIL", way("tcp"), {}),
    ("N1", "unreachable", "UNKNOWN", way("silent"), {}),
    ("N2", "cluster-not-found", "FAIL", undescribed(code="ResourceNotFoundException"),
     undescribed(code="AccessDeniedException")),
    ("N3", "wrong-certificate-authority", "FAIL", way("chain"), way("tls")),
    ("N3", "tls-failed", "FAIL", way("tls"), way("chain")),
    ("N4", "not-kubernetes", "FAIL", way("foreign", status=403), {"reach": replace(WAY, status=403)}),
]  # fmt: skip


def report(changes: dict[str, Any]) -> Report:
    return judge(replace(GOOD, **changes))


def found(seen: Report) -> set[tuple[str | None, str, str]]:
    return {(finding.cause, finding.id, finding.state) for finding in seen.findings}


@pytest.mark.parametrize(("cause", "finding_id", "state", "changes", "neighbour"), CASES,
                         ids=[f"{number}-{case[0]}-{case[1]}" for number, case in enumerate(CASES)])  # fmt: skip
def test_a_cause_fires_its_check_and_its_neighbour_does_not(
    cause: str, finding_id: str, state: str, changes: dict[str, Any], neighbour: dict[str, Any]
) -> None:
    assert (cause, finding_id, state) in found(report(changes))
    assert (cause, finding_id, state) not in found(report(neighbour))
    assert (cause, finding_id, state) not in found(report({}))


@pytest.mark.parametrize("changes", [case[3] for case in CASES], ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_whatever_is_broken_ends_with_something_that_a_person_can_do(changes: dict[str, Any]) -> None:
    for finding in report(changes).findings:
        if finding.state in {"FAIL", "WARN"}:
            assert finding.remedy is not None, finding.id


# --- one root cause


NEW_ROLE = replace(OLD_ROLE, created=NOW)


@pytest.mark.parametrize(
    ("changes", "root", "consequences"),
    [
        (refused(entry=NO_ENTRY), "access-entry-missing", {"not-mapped"}),
        (refused(entry=entry(), role=NEW_ROLE), "access-entry-stale", {"not-mapped"}),
        (refused(entry=entry(), role=NEW_ROLE, aws_auth=AwsAuthEvidence("no-row")), "access-entry-stale",
         {"not-mapped"}),
        (refused(entry=NO_ENTRY, aws_auth=aws_auth(mapRoles=row(PATH_ROLE))), "aws-auth-role-path", {"not-mapped"}),
        (refused(entry=NO_ENTRY, aws_auth=AwsAuthEvidence("absent")), "access-entry-missing", {"not-mapped"}),
        (refused(entry=entry(type="EC2"), **API), "access-entry-for-nodes", {"not-mapped"}),
        (refused(entry=NotChecked("eks:DescribeAccessEntry")), "not-mapped", set()),
        (refused(entry=NotChecked("x"), aws_auth=AwsAuthEvidence("no-row")), "not-mapped", set()),  # an entry may be it
        (answered(401, entry=NO_ENTRY, **API, **SILENT_STS), "access-entry-missing", {"unauthorized"}),
        (refused(identity=OTHER_ROLE, entry=NO_ENTRY), "wrong-signer", {"not-mapped", "access-entry-missing"}),
        (refused(described=replace(CLUSTER, endpoint="https://x")), "other-cluster", {"not-mapped"}),
        ({"described": replace(CLUSTER, endpoint="https://x"), **way("chain")}, "other-cluster",
         {"wrong-certificate-authority"}),
        (refused(cluster=replace(CLUSTER, name="other")), "wrong-cluster-name", {"not-mapped"}),
        ({"clocks": clocks(900), **hop_says("SignatureDoesNotMatch")}, "clock", {"signature-mismatch"}),
        ({"clocks": clocks(900), **way("tls")}, "clock", {"tls-failed"}),
        ({"clocks": clocks(900), **sts_says("InvalidClientTokenId")}, "credentials-invalid", set()),
        ({"clocks": clocks(2), **sts_says("SignatureDoesNotMatch")}, "signature-mismatch", set()),
        ({"clocks": clocks(900)}, None, set()),  # the way in is proven all the same
    ],
)  # fmt: skip
def test_one_root_cause_and_its_consequences(changes: dict[str, Any], root: str | None, consequences: set[str]) -> None:
    seen = report(changes)

    assert seen.root_cause == root
    symptoms = [finding for finding in seen.findings if finding.consequence_of is not None]
    assert {(finding.id, finding.consequence_of) for finding in symptoms} == {(name, root) for name in consequences}
    for finding in symptoms:
        assert finding.remedy is not None
        assert finding.remedy.text == f"this goes when {root} is mended"
        assert {name for name, _ in finding.evidence} & {"left", "not checked", "not known"} == set()


def test_a_healthy_setup_has_no_warning_whatever_is_installed() -> None:
    every = tuple((defect.package, defect.last) for defect in DEFECTS)
    around = Environment("3.11.7", every, ("AWS_PROFILE", "HTTPS_PROXY"), mwaa=True)

    seen = report({"environment": around, "clocks": clocks(1, -1), "entry": entry(), "role": OLD_ROLE,
                   "credentials_from": "env"})  # fmt: skip

    assert (seen.verdict, {finding.state for finding in seen.findings}) == ("healthy", {"PASS"})
    shown = next(finding for finding in seen.findings if finding.id == "environment")
    assert "known defects, none of which touches this: kubernetes (U1)" in shown.summary
    assert "Amazon MWAA" in shown.summary
    assert dict(shown.evidence)["set"] == "AWS_PROFILE, HTTPS_PROXY"


ROW = AwsAuthEvidence("maps", ROLE)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (refused(entry=entry(type="EC2"), aws_auth=ROW), "access-entry-for-nodes FAIL"),
        ({"review": None, "entry": entry(type="EC2"), "aws_auth": ROW}, "access-entry-for-nodes FAIL"),
        ({"review": None, "entry": entry(username="eks:x"), "aws_auth": ROW}, "reserved-username FAIL"),
        ({"review": None, "entry": entry(), "role": NEW_ROLE, "aws_auth": ROW}, "access-entry-stale UNKNOWN"),
        (refused(entry=entry(), role=NEW_ROLE, aws_auth=ROW), "access-entry-stale FAIL"),
        ({"review": None, "entry": entry(), "role": NEW_ROLE, "aws_auth": ROW, **CONFIG_MAP}, "mapping PASS"),
        ({"review": None, "entry": NO_ENTRY, "aws_auth": ROW}, "mapping PASS"),
    ],
)
def test_an_entry_counts_before_a_row(changes: dict[str, Any], expected: str) -> None:
    seen = [f"{found.id} {found.state}" for found in report(changes).findings if found.title == "mapping"]

    assert seen == [expected]


# --- three values: what nobody saw is neither good nor bad


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({"entry": NotChecked("eks:DescribeAccessEntry")}, "SKIP", "not checked: needs eks:DescribeAccessEntry"),
        ({"entry": None}, "SKIP", "not checked: needs eks:DescribeAccessEntry"),
        ({"entry": NO_ENTRY}, "PASS", "comes in by aws-auth"),
        (refused(entry=NotChecked("eks:DescribeAccessEntry")), "UNKNOWN", "needs eks:DescribeAccessEntry"),
        (refused(entry=NotChecked(why="no answer from EKS")), "UNKNOWN", "not checked: no answer from EKS"),
        ({"review": None, "entry": NO_ENTRY, **BOTH}, "UNKNOWN", "needs get on ConfigMap kube-system/aws-auth"),
        ({"review": None, "entry": NO_ENTRY, **mode(None)}, "UNKNOWN", "no access entry"),
        ({"review": None, "entry": entry(), "role": OLD_ROLE, **BOTH}, "PASS", "groups g"),
        ({"review": None, "entry": NotChecked("x"), "aws_auth": AwsAuthEvidence("maps", groups=("a\x1b",)), **BOTH},
         "PASS", "groups a\\x1b"),
        ({"review": None, "entry": entry(), **CONFIG_MAP}, "UNKNOWN", "aws-auth"),
    ],
)  # fmt: skip
def test_a_mapping_that_nobody_could_look_at_is_never_passed(changes: dict[str, Any], state: str, text: str) -> None:
    seen = report(changes)

    finding = next(finding for finding in seen.findings if finding.id == "mapping")
    assert (finding.state, text in finding.summary) == (state, True), finding.summary


@pytest.mark.parametrize(
    ("changes", "exit_code"),
    [
        ({"entry": entry(), "role": OLD_ROLE}, 0),
        ({"entry": entry(), "role": NotChecked("iam:GetRole")}, 3),
        ({"entry": entry(type="EC2"), "role": OLD_ROLE}, 1),
        ({"entry": NO_ENTRY, **API}, 1),
        ({"entry": NotChecked("x")}, 3),
        ({"entry": entry(groups=()), "role": OLD_ROLE}, 0),
        ({"cluster": None, "cluster_problem": ClusterError("x", code="AccessDeniedException")}, 3),
        ({"cluster": None, "cluster_problem": ClusterError("x", code="ResourceNotFoundException")}, 1),
        ({"credentials_problem": CredentialsUnavailableError("x"), "cluster": None}, 1),
    ],
)
def test_the_exit_code_of_the_owners_side(changes: dict[str, Any], exit_code: int) -> None:
    alone = {"principal_arn": ROLE, "hops": (), "review": None, "token": None, "identity": None, "reach": None}

    assert report({**alone, **changes}).exit_code == exit_code


def test_an_owner_who_may_not_describe_the_cluster_is_told_which_right_is_missing() -> None:
    seen = report({"principal_arn": ROLE, "review": None, "token": None, "identity": None, "reach": None,
                   "cluster": None, "cluster_problem": ClusterError("x", code="AccessDeniedException")})  # fmt: skip

    mapping = next(found for found in seen.findings if found.id == "mapping")
    assert mapping.summary == f"what maps {ROLE} was not checked: needs eks:DescribeCluster"


@pytest.mark.parametrize("finding_id", ["cluster-not-found", "access-entry-missing", "aws-auth-missing"])
def test_what_is_not_found_says_where_region_and_account_came_from(finding_id: str) -> None:
    changes = {
        "cluster-not-found": undescribed(code="ResourceNotFoundException"),
        "access-entry-missing": refused(entry=NO_ENTRY),
        "aws-auth-missing": refused(aws_auth=AwsAuthEvidence("absent"), **CONFIG_MAP),
    }[finding_id]

    with_role = next(found for found in report(changes).findings if found.id == finding_id)
    without = report({**changes, "hops": (), "credentials_from": "iam-role", "region_from": "AWS_REGION"})

    assert "eu-west-1 (argument)" in with_role.summary
    assert f"{B} (that of the role of hop 1 of 1)" in with_role.summary
    summary = next(found for found in without.findings if found.id == finding_id).summary
    assert "eu-west-1 (AWS_REGION)" in summary
    assert "(that of the credentials from instance metadata: no role was assumed)" in summary


def test_time_that_was_over_is_unknown_and_says_what_is_left() -> None:
    seen = report({"review": None, "out_of_time": ("API server", "mapping"), "budget": 2.0})

    late = next(found for found in seen.findings if found.id == "out-of-time")
    assert late.summary == "not checked, because the 2 s were over: API server, mapping"
    assert (late.state, late.retry, seen.exit_code) == ("UNKNOWN", True, 3)


def test_an_entry_with_nothing_allowed_is_a_warning() -> None:
    bare = entry(groups=())
    seen = [found(report({"entry": bare})), found(report({"entry": replace(bare, policies=NotChecked("x"))})),
            found(report({"entry": replace(bare, policies=(AssociatedPolicy("p"),))}))]  # fmt: skip

    assert [("F2", "access-entry-without-rights", "WARN") in each for each in seen] == [True, False, False]


def test_hostile_text_of_aws_steers_no_terminal() -> None:
    evil = "\x1b[2J\u202e"
    hostile = entry(username=evil, groups=(evil,), type=evil, principal_arn=ROLE + evil)
    seen = report(refused(entry=hostile, aws_auth=AwsAuthEvidence("path", ROLE + evil, evil, (evil,), ())))

    assert seen.to_text().isascii()
    assert "\x1b" not in seen.to_text() + "".join(finding.summary for finding in seen.findings)


# --- where this runs


def test_the_environment_has_versions_and_names_and_no_values() -> None:
    here = environment(
        {
            "AWS_SECRET_ACCESS_KEY": "canary",
            "HTTPS_PROXY": "http://u:canary@h",
            "no_proxy": "x",
            "KUBECONFIG": "/canary",
            "PATH": "/canary",
            "AWS_\x1b": "x",
            "MWAA_AIRFLOW_COMPONENT": "worker",
        }
    )

    assert here.variables == ("AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "KUBECONFIG", "no_proxy")
    assert here.mwaa
    assert "canary" not in repr(here)
    assert dict(here.versions)["botocore"]
    assert {package for package, _ in here.versions} <= set(PACKAGES)
    assert not environment({"PATH": "x"}).mwaa


@pytest.mark.parametrize(
    ("package", "version", "causes"),
    [
        ("kubernetes", "35.0.0", []),
        ("kubernetes", "36.0.0", ["U1"]),
        ("kubernetes", "36.0.1", ["U1"]),
        ("kubernetes", "36.0.2", ["U24"]),
        ("kubernetes", "36.0.10", []),
        ("kubernetes", "garbage", []),
        (AMAZON, "8.6.0", []),
        (AMAZON, "8.7.1", ["U26"]),
        (AMAZON, "9.8.0", ["U26"]),
        (AMAZON, "9.9.0", ["U26", "U16", "U3"]),
        (AMAZON, "9.12.0rc1", ["U26", "U16", "U3"]),
        (AMAZON, "9.13.0", ["U26", "U3"]),
        (AMAZON, "9.21.0", ["U26", "U3"]),
        (AMAZON, "9.22.0", ["U3"]),
        (AMAZON, "9.29.0", ["U3"]),
        (AMAZON, "9.30.0", []),
        ("boto3", "36.0.0", []),
    ],
)
def test_the_known_defects_of_a_release(package: str, version: str, causes: list[str]) -> None:
    assert [defect.cause for defect in defects_of(package, version)] == causes


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        ("Tue, 03 Feb 2026 04:05:16 GMT", 10.0),
        ("Tue, 03 Feb 2026 03:05:06 GMT", -3600.0),
        ("Tue, 03 Feb 2026 04:05:16", None),
        ("", None),
        ("garbage", None),
        ("Tue, 99 Feb 2026 04:05:16 GMT", None),
    ],
)
def test_the_clock_behind_a_date_header(date: str, ahead: float | None) -> None:
    heard = clock("STS", date, NOW)

    assert (heard.ahead if heard else None) == ahead


def test_the_clock_that_signs_is_judged_by_aws_first() -> None:
    skewed = ClockEvidence("the API server", 4000)
    seen = report({"clocks": (*clocks(1), skewed)})

    first = next(found for found in seen.findings if found.id == "clock")
    assert (first.state, first.view, dict(first.evidence)["the API server"]) == ("PASS", "aws", "+4000 s")
    alone = next(found for found in report({"clocks": (skewed,)}).findings if found.id == "clock")
    assert (alone.state, alone.view) == ("WARN", "api-server")


# --- the page of causes


def rows() -> dict[str, tuple[set[str], str]]:
    """Cause -> the ids of its findings, and the last column."""
    listed = re.findall(r"^\| ([UN]\d+) \|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
    return {cause: (set(re.findall(r"`([a-z0-9-]+)`", ids)), text.strip()) for cause, _, ids, text in listed}


def test_the_page_has_every_cause_once_with_findings_or_a_reason() -> None:
    assert list(rows()) == [*(f"U{number}" for number in range(1, 27)), *(f"N{number}" for number in range(1, 6))]
    for cause, (ids, text) in rows().items():
        assert ids or len(text) > 30, cause


def test_the_page_and_the_checks_know_the_same_findings_for_each_cause() -> None:
    fired: dict[str, set[str]] = {}
    for case in CASES:
        fired.setdefault(case[0], set()).add(case[1])
    listed = {cause: ids - LISTED_ONLY.get(cause, set()) for cause, (ids, _) in rows().items()}

    assert {cause: ids for cause, ids in listed.items() if ids} == fired


LISTED_ONLY = {  # of the same kind, or under the cause that a program can tell
    "U3": {"token-prefix", "token-base64"},
    "U6": {"token-host-region", "token-host-global", "token-host-partition"},
    "U14": {"token-sts-future"},
}


def findings_of(*changes: dict[str, Any]) -> list[Finding]:
    return [finding for change in changes for finding in report(change).findings]


def test_every_cause_that_a_finding_names_is_on_the_page_beside_it() -> None:
    table = rows()
    for finding in findings_of(*(case[3] for case in CASES), *(case[4] for case in CASES)):
        if finding.cause is not None and finding.cause[0] in "UN":
            assert finding.id in table[finding.cause][0], (finding.cause, finding.id)
