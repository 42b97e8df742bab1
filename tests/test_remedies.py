"""What a remedy gives to paste, read back by bash, a YAML parser and an HCL parser: the very values, or holes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import string
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rights import NAMESPACES, POD, Rule, rules

from eks_cross_account.diagnosis import Remedy, remedies
from eks_cross_account.diagnosis._terraform import quoted
from eks_cross_account.errors import InvalidArnError
from eks_cross_account.identity import CallerIdentity, strip_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

A, B = "111111111111", "222222222222"
ROLE = f"arn:aws:iam::{B}:role/cross-account-role"
CALLER = f"arn:aws:sts::{A}:assumed-role/mwaa-exec/s"
REGION = "eu-west-1"
POLICY = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSEditPolicy"
HOLE = "<PRINCIPAL_ARN>"

# What EKS, IAM and STS let one choose
CLUSTERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", fullmatch=True)
NAMES = st.text(string.ascii_letters + string.digits + "_+=,.@-", min_size=1, max_size=64)
PATHS = st.lists(st.text([chr(code) for code in range(0x21, 0x7F) if chr(code) != "/"], min_size=1, max_size=30))
NASTY = st.sampled_from(["'", '"', "$(id)", "`id`", "\\", "${x}", "%{x}", "\n", "\x1b[31m", "\u202e", "*", "?", " ",
                         "\u2028", "\x00", "<b>", "\U0001f600", "{{", "#", ";"])  # fmt: skip


@st.composite
def principals(draw: Any) -> str:
    path = "".join(f"{part}/" for part in draw(PATHS))[:500].rstrip("/")
    return f"arn:aws:iam::{B}:{draw(st.sampled_from(['role', 'user']))}/{path and path + '/'}{draw(NAMES)}"


@st.composite
def sessions(draw: Any) -> str:
    return f"arn:aws:sts::{A}:assumed-role/{draw(NAMES)}/{draw(NAMES)}"


@st.composite
def spoilt(draw: Any, arns: st.SearchStrategy[str]) -> str:
    """An ARN that looks like one, with something in its name that IAM has in none."""
    return f"{draw(arns)}{draw(NASTY)}{draw(NAMES)}"


# --- a shell

_ARGUMENTS = "aws() { printf '%s\\0' \"$@\"; printf '\\1\\0'; }; date() { echo 7200; }; "


def shell(commands: tuple[str, ...]) -> list[list[str]]:
    """What each command calls ``aws`` with, as bash reads it; shlex must agree."""
    done = subprocess.run(["bash", "-c", _ARGUMENTS + "\n".join(commands)], capture_output=True, check=True)  # noqa: S607
    assert done.stderr == b""
    called = [part.split("\0")[:-1] for part in done.stdout.decode().split("\1\0")[:-1]]
    assert len(called) == len(commands)
    for command, arguments in zip(commands, called, strict=True):
        if "$((" not in command:
            assert shlex.split(command.replace("\\\n", " ")) == ["aws", *arguments]
    return called


def flag(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


# --- HCL

_REFERENCE = re.compile(r"\$\{data\.aws_iam_policy_document\.[a-z]+\.json\}")
_HCL = re.compile(r'\\u([0-9a-f]{4})|\\U([0-9a-f]{8})|\\([nrt"\\])|([$%])\4\{|([$%]\{)|([^"\\\x00-\x1f])', re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}


def literal(token: str) -> str:
    """The value of a quoted template (HCL native syntax, "Template Literals"), which holds no template."""
    assert token.startswith('"')
    assert token.endswith('"')
    value, at = "", 1
    while at < len(token) - 1:
        found = _HCL.match(token, at, len(token) - 1)
        assert found is not None, token
        short, long, control, escaped, template, char = found.groups()
        assert template is None, f"a template in {token}"
        number = short or long
        value += chr(int(number, 16)) if number else ""
        value += (
            (_CONTROLS.get(control, control) if control else "") + (f"{escaped}{{" if escaped else "") + (char or "")
        )
        at = found.end()
    return value


def parsed(hcl: str) -> Any:
    hcl2 = pytest.importorskip("hcl2", reason="python-hcl2 is among the newest packages only")
    return read_back(hcl2.loads(hcl + "\n"))


def read_back(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.strip('"'): read_back(inner) for name, inner in value.items() if not name.startswith("__")}
    if isinstance(value, list):
        return [read_back(inner) for inner in value]
    return value if _REFERENCE.fullmatch(value) else literal(value)


def values(tree: Any, name: str) -> Iterator[Any]:
    """Of all attributes of this name."""
    if isinstance(tree, list):
        for inner in tree:
            yield from values(inner, name)
    if isinstance(tree, dict):
        for key, inner in tree.items():
            if key == name:
                yield inner
            else:
                yield from values(inner, name)


@given(st.text() | st.lists(NASTY | st.sampled_from('$%{}"\\')).map("".join))
def test_terraform_reads_back_whatever_is_quoted(value: str) -> None:
    written = quoted(value)

    assert written.isascii()
    assert written.isprintable()
    assert parsed(f"x = {written}") == {"x": value}


# --- the fixes for the owner of the cluster


def _not_mapped(cluster: str, arn: str) -> Remedy:
    return remedies.mapping_remedy(
        cluster, REGION, CallerIdentity(B, strip_path(arn), "AROA"), principal_arn=arn, mode="API"
    )


def test_an_identity_that_no_role_has_leaves_a_hole() -> None:
    identity = CallerIdentity(B, f"arn:aws:sts::{B}:assumed-role/r'; rm/s", "AROA:s")

    remedy = remedies.mapping_remedy("c", REGION, identity, principal_arn=None, mode="API")

    assert "rm" not in " ".join(remedy.commands)
    assert any("create-access-entry" in command and "--principal-arn '<" in command for command in remedy.commands)


def _entry(cluster: str, arn: str) -> Remedy:
    return remedies.entry_remedy(cluster, REGION, strip_path(arn), principal_arn=arn, mode="API_AND_CONFIG_MAP")


def _row(cluster: str, arn: str) -> Remedy:
    return remedies.aws_auth_remedy(cluster, REGION, strip_path(arn), principal_arn=arn, mode="API_AND_CONFIG_MAP")


BY_ARN: dict[str, Callable[[str, str], Remedy]] = {
    "not mapped": _not_mapped,
    "no entry": _entry,
    "no row": _row,
    "made again": lambda cluster, arn: remedies.remade_entry_remedy(cluster, REGION, arn),
    "user name": lambda cluster, arn: remedies.username_remedy(cluster, REGION, arn),
    "no rights": lambda cluster, arn: remedies.policy_remedy(cluster, REGION, arn),
}


@pytest.mark.parametrize("make", BY_ARN.values(), ids=BY_ARN)
@settings(max_examples=25)
@given(cluster=CLUSTERS, arn=principals())
def test_commands_and_terraform_name_the_very_cluster_and_principal(
    make: Callable[[str, str], Remedy], cluster: str, arn: str
) -> None:
    remedy = make(cluster, arn)

    for called in shell(remedy.commands):
        assert (called[0], flag(called, "--cluster-name"), flag(called, "--region")) == ("eks", cluster, REGION)
        assert flag(called, "--principal-arn") == arn
    tree = parsed(remedy.hcl or "")
    assert set(values(tree, "cluster_name")) == {cluster}
    assert set(values(tree, "principal_arn")) == {arn}
    assert set(values(tree, "policy_arn")) <= {POLICY}


@pytest.mark.parametrize("make", BY_ARN.values(), ids=BY_ARN)
@settings(max_examples=25)
@given(arn=spoilt(principals()))
def test_what_is_no_arn_of_iam_becomes_a_hole(make: Callable[[str, str], Remedy], arn: str) -> None:
    remedy = make("analytics", arn)

    assert {flag(called, "--principal-arn") for called in shell(remedy.commands)} == {HOLE}
    assert set(values(parsed(remedy.hcl or ""), "principal_arn")) == {HOLE}


@given(cluster=CLUSTERS, arn=principals())
@settings(max_examples=25)
def test_a_node_role_is_looked_at_and_another_gets_the_entry(cluster: str, arn: str) -> None:
    remedy = remedies.node_entry_remedy(cluster, REGION, arn)

    assert shell(remedy.commands) == [
        ["eks", "describe-access-entry", "--cluster-name", cluster, "--region", REGION, "--principal-arn", arn]
    ]
    assert set(values(parsed(remedy.hcl or ""), "principal_arn")) == {HOLE}


@given(sessions())
@settings(max_examples=25)
def test_the_path_of_a_session_is_a_hole_with_the_command_that_fills_it(arn: str) -> None:
    name = arn.split("/")[1]
    remedy = remedies.mapping_remedy(
        "analytics", REGION, CallerIdentity(A, arn, "AROA:s"), principal_arn=None, mode="API"
    )

    look, create, associate = shell(remedy.commands)
    assert look == ["iam", "get-role", "--role-name", name, "--query", "Role.Arn"]
    assert (
        flag(create, "--principal-arn") == flag(associate, "--principal-arn") == f"arn:aws:iam::{A}:role/<PATH/>{name}"
    )
    assert set(values(parsed(remedy.hcl or ""), "principal_arn")) == {f"arn:aws:iam::{A}:role/<PATH/>{name}"}


def test_terraform_has_what_the_commands_have() -> None:
    made = parsed(_entry("analytics", ROLE).hcl or "")["resource"]
    names = {"cluster_name": "analytics", "principal_arn": ROLE}
    scope = [{"type": "namespace", "namespaces": ["<NAMESPACE>"]}]

    assert made == [
        {"aws_eks_access_entry": {"eks_access": {**names, "type": "STANDARD"}}},
        {"aws_eks_access_policy_association": {"eks_access": {**names, "policy_arn": POLICY, "access_scope": scope}}},
    ]
    username = parsed(remedies.username_remedy("analytics", REGION, ROLE).hcl or "")["resource"]
    assert username == [
        {"aws_eks_access_entry": {"eks_access": {**names, "type": "STANDARD", "user_name": "<USERNAME>"}}}
    ]
    mode = remedies.mode_remedy("analytics", REGION)
    assert parsed(mode.hcl or "") == {"access_config": [{"authentication_mode": "API_AND_CONFIG_MAP"}]}
    assert flag(shell(mode.commands)[0], "--access-config") == "authenticationMode=API_AND_CONFIG_MAP"


@given(principals())
@settings(max_examples=50)
def test_yaml_reads_back_the_row(arn: str) -> None:
    canonical = strip_path(arn)
    section, key = ("mapRoles", "rolearn") if ":role/" in arn else ("mapUsers", "userarn")

    for mode in ("CONFIG_MAP", "API_AND_CONFIG_MAP", ""):
        row = remedies.aws_auth_remedy("analytics", REGION, canonical, principal_arn=arn, mode=mode).yaml or ""
        outer = yaml.safe_load(row)
        assert list(outer) == [section]
        assert yaml.safe_load(outer[section]) == [
            {key: canonical, "username": "eks-cross-account", "groups": ["<GROUP>"]}
        ]


@given(spoilt(principals()))
@settings(max_examples=50)
def test_a_row_for_what_is_no_arn_of_iam_has_a_hole(arn: str) -> None:
    row = remedies.aws_auth_remedy("analytics", REGION, arn, principal_arn=None, mode="CONFIG_MAP").yaml or ""

    (section,) = yaml.safe_load(row).values()
    assert "<ARN>" in yaml.safe_load(section)[0].values()


@given(CLUSTERS)
@settings(max_examples=25)
def test_the_queries_of_the_log_arrive_as_they_are(cluster: str) -> None:
    authenticator, audit = shell(remedies.log_queries(cluster, REGION))

    for called in (authenticator, audit):
        assert called[:2] == ["logs", "start-query"]
        assert flag(called, "--log-group-name") == f"/aws/eks/{cluster}/cluster"
        assert (flag(called, "--start-time"), flag(called, "--end-time")) == ("3600", "7200")
    assert flag(authenticator, "--query-string") == (
        "fields @timestamp, @message | filter @logStream like /authenticator/ and @message like /access denied/ "
        "| sort @timestamp desc"
    )
    assert flag(audit, "--query-string") == (
        "fields @timestamp, user.username, verb, requestURI, responseStatus.code "
        "| filter @logStream like /kube-apiserver-audit/ and responseStatus.code in [401, 403]"
    )


# --- what a caller may do in the cluster

GROUPS = st.from_regex(r"[a-z][A-Za-z0-9_.:/@+=-]{0,40}", fullmatch=True).filter(
    lambda name: "://" not in name and not name.startswith(("system:", "eks:", "aws:", "amazon:", "iam:"))
)


def of_kubernetes(resource: Any) -> Any:
    """One of the Kubernetes provider's resources, as the object that it makes."""
    ((kind, named),) = resource.items()
    ((_, body),) = named.items()
    kinds = {"kubernetes_role_v1": "Role", "kubernetes_role_binding_v1": "RoleBinding",
             "kubernetes_cluster_role_v1": "ClusterRole",
             "kubernetes_cluster_role_binding_v1": "ClusterRoleBinding"}  # fmt: skip
    made = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kinds[kind], "metadata": body["metadata"][0]}
    if "rule" in body:
        return {**made, "rules": [{"apiGroups": rule.pop("api_groups"), **rule} for rule in body["rule"]]}
    (to,) = body["role_ref"]
    subjects = [{"apiGroup": subject.pop("api_group"), **subject} for subject in body["subject"]]
    return {**made, "roleRef": {"apiGroup": to.pop("api_group"), **to}, "subjects": subjects}


