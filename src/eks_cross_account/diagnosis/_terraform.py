"""Remedies as Terraform: the few resources that they need, of AWS and Kubernetes, written as HCL. Touches nothing.

Every value is written as a quoted template without templates in it (HCL native syntax, "Quoted Templates"): a parser
reads back exactly the value, whatever it holds, and no character of it steers a terminal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LABEL = "eks_access"  # of every resource: they are to be renamed and merged anyhow
_BMP = 0xFFFF
_TEMPLATE = re.compile(r"(?:\$+|%+)(?=\{)")
_KINDS = {
    "Role": "kubernetes_role_v1",
    "RoleBinding": "kubernetes_role_binding_v1",
    "ClusterRole": "kubernetes_cluster_role_v1",
    "ClusterRoleBinding": "kubernetes_cluster_role_binding_v1",
}


class Expression(str):
    """Something that is HCL already: a reference."""

    __slots__ = ()


class Block(dict[str, Any]):
    """Attributes by name; a Block among them is a block."""


def quoted(value: str) -> str:
    """The value as a quoted template; the signs that begin one are escaped.

    They may be doubled, too: but after another sign that is read in two ways, and some parsers want a closing brace.
    """
    written = "".join(_escaped(char) for char in value)
    return '"' + _TEMPLATE.sub(lambda found: "".join(f"\\u{ord(sign):04x}" for sign in found[0]), written) + '"'


def _escaped(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isascii() and char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= _BMP else f"\\U{code:08x}"


def trust(statement: Mapping[str, Any], role_name: str) -> str:
    """A role with a trust policy of this statement."""
    policy = _document("trust", _statement(statement))
    role = Block(name=role_name, assume_role_policy=Expression("data.aws_iam_policy_document.trust.json"))
    return f"# keep the statements that the trust policy has already\n{policy}\n\n{_resource('aws_iam_role', role)}"


def identity_policy(statement: Mapping[str, Any], kind: str, name: str) -> str:
    """An inline policy of a role or user; ``kind`` says which."""
    document = _document("assume", _statement(statement))
    attached = Block({"name": "assume-cluster-role", kind: name})
    attached["policy"] = Expression("data.aws_iam_policy_document.assume.json")
    return f"{document}\n\n{_resource(f'aws_iam_{kind}_policy', attached)}"


def access_entry(cluster_name: str, principal_arn: str, policy_arn: str, namespace: str) -> str:
    """An access entry, and a policy on one namespace."""
    return f"{entry(cluster_name, principal_arn)}\n\n{policy(cluster_name, principal_arn, policy_arn, namespace)}"


def entry(cluster_name: str, principal_arn: str, username: str = "", groups: Sequence[str] = ()) -> str:
    """An access entry alone; without a user name of its own EKS gives it one."""
    body = Block(cluster_name=cluster_name, principal_arn=principal_arn, type="STANDARD")
    if username:
        body["user_name"] = username
    if groups:
        body["kubernetes_groups"] = list(groups)
    return _resource("aws_eks_access_entry", body)


def rbac(objects: Sequence[Mapping[str, Any]]) -> str:
    """Roles and their bindings, as Kubernetes' own objects have them."""
    return "\n\n".join(_resource(_KINDS[made["kind"]], _rbac_body(made)) for made in objects)


def _rbac_body(made: Mapping[str, Any]) -> Block:
    body = Block(metadata=Block(made["metadata"]))
    if "rules" in made:
        names = {"apiGroups": "api_groups", "resources": "resources", "verbs": "verbs"}
        body["rule"] = [Block({names[name]: values for name, values in rule.items()}) for rule in made["rules"]]
        return body
    body["role_ref"] = _reference(made["roleRef"])
    body["subject"] = [_reference(subject) for subject in made["subjects"]]
    return body


def _reference(to: Mapping[str, str]) -> Block:
    return Block({"api_group" if name == "apiGroup" else name: value for name, value in to.items()})


def remade_entry(cluster_name: str, principal_arn: str) -> str:
    """An access entry that is there, and has to be made again."""
    how = f"terraform apply -replace=aws_eks_access_entry.{_LABEL}, and of its policy associations too"
    return f"# {how}\n{entry(cluster_name, principal_arn)}"


def policy(cluster_name: str, principal_arn: str, policy_arn: str, namespace: str | None) -> str:
    """An access policy on an entry that is there, on one namespace; None: on the whole cluster."""
    scope = Block(type="namespace", namespaces=[namespace]) if namespace else Block(type="cluster")
    body = Block(cluster_name=cluster_name, principal_arn=principal_arn, policy_arn=policy_arn, access_scope=scope)
    return _resource("aws_eks_access_policy_association", body)


def authentication_mode(mode: str) -> str:
    """The part of ``aws_eks_cluster`` that says which stores of users count."""
    return "# in the resource aws_eks_cluster\n" + "\n".join(
        _lines(Block(access_config=Block(authentication_mode=mode)))
    )


def _document(name: str, statement: Block) -> str:
    return "\n".join((f'data "aws_iam_policy_document" "{name}" {{', *_lines(Block(statement=statement), 1), "}"))


def _resource(kind: str, body: Block) -> str:
    return "\n".join((f'resource "{kind}" "{_LABEL}" {{', *_lines(body, 1), "}"))


def _statement(statement: Mapping[str, Any]) -> Block:
    """An IAM statement as ``aws_iam_policy_document`` has it."""
    body = Block(actions=_many(statement["Action"]))
    if "Resource" in statement:
        body["resources"] = _many(statement["Resource"])
    for kind, principals in statement.get("Principal", {}).items():
        body["principals"] = Block(type=kind, identifiers=_many(principals))
    conditions = [
        Block(test=test, variable=variable, values=_many(values))
        for test, keys in statement.get("Condition", {}).items()
        for variable, values in keys.items()
    ]
    if conditions:
        body["condition"] = conditions
    return body


def _many(value: Any) -> list[str]:  # noqa: ANN401 - IAM's JSON: one or several
    return [value] if isinstance(value, str) else list(value)


def _lines(body: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    blank = "  " * depth
    width = max((len(name) for name, value in body.items() if isinstance(value, str | list) and not _blocks(value)),
                default=0)  # fmt: skip
    for name, value in body.items():
        for block in _blocks(value):
            yield f"{blank}{name} {{"
            yield from _lines(block, depth + 1)
            yield f"{blank}}}"
        if not _blocks(value):
            yield f"{blank}{name:<{width}} = {_value(value)}"


def _blocks(value: Any) -> list[Block]:  # noqa: ANN401 - as in a body
    if isinstance(value, Block):
        return [value]
    return value if isinstance(value, list) and value and isinstance(value[0], Block) else []


def _value(value: str | list[str]) -> str:
    if isinstance(value, Expression):
        return str(value)
    return quoted(value) if isinstance(value, str) else f"[{', '.join(map(quoted, value))}]"
