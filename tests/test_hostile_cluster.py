"""What a cluster's API server may say of rights, users and bindings: findings steer no terminal, remedies no shell."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_remedies import parsed
from test_renderings import Elements

from eks_cross_account import Cluster, required_permissions
from eks_cross_account.cluster import AssociatedPolicy, DescribedEntry
from eks_cross_account.diagnosis import _reach, ask_owner
from eks_cross_account.diagnosis._budget import Budget
from eks_cross_account.diagnosis._mapping_probes import EntryEvidence, NotChecked
from eks_cross_account.diagnosis._permission_probes import Wanted, ask_permissions
from eks_cross_account.diagnosis.checks import judge_rights_only
from eks_cross_account.diagnosis.evidence import Evidence

if TYPE_CHECKING:
    from eks_cross_account.diagnosis import Report

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
CLUSTER = Cluster("analytics", "https://127.0.0.1", "", arn="arn:aws:eks:eu-west-1:222222222222:cluster/analytics")
WANTED = Wanted(required_permissions()[:4], "data")
NASTY = (
    "$(touch /tmp/x)", "`id`", "'; rm -rf ~ #", '"', "${x}", "%{if}", "\n- x: y", "\x1b[2J", "\x1b]0;x\x07",
    "\u202e", "\u2066",
    "\u200b", "\x85", "\u2028", "\x00", "<img/onerror=1>", "&lt;", "{{x}}",
    "eks:masters", "system:masters", "aws:x", "", " ",
    "data", "Role", "Group", "User", "ServiceAccount",
    "airflow-workers", "not found", "--flag", "@file", "file://x", "\\",
)  # fmt: skip
TEXTS = st.sampled_from(NASTY) | st.lists(st.sampled_from(NASTY), max_size=3).map("".join) | st.text(max_size=12)
TAGS = {f"{end}{tag}" for end in ("", "/") for tag in (
    "html", "head", "meta", "title", "style", "body", "code", "h1", "h2", "p", "span", "div", "svg", "line", "path",
    "section",
    "dl", "dt", "dd", "strong", "pre", "details", "summary",
)}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def member(likely: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly of the type that it should have."""
    return st.one_of(likely, likely, likely, JSON)


SUBJECTS = st.fixed_dictionaries({"kind": member(TEXTS), "name": member(TEXTS), "namespace": member(TEXTS)})
ITEMS = st.fixed_dictionaries({
    "metadata": member(st.fixed_dictionaries({"name": member(TEXTS), "namespace": member(TEXTS)})),
    "roleRef": member(st.fixed_dictionaries({"kind": member(TEXTS), "name": member(TEXTS)})),
    "subjects": member(st.lists(member(SUBJECTS), max_size=2)),
    "rules": member(st.lists(member(st.fixed_dictionaries({
        "apiGroups": member(st.lists(member(TEXTS), max_size=2)),
        "resources": member(st.lists(member(st.sampled_from(["pods", "pods/log"])), max_size=2)),
        "verbs": member(st.lists(member(st.sampled_from(["create", "get", "*"])), max_size=2)),
    })), max_size=2)),
})  # fmt: skip
ANSWERS = st.fixed_dictionaries({
    "kind": member(st.just("SelfSubjectReview")),
    "message": member(TEXTS),
    "details": member(st.fixed_dictionaries({"kind": TEXTS})),
    "items": member(st.lists(member(ITEMS), max_size=3)),
    "status": member(st.fixed_dictionaries({
        "allowed": member(st.just(False)),  # noqa: FBT003 - what a server says
        "reason": member(TEXTS),
        "userInfo": member(st.fixed_dictionaries({
            "username": member(TEXTS), "groups": member(st.lists(member(TEXTS), max_size=3)), "extra": JSON,
        })),
    })),
})  # fmt: skip
ENTRIES = st.builds(
    lambda arn, groups, policies: EntryEvidence(
        ROLE, DescribedEntry(arn, groups=tuple(groups)), policies=tuple(AssociatedPolicy(*each) for each in policies)
    ),
    st.just(ROLE) | TEXTS,
    st.lists(TEXTS, max_size=2),
    st.lists(
        st.tuples(TEXTS.map("arn:aws:eks::aws:cluster-access-policy/{}".format), st.lists(TEXTS).map(tuple)), max_size=2
    ),
)


def report_of(answers: list[Any], entry: Any, *, with_cluster: bool) -> Report:
    """The report on a cluster that gives these answers, one after the other and around again."""
    told = list(answers)

    def ask(_method: str, _path: str, _body: Any) -> tuple[int, dict[str, Any]]:
        status, answer = told[0]
        told.append(told.pop(0))
        return status, answer

    review = _reach.review(ask)
    permissions = ask_permissions(WANTED, ask, Budget(20))
    return judge_rights_only(
        Evidence("analytics", "eu-west-1", "argument", "eu-west-1", NOW, review=review, wanted=WANTED, entry=entry,
                 permissions=permissions, cluster=CLUSTER if with_cluster else None)
    )  # fmt: skip


@given(
    answers=st.lists(st.tuples(st.sampled_from([200, 201, 200, 201, 403, 404, 0]), ANSWERS), min_size=1, max_size=6),
    entry=ENTRIES | st.just(NotChecked("eks:DescribeAccessEntry")),
    with_cluster=st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_a_cluster_says_of_rights_can_be_printed_and_pasted(
    answers: list[Any],
    entry: Any,
    with_cluster: bool,  # noqa: FBT001 - drawn
) -> None:
    report = report_of(answers, entry, with_cluster=with_cluster)

    for form in ("cli", "hcl", "yaml"):
        text = report.to_text(form).replace("\n", "")
        assert (text.isascii(), text.isprintable()) == (True, True), ascii(text)
    assert ask_owner(report).replace("\n", "").isprintable()
    assert json.loads(report.to_json())["verdict"] == report.verdict
    assert Elements(report.to_html()).tags <= TAGS
    for finding in report.findings:
        assert_pasted_is_data(finding.remedy)


def assert_pasted_is_data(remedy: Any) -> None:
    """What is to be pasted has no name in it but those that we wrote, and what fits its grammar."""
    if remedy is None:
        return
    for command in remedy.commands:
        for line in command.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("# "), comments=False)
            assert not set("".join(words)) & set("`$;&|\n\x1b"), words
    if remedy.yaml:
        kinds = {document["kind"] for document in yaml.safe_load_all(remedy.yaml)}
        assert kinds <= {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    if remedy.hcl:
        assert parsed(remedy.hcl)