def uncommented(text: str) -> str:
    """What the comment holds that a user may choose instead; its first line says what it is."""
    said, *lines = text.splitlines()
    assert said.startswith("# or, broader")
    assert all(line.startswith("# ") for line in lines)
    return "\n".join(line.removeprefix("# ") for line in lines)


def ways(remedy: Remedy) -> tuple[Any, Any, list[list[str]], list[list[str]]]:
    """By group and by policy: Terraform's resources, and the commands."""
    least, broader = (remedy.hcl or "").split("\n\n# or,")
    *commands, instead = remedy.commands
    choice = uncommented(instead).replace("\naws ", "\0aws ").split("\0")
    return (
        parsed(least)["resource"],
        parsed(uncommented(f"# or,{broader}"))["resource"],
        shell(tuple(commands)),
        shell(tuple(choice)),
    )


@settings(max_examples=25)
@given(cluster=CLUSTERS, arn=principals(), group=GROUPS)
def test_a_grant_is_a_group_with_the_least_role_or_a_policy_on_the_namespace(
    cluster: str, arn: str, group: str
) -> None:
    remedy = remedies.grant(
        (*POD, *NAMESPACES), namespace="data", group=group, principal_arn=arn, cluster_name=cluster, region=REGION
    )

    least, broader, commands, instead = ways(remedy)
    where = ["--cluster-name", cluster, "--region", REGION, "--principal-arn", arn]
    assert commands == [["eks", "create-access-entry", *where, "--type", "STANDARD", "--kubernetes-groups", group]]
    assert instead == [
        ["eks", "create-access-entry", *where, "--type", "STANDARD"],
        ["eks", "associate-access-policy", *where, "--policy-arn", POLICY, "--access-scope", "type=cluster"],
    ]
    names = {"cluster_name": cluster, "principal_arn": arn}
    entry = {**names, "type": "STANDARD", "kubernetes_groups": [group]}
    assert least[0] == {"aws_eks_access_entry": {"eks_access": entry}}
    assert [of_kubernetes(each) for each in least[1:]] == list(yaml.safe_load_all(remedy.yaml or ""))
    assert broader == [
        {"aws_eks_access_policy_association": {
            "eks_access": {**names, "policy_arn": POLICY, "access_scope": [{"type": "cluster"}]},
        }},
    ]  # fmt: skip


