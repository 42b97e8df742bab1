"""The access policies' tables against the EKS user guide, "Review access policy permissions"; what is made of them."""

from __future__ import annotations

import pytest
from rights import POD, Rule, rules

from eks_cross_account.diagnosis._access_policies import POLICIES, beyond, missing, smallest

READER, VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN = (
    f"AmazonEKS{name}Policy" for name in ("SecretReader", "View", "AdminView", "Edit", "Admin", "ClusterAdmin")
)
ALL = {READER, VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}
GUIDE = [  # a right, and the policies that have it
    ("get pods", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("watch pods/log", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("list events", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("list namespaces", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("get resourcequotas/status", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("get jobs/status batch", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("watch statefulsets/status apps", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("get endpointslices discovery.k8s.io", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("get poddisruptionbudgets/status policy", {VIEW, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("get secrets", {READER, ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("get pods/exec", {ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("get services/proxy", {ADMIN_VIEW, EDIT, ADMIN, CLUSTER_ADMIN}),
    ("create pods/exec", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("create pods", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("deletecollection pods", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("patch events", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("update secrets", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("impersonate serviceaccounts", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("create jobs batch", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("update deployments/rollback apps", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("create horizontalpodautoscalers autoscaling", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("delete replicationcontrollers/scale extensions", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("patch ingresses networking.k8s.io", {EDIT, ADMIN, CLUSTER_ADMIN}),
    ("create rolebindings rbac.authorization.k8s.io", {ADMIN, CLUSTER_ADMIN}),
    ("create localsubjectaccessreviews authorization.k8s.io", {ADMIN, CLUSTER_ADMIN}),
    ("get roles rbac.authorization.k8s.io", {ADMIN_VIEW, ADMIN, CLUSTER_ADMIN}),
    ("get sparkapplications/status sparkoperator.k8s.io", {ADMIN_VIEW, CLUSTER_ADMIN}),
    ("list nodes", {ADMIN_VIEW, CLUSTER_ADMIN}),
    ("create sparkapplications sparkoperator.k8s.io", {CLUSTER_ADMIN}),
    ("patch jobs/status batch", {CLUSTER_ADMIN}),
    ("create pods/eviction", {CLUSTER_ADMIN}),
    ("create namespaces", {CLUSTER_ADMIN}),
    ("create resourcequotas", {CLUSTER_ADMIN}),
    ("create jobs", {CLUSTER_ADMIN}),  # of the core group, where there are none
]


@pytest.mark.parametrize(("right", "policies"), GUIDE, ids=[row[0] for row in GUIDE])
def test_a_right_is_in_the_policies_that_the_guide_says(right: str, policies: set[str]) -> None:
    asked = rules(right)

    assert {policy for policy in POLICIES if not missing(policy, asked)} == policies
    assert {policy for policy in POLICIES if missing(policy, asked) == asked} == ALL - policies


def test_the_guide_lists_no_others_that_a_principal_can_be_given_and_no_right_twice() -> None:
    assert set(POLICIES) == ALL
    assert {policy: (len(table), len(set(table))) for policy, table in POLICIES.items()} == {
        READER: (3, 3), VIEW: (168, 168), ADMIN_VIEW: (3, 3), EDIT: (372, 372), ADMIN: (389, 389),
        CLUSTER_ADMIN: (1, 1),
    }  # fmt: skip


def test_a_wildcard_that_is_asked_for_is_only_in_a_policy_that_has_one() -> None:
    assert missing(ADMIN, rules("get * *")) == rules("get * *")
    assert missing(ADMIN_VIEW, rules("get * *")) == ()
    assert missing(ADMIN_VIEW, rules("* * *")) == rules("* * *")
    assert missing(CLUSTER_ADMIN, rules("* * *")) == ()


@pytest.mark.parametrize(
    ("wanted", "policy", "smaller", "lacks"),
    [
        (POD, EDIT, VIEW, ("create pods", "delete pods", "patch pods", "get pods/exec", "create pods/exec")),
        (rules("get pods", "get pods/log"), VIEW, None, ()),
        (rules("get secrets"), READER, None, ()),
        (rules("get pods", "get secrets"), ADMIN_VIEW, VIEW, ("get secrets",)),
        (rules("create pods", "create rolebindings rbac.authorization.k8s.io"), ADMIN, EDIT,
         ("create rolebindings rbac.authorization.k8s.io",)),
        (rules("create pods", "create sparkapplications sparkoperator.k8s.io"), CLUSTER_ADMIN, ADMIN,
         ("create sparkapplications sparkoperator.k8s.io",)),
    ],
    ids=["pod operator", "only looks", "only secrets", "reads all", "binds roles", "custom resource"],
)  # fmt: skip
def test_the_least_policy_is_named_and_what_the_next_smaller_one_lacks(
    wanted: tuple[Rule, ...], policy: str, smaller: str | None, lacks: tuple[str, ...]
) -> None:
    chosen = smallest(wanted)

    assert (chosen.policy, chosen.smaller) == (policy, smaller)
    assert set(chosen.lacks) == set(rules(*lacks))


@pytest.mark.parametrize(
    ("policy", "held", "more"),
    [
        (VIEW, rules("get pods"), ()),
        (READER, rules("get secrets"), ()),
        (EDIT, POD, ("read secrets", "write secrets", "act as every service account")),
        (EDIT, rules("create pods"),
         ("read secrets", "write secrets", "act as every service account", "run commands in every pod")),
        (ADMIN_VIEW, rules("get pods"), ("read secrets", "read everything")),
        (CLUSTER_ADMIN, POD,
         ("read secrets", "write secrets", "act as every service account", "change roles and their bindings",
          "read everything", "do everything")),
    ],
)  # fmt: skip
def test_what_a_policy_gives_besides_is_said(policy: str, held: tuple[Rule, ...], more: tuple[str, ...]) -> None:
    assert beyond(policy, held) == more