def test_a_grant_says_what_the_policy_gives_besides_and_what_the_smaller_one_lacks() -> None:
    remedy = remedies.grant(
        POD, namespace="data", group="airflow-workers", principal_arn=ROLE, cluster_name="analytics", region=REGION
    )

    assert remedy.text == (
        "two ways, of which one is enough. The least: put the principal into the group airflow-workers, and apply the "
        "Role and its binding (kubectl apply -f FILE). ResourceInUseException means that it has an entry: update that "
        "(aws eks update-access-entry), with its groups beside this one. In authentication mode CONFIG_MAP its row in "
        "aws-auth names them. Broader, with no objects in the cluster: AmazonEKSEditPolicy on the namespace data. "
        "Besides, it lets the principal read secrets, write secrets, act as every service account. AmazonEKSViewPolicy "
        "is not enough: it lacks create pods, delete pods, patch pods, get pods/exec, create pods/exec."
    )
    (_, broader, _, instead) = ways(remedy)
    assert flag(instead[1], "--access-scope") == "type=namespace,namespaces=data"
    assert list(values(broader, "namespaces")) == [["data"]]


def test_an_entry_that_is_there_keeps_its_groups() -> None:
    remedy = remedies.grant(POD, namespace="data", group="new", principal_arn=ROLE, cluster_name="analytics",
                            region=REGION, groups=("old", "a b", "older"))  # fmt: skip

    least, _, commands, instead = ways(remedy)
    assert [called[1] for called in (*commands, *instead)] == ["update-access-entry", "associate-access-policy"]
    assert commands[0][-5:] == ["--kubernetes-groups", "old", "<GROUP>", "older", "new"]
    assert list(values(least, "kubernetes_groups")) == [["old", "<GROUP>", "older", "new"]]


def test_an_entry_that_is_in_the_group_needs_the_role_alone() -> None:
    remedy = remedies.grant(POD, namespace="data", group="old", principal_arn=ROLE, cluster_name="analytics",
                            region=REGION, groups=("old",))  # fmt: skip

    assert "The least: the principal is in the group old; apply the Role" in remedy.text
    assert ways(remedy)[2] == []


@pytest.mark.parametrize(
    ("arn", "region", "partition"),
    [
        ("arn:aws-cn:iam::222222222222:role/x", None, "aws-cn"),
        ("arn:aws-cn:iam::222222222222:role/x", "eu-west-1", "aws"),
        (None, "us-gov-west-1", "aws-us-gov"),
        (None, None, "<PARTITION>"),
    ],
)
def test_the_policys_partition_is_the_regions_else_the_principals(
    arn: str | None, region: str | None, partition: str
) -> None:
    remedy = remedies.grant(POD, namespace="data", group="g", principal_arn=arn, region=region)

    (_, (resource,), _, instead) = ways(remedy)
    named = f"arn:{partition}:eks::aws:cluster-access-policy/AmazonEKSEditPolicy"
    assert flag(instead[1], "--policy-arn") == named
    assert list(values(resource, "policy_arn")) == [named]


def test_a_right_on_a_custom_resource_is_in_no_policy_but_the_cluster_admins() -> None:
    remedy = remedies.grant(rules("create sparkapplications/status sparkoperator.k8s.io"), namespace="data", group="g")

    assert (
        "AmazonEKSAdminPolicy is not enough: it lacks create sparkapplications.sparkoperator.k8s.io/status."
        in remedy.text
    )
    assert "do everything" in remedy.text


@settings(max_examples=50)
@given(
    arn=spoilt(principals()),
    namespace=st.builds("data{}".format, NASTY),
    group=st.builds("{}{}".format, NASTY, st.just("g")) | st.sampled_from([
        "", "system:masters", "eks:x", "-g", "file:///etc/hostname", "https://x", "a,b", "[a]", "a b",
    ]),
    cluster=st.none() | st.builds("c{}x".format, NASTY),
    region=st.none() | st.builds("eu-west-1{}".format, NASTY),
)  # fmt: skip
def test_what_a_grant_does_not_know_or_cannot_trust_is_a_hole(
    arn: str, namespace: str, group: str, cluster: str | None, region: str | None
) -> None:
    remedy = remedies.grant(
        POD, namespace=namespace, group=group, principal_arn=arn, cluster_name=cluster, region=region
    )

    (created,) = shell(remedy.commands[:-1])
    assert flag(created, "--principal-arn") == HOLE
    assert (flag(created, "--cluster-name"), flag(created, "--region")) == ("<CLUSTER>", "<REGION>")
    assert created[-2:] == ["--kubernetes-groups", "<GROUP>"]
    assert all(line.startswith("# ") for line in remedy.commands[-1].splitlines())
    role, binding = yaml.safe_load_all(remedy.yaml or "")
    assert (role["metadata"]["namespace"], binding["subjects"][0]["name"]) == ("<NAMESPACE>", "<GROUP>")
    least, comment = (remedy.hcl or "").split("\n\n# or,")
    assert set(values(parsed(least), "principal_arn")) == {HOLE}
    assert all(line.startswith("# ") for line in comment.splitlines()[1:])
    assert remedy.text.isascii()
    assert remedy.text.isprintable()


@pytest.mark.parametrize("hostile", [(), rules("* pods"), (Rule("", "pods\x1b[31m", "get"),)])
def test_a_grant_of_nothing_and_of_everything_is_refused(hostile: tuple[Rule, ...]) -> None:
    with pytest.raises(ValueError, match=r"no rules|no verb on one resource"):
        remedies.grant(hostile, namespace="data", group="g")


# --- policies


def pasted_statement(remedy: Remedy) -> Any:
    return json.loads("{" + remedy.text.partition("\n{")[2])


def of_terraform(hcl: str) -> Any:
    """The statement of a policy document, as IAM's JSON has it."""
    (document,) = parsed(hcl)["data"]
    ((_, named),) = document.items()
    ((_, body),) = named.items()
    (statement,) = body["statement"]
    made = {"Effect": "Allow", "Action": statement["actions"]}
    if "resources" in statement:
        made["Resource"] = statement["resources"]
    for principal in statement.get("principals", []):
        made["Principal"] = {principal["type"]: principal["identifiers"]}
    for condition in statement.get("condition", []):
        made.setdefault("Condition", {})[condition["test"]] = {condition["variable"]: condition["values"]}
    return made


def listed(statement: Any) -> Any:
    """The statement with a list where IAM takes one value or several."""
    made = dict(statement)
    for name in ("Action", "Resource"):
        if isinstance(made.get(name), str):
            made[name] = [made[name]]
    for name in ("Principal",):
        made |= {name: {k: [v] if isinstance(v, str) else v for k, v in made[name].items()}} if name in made else {}
    if "Condition" in made:
        made["Condition"] = {
            test: {key: [value] if isinstance(value, str) else value for key, value in keys.items()}
            for test, keys in made["Condition"].items()
        }
    return made


@given(caller=sessions() | principals(), sent=st.booleans())
@settings(max_examples=50)
def test_the_trust_policy_names_the_caller_and_nobody_else(caller: str, sent: bool) -> None:  # noqa: FBT001 - drawn
    remedy = remedies.trust_policy_remedy(caller, ROLE, external_id_sent=sent)

    statement = pasted_statement(remedy)
    if ":assumed-role/" in caller:
        name = caller.split("/")[1]
        assert statement["Principal"] == {"AWS": f"arn:aws:iam::{A}:root"}
        assert statement["Condition"] == {
            "ArnLike": {"aws:PrincipalArn": [f"arn:aws:iam::{A}:role/{name}", f"arn:aws:iam::{A}:role/*/{name}"]}
        }
    else:
        assert statement == {"Effect": "Allow", "Principal": {"AWS": caller}, "Action": "sts:AssumeRole"}
    assert of_terraform(remedy.hcl or "") == listed(statement)


@given(spoilt(sessions()) | spoilt(principals()) | st.sampled_from([
    f"arn:aws:sts::{A}:assumed-role/*/s", "arn:aws:iam::*:root", f"arn:aws:iam::{A}:role/*", "*", "the caller", "",
]))  # fmt: skip
@settings(max_examples=50)
def test_a_caller_that_is_none_opens_no_role_to_anybody(caller: str) -> None:
    with pytest.raises(InvalidArnError):
        remedies.trust_statement(caller)
    remedy = remedies.trust_policy_remedy(caller, ROLE, external_id_sent=False)

    assert pasted_statement(remedy)["Principal"] == {"AWS": "<ARN of the caller>"}
    assert "*" not in json.dumps(of_terraform(remedy.hcl or ""))
    assert remedies.direct_entry("analytics", REGION, caller) == ""


@given(st.text("abcXYZ019+=,.@:/-_", min_size=2, max_size=100))
@settings(max_examples=25)
def test_an_external_id_is_demanded_to_the_letter(external_id: str) -> None:
    statement = remedies.trust_statement(CALLER, external_id=external_id)

    assert json.loads(json.dumps(statement))["Condition"]["StringEquals"] == {"sts:ExternalId": external_id}


@given(caller=sessions() | principals(), role=principals().filter(lambda arn: ":role/" in arn))
@settings(max_examples=50)
def test_the_policy_of_the_caller_allows_that_one_role(caller: str, role: str) -> None:
    remedy = remedies.identity_policy_remedy(caller, role, actions=("sts:AssumeRole", "sts:TagSession"))

    ((*_, document),) = shell(remedy.commands)
    (statement,) = json.loads(document)["Statement"]
    assert statement == {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": role}
    assert of_terraform(remedy.hcl or "") == listed(statement)


@pytest.mark.parametrize(
    ("caller", "kind", "name"),
    [
        (CALLER, "role", "mwaa-exec"),
        (f"arn:aws:iam::{A}:role/team/gate", "role", "gate"),
        (f"arn:aws:iam::{A}:user/team/alice", "user", "alice"),
        (f"arn:aws:iam::{A}:root", "role", "<ROLE_NAME>"),
        ("the caller", "role", "<ROLE_NAME>"),
    ],
)
def test_a_users_policy_is_put_to_the_user(caller: str, kind: str, name: str) -> None:
    remedy = remedies.identity_policy_remedy(caller, ROLE)

    (called,) = shell(remedy.commands)
    assert called[:4] == ["iam", f"put-{kind}-policy", f"--{kind}-name", name]
    (resource,) = parsed(remedy.hcl or "")["resource"]
    assert resource[f"aws_iam_{kind}_policy"]["eks_access"][kind] == name


TRUSTED: list[Any] = [
    [{"Effect": "Allow", "Principal": {"Service": "airflow-env.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRole", "Condition": {"Bool": {"a'\"$(id)": "true"}}},
]


@pytest.mark.skipif(shutil.which("jq") is None, reason="the command needs jq, as AWS CloudShell has it")
@pytest.mark.parametrize("there", TRUSTED, ids=["statements", "one statement"])
def test_one_line_adds_to_the_trust_policy_and_keeps_what_is_in_it(tmp_path: Path, there: Any) -> None:
    remedy = remedies.trust_policy_remedy(CALLER, ROLE, external_id_sent=False)
    (tmp_path / "trust.json").write_text(json.dumps({"Version": "2012-10-17", "Statement": there}))
    aws = 'aws() { case $2 in get-role) cat trust.json ;; *) printf "%s\\0" "$@" ;; esac; }; '

    command = remedy.commands[1]
    done = subprocess.run(["bash", "-c", aws + command], cwd=tmp_path, capture_output=True, text=True, check=True)  # noqa: S607

    assert "\n" not in command
    assert done.stderr == ""
    *called, document, _ = done.stdout.split("\0")
    assert called == ["iam", "update-assume-role-policy", "--role-name", ROLE.rpartition("/")[2], "--policy-document"]
    before = there if isinstance(there, list) else [there]
    assert json.loads(document) == {
        "Version": "2012-10-17",
        "Statement": [*before, remedies.trust_statement(CALLER)],
    }


@given(principals().filter(lambda arn: ":role/" in arn))
@settings(max_examples=25)
def test_the_trust_policy_that_is_there_is_looked_at_first(role: str) -> None:
    remedy = remedies.trust_policy_remedy(CALLER, role, external_id_sent=False)

    name = role.rpartition("/")[2]
    assert shell(remedy.commands[:1]) == [
        ["iam", "get-role", "--role-name", name, "--query", "Role.AssumeRolePolicyDocument"]
    ]
    (resource,) = parsed(remedy.hcl or "")["resource"]
    assert resource == {
        "aws_iam_role": {
            "eks_access": {"name": name, "assume_role_policy": "${data.aws_iam_policy_document.trust.json}"}
        }
    }


def test_a_web_identity_is_trusted_by_its_claims() -> None:
    remedy = remedies.github_remedy(ROLE)

    statement = pasted_statement(remedy)
    issuer = "token.actions.githubusercontent.com"
    assert statement["Principal"] == {"Federated": f"arn:aws:iam::{B}:oidc-provider/{issuer}"}
    assert statement["Condition"] == {
        "StringEquals": {f"{issuer}:aud": "sts.amazonaws.com"},
        "StringLike": {f"{issuer}:sub": "repo:<OWNER>/<REPOSITORY>:ref:refs/heads/<BRANCH>"},
    }
    assert of_terraform(remedy.hcl or "") == listed(statement)
    assert "arn:aws:iam::<ACCOUNT>:oidc-provider/" in remedies.github_remedy().text


# --- a refused hop, by AWS's own words (IAM User Guide, "Troubleshoot access denied error messages")

NO, DENY = "because no {} allows the sts:AssumeRole action", "with an explicit deny in {}"
REFUSALS = [
    (NO.format("identity-based policy"), A, "allow sts:AssumeRole on"),
    (DENY.format("an identity-based policy"), A, "a statement with Deny in the identity-based policy"),
    (NO.format("role trust policy"), B, "add this statement to the trust policy"),
    (DENY.format("the role trust policy"), B, "a statement with Deny in the role trust policy"),
    (NO.format("resource-based policy"), B, "add this statement to the trust policy"),
    (DENY.format("a resource-based policy"), B, "a statement with Deny in the resource-based policy"),
    (NO.format("permissions boundary"), A, "permissions boundary"),
    (DENY.format("a permissions boundary"), A, "permissions boundary"),
    (NO.format("session policy"), A, "made with a policy"),
    (DENY.format("a session policy"), A, "made with a policy"),
    (NO.format("VPC endpoint policy"), A, "the VPC endpoint for STS"),
    (DENY.format("a VPC endpoint policy"), A, "the VPC endpoint for STS"),
    (NO.format("service control policy"), "", "the caller's organization"),
    (DENY.format("a service control policy"), "", "the caller's organization"),
    (NO.format("resource control policy"), "", "the role's organization"),
    (DENY.format("a resource control policy"), "", "the role's organization"),
    ("", B, "add this statement to the trust policy"),
    (NO.format("\x1b[31m policy"), B, "add this statement to the trust policy"),
]


@pytest.mark.parametrize(
    ("because", "owner", "said"), REFUSALS, ids=[row[0].replace("\x1b", "ESC") for row in REFUSALS]
)
def test_awss_words_decide_what_mends_a_refused_hop_and_who(because: str, owner: str, said: str) -> None:
    message = f"User: {CALLER} is not authorized to perform: sts:AssumeRole on resource: {ROLE} {because}"

    remedy, whose = remedies.refused_hop_remedy(message, CALLER, ROLE, external_id_sent=False)

    assert (whose, said in remedy.text) == (owner, True), remedy.text
    assert said.startswith(("add this", "allow sts")) == bool(remedy.hcl)
    assert "\x1b" not in remedy.text


@pytest.mark.parametrize(
    ("action", "allowed"),
    [
        ("sts:AssumeRole", "sts:AssumeRole"),
        ("sts:TagSession", ["sts:AssumeRole", "sts:TagSession"]),
        ("sts:SetSourceIdentity", ["sts:AssumeRole", "sts:SetSourceIdentity"]),
        ("sts:GetFederationToken", "sts:AssumeRole"),
        ("sts:*", "sts:AssumeRole"),
        ("iam:PassRole", "sts:AssumeRole"),
    ],
)
@pytest.mark.parametrize("kind", ["identity-based policy", "role trust policy"])
def test_no_message_makes_anybody_allow_more_than_a_hop_needs(action: str, allowed: Any, kind: str) -> None:
    message = f"is not authorized to perform: {action} on resource: {ROLE} because no {kind} allows the {action} action"

    remedy, _ = remedies.refused_hop_remedy(message, CALLER, ROLE, external_id_sent=False)

    if kind == "role trust policy":
        assert pasted_statement(remedy)["Action"] == allowed
    else:
        assert json.loads(shell(remedy.commands)[0][-1])["Statement"][0]["Action"] == allowed


def test_the_certificate_command_asks_the_endpoint_by_name() -> None:
    command = remedies.certificate_command("https://abc.gr7.eu-west-1.eks.amazonaws.com:8443/x", proxy="p'; id; '")

    first, _, _ = command.partition(" </dev/null")
    host = "abc.gr7.eu-west-1.eks.amazonaws.com"
    assert shlex.split(first) == ["openssl", "s_client", "-connect", f"{host}:8443", "-servername", host, "-proxy",
                                  "p'; id; '"]  # fmt: skip
