"""STS, EKS and the one action of IAM that the sandbox answers: a request in, AWS's answer out. Touches no socket.

Codes and sentences are AWS's. What is not here answers as an action that does not exist, never with a success.
"""

from __future__ import annotations

import json
import re
import uuid
from base64 import urlsafe_b64decode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from eks_cross_account import endpoints
from eks_cross_account.sandbox import _policy, _sigv4
from eks_cross_account.sandbox._sigv4 import AwsError, Received
from eks_cross_account.sandbox._world import AccessEntry, EksCluster, Key, Principal, Role, World, default_life

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

_STS_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_IAM_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
_SESSION_NAME = re.compile(r"[\w+=,.@-]*", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]*", re.ASCII)
_SESSION_NAME_LENGTH = (2, 64)
_SHORTEST, _LONGEST = 900, 43_200
_PAGE = 100
_MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")
_IAM_PRINCIPAL = re.compile(r"arn:[a-z-]+:iam::\d{12}:(?:role|user)/.+|arn:[a-z-]+:iam::\d{12}:root")
ACCESS_POLICIES = (
    "AmazonEKSAdminPolicy",
    "AmazonEKSAdminViewPolicy",
    "AmazonEKSClusterAdminPolicy",
    "AmazonEKSEditPolicy",
    "AmazonEKSViewPolicy",
)


@dataclass(frozen=True)
class Answer:
    """What goes back. ``code``: AWS's error code, "" for a success; ``operation``: such as ``sts:AssumeRole``."""

    status: int
    content_type: str
    body: bytes
    operation: str
    caller: Principal | None = None
    access_key_id: str = ""
    code: str = ""


@dataclass(frozen=True)
class Call:
    """A request whose signature held (``key`` None: an action that needs none)."""

    received: Received
    parameters: Mapping[str, str]
    key: Key | None
    region: str
    now: datetime

    @property
    def caller(self) -> Principal:
        """Who signed. Raises AwsError for nobody."""
        if self.key is None:
            raise AwsError(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
        return self.key.principal


def operation_of(service: str, request: Received) -> str:
    """The name that faults and records use, such as ``sts:AssumeRole`` or ``eks:DescribeCluster``."""
    if service == "eks":
        route = _route(request)
        return "eks:" + (route[0] if route else "Unknown")
    return f"{service}:{request.parameters().get('Action', 'Unknown')[:60]}"


class Aws:
    """The services over one world. ``token_bytes``: the length of the session tokens it hands out."""

    def __init__(self, world: World, *, token_bytes: int) -> None:
        self._world = world
        self.token_bytes = token_bytes

    def answer(self, service: str, request: Received, *, region: str | None, now: datetime) -> Answer:
        """Carry out the request. ``region``: the one that the host name stands for, None where any is right."""
        operation = operation_of(service, request)
        key: Key | None = None
        try:
            key, signed_region = self._authenticate(service, request, operation, region, now)
            call = Call(request, request.parameters(), key, signed_region, now)
            answer = self._carry_out(service, operation, call)
        except AwsError as error:
            content_type, body = refusal(service, request.header("accept"), error)
            answer = Answer(error.status, content_type, body, operation, code=error.code)
        shown = key.access_key_id if key else ""
        return replace(answer, caller=key.principal if key else None, access_key_id=shown)

    def _authenticate(
        self, service: str, request: Received, operation: str, region: str | None, now: datetime
    ) -> tuple[Key | None, str]:
        if operation in {"sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithSAML"}:
            return None, region or ""
        made = _sigv4.claim(request)
        if made.service != service:
            raise AwsError(
                403, "SignatureDoesNotMatch", f"Credential should be scoped to correct service: '{service}'. "
            )
        key = self._world.keys.get(made.access_key_id)
        if key is None or key.revoked or key.session_token != made.session_token:
            raise AwsError(403, _unknown_key(service), "The security token included in the request is invalid.")
        _sigv4.verify(request, made, key.secret_key, now=now, region=region)
        if key.expiration is not None and now >= key.expiration:
            raise AwsError(403, _expired(service), "The security token included in the request is expired")
        return key, made.region

    def _carry_out(self, service: str, operation: str, call: Call) -> Answer:
        if service == "eks":
            return self._eks(operation, call)
        actions: dict[str, Callable[[Call], dict[str, Any]]] = {
            "sts:AssumeRole": self._assume_role,
            "sts:AssumeRoleWithWebIdentity": self._assume_role_with_web_identity,
            "sts:AssumeRoleWithSAML": self._assume_role_with_saml,
            "sts:GetCallerIdentity": self._get_caller_identity,
            "iam:GetRole": self._get_role,
        }
        action = actions.get(operation)
        if action is None:
            raise AwsError(400, "InvalidAction", f"Could not find operation {operation.partition(':')[2]} for version "
                           f"{call.parameters.get('Version', 'NO_VERSION_SPECIFIED')[:20]}")  # fmt: skip
        return _success(service, call.received, operation, action(call))

    # --- STS

    @staticmethod
    def _get_caller_identity(call: Call) -> dict[str, Any]:
        caller = call.caller
        return {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account}

    def _assume_role(self, call: Call) -> dict[str, Any]:
        asked = call.parameters
        arn, name = asked.get("RoleArn", ""), asked.get("RoleSessionName", "")
        _validate_session(asked)
        caller = call.caller
        if caller.base_arn.endswith(":root"):
            raise AwsError(403, "AccessDenied", "Roles may not be assumed by root accounts.")
        further = {"sts:TagSession": "Tags.member.1.Key", "sts:SetSourceIdentity": "SourceIdentity"}
        context = {"aws:principalarn": caller.base_arn, "aws:principalaccount": caller.account}
        if "ExternalId" in asked:
            context["sts:externalid"] = asked["ExternalId"]
        role = self._assumable(caller, "sts:AssumeRole", arn, context)
        for action in (action for action, parameter in further.items() if parameter in asked):
            self._assumable(caller, action, arn, context)
        return self._session(role, name, asked, call, chained=caller.is_session)

    def _assumable(self, caller: Principal, action: str, arn: str, context: Mapping[str, str]) -> Role:
        def refuse(why: str) -> AwsError:
            text = f"User: {caller.arn} is not authorized to perform: {action} on resource: {arn[:200]}{why}"
            return AwsError(403, "AccessDenied", text)

        role = self._world.roles.get(arn)
        if self._world.denies(caller, action):
            raise refuse(" with an explicit deny in an identity-based policy")
        trusted = role is not None and _policy.decide(
            role.trust,
            action,
            is_principal=lambda principal: self._world.is_principal(caller, role, principal),
            context=context,
        )
        if role is None or not trusted:
            raise refuse(f" because no resource-based policy allows the {action} action")
        named = caller.unique_id in role.trusted_ids.values() and caller.account == role.account
        if not named and not self._world.allowed(caller, action):
            raise refuse(f" because no identity-based policy allows the {action} action")
        return role

    def _assume_role_with_web_identity(self, call: Call) -> dict[str, Any]:
        asked = call.parameters
        _validate_session(asked)
        claims = _claims(asked.get("WebIdentityToken", ""))
        issuer = str(claims.get("iss", "")).removeprefix("https://")
        context = {f"{issuer}:{name}".lower(): str(claims[name]) for name in ("sub", "aud") if name in claims}
        role = self._federated(asked, "sts:AssumeRoleWithWebIdentity", issuer, context)
        answer = self._session(role, asked.get("RoleSessionName", ""), asked, call, chained=False)
        return {"SubjectFromWebIdentityToken": str(claims.get("sub", "")), **answer}

    def _assume_role_with_saml(self, call: Call) -> dict[str, Any]:
        asked = call.parameters
        if not asked.get("SAMLAssertion") or not asked.get("PrincipalArn"):
            raise AwsError(400, "ValidationError", "1 validation error detected: Value null at 'sAMLAssertion' failed "
                           "to satisfy constraint: Member must not be null")  # fmt: skip
        role = self._federated(asked, "sts:AssumeRoleWithSAML", asked["PrincipalArn"], {})
        return self._session(role, "saml-session", asked, call, chained=False)

    def _federated(self, asked: Mapping[str, str], action: str, provider: str, context: Mapping[str, str]) -> Role:
        role = self._world.roles.get(asked.get("RoleArn", ""))
        if role is None or not _policy.decide(
            role.trust,
            action,
            is_principal=lambda principal: principal == provider or principal.endswith(f":oidc-provider/{provider}"),
            context=context,
        ):
            raise AwsError(403, "AccessDenied", f"Not authorized to perform {action}")
        return role

    def _session(self, role: Role, name: str, asked: Mapping[str, str], call: Call, *, chained: bool) -> dict[str, Any]:
        seconds = int(asked["DurationSeconds"]) if "DurationSeconds" in asked else None
        life = default_life(role, seconds, chained=chained)
        if asked.get("Policy") is not None and not _is_json(asked["Policy"]):
            raise AwsError(400, "MalformedPolicyDocument", "This policy contains invalid Json")
        expiration = call.now.replace(microsecond=0) + life
        key = self._world.issue_session(role, name, expiration=expiration, token_bytes=self.token_bytes)
        return {
            "AssumedRoleUser": {"AssumedRoleId": key.principal.user_id, "Arn": key.principal.arn},
            "Credentials": {
                "AccessKeyId": key.access_key_id,
                "SecretAccessKey": key.secret_key,
                "SessionToken": key.session_token,
                "Expiration": _iso(expiration),
            },
            **({"SourceIdentity": asked["SourceIdentity"]} if "SourceIdentity" in asked else {}),
        }

    # --- IAM

    def _get_role(self, call: Call) -> dict[str, Any]:
        name = call.parameters.get("RoleName", "")
        caller = call.caller
        found = [r for r in self._world.roles.values() if (r.account, r.name) == (caller.account, name)]
        resource = found[0].arn if found else f"arn:aws:iam::{caller.account}:role/{name[:64]}"
        if not self._world.allowed(caller, "iam:GetRole"):
            text = f"User: {caller.arn} is not authorized to perform: iam:GetRole on resource: role {resource}"
            raise AwsError(
                403, "AccessDenied", f"{text} because no identity-based policy allows the iam:GetRole action"
            )
        if not found:
            raise AwsError(404, "NoSuchEntity", f"The role with name {name[:64]} cannot be found.")
        role = found[0]
        return {
            "Role": {
                "Path": role.path,
                "RoleName": role.name,
                "RoleId": role.unique_id,
                "Arn": role.arn,
                "CreateDate": _iso(role.created),
                "AssumeRolePolicyDocument": quote(json.dumps(role.trust)),
                "MaxSessionDuration": int(role.max_session.total_seconds()),
            }
        }

    # --- EKS

    def _eks(self, operation: str, call: Call) -> Answer:
        route = _route(call.received)
        if route is None:
            raise AwsError(404, "UnknownOperationException", "")
        action, arguments = route
        body = _body(call.received)
        cluster_name = arguments.get("cluster", "")
        partition = call.caller.base_arn.split(":")[1]
        resource = f"arn:{partition}:eks:{call.region}:{call.caller.account}:cluster/{cluster_name or '*'}"
        if not self._world.allowed(call.caller, operation):
            text = f"User: {call.caller.arn} is not authorized to perform: {operation} on resource: {resource}"
            raise AwsError(403, "AccessDeniedException", text)
        if action in {"ListClusters", "ListAccessPolicies"}:
            return _json_answer(operation, self._listing(action, call))
        cluster = self._world.cluster(call.caller.account, call.region, cluster_name)
        handlers: dict[str, Callable[..., dict[str, Any]]] = {
            "DescribeCluster": _describe_cluster,
            "UpdateClusterConfig": _update_cluster_config,
            "ListAccessEntries": _list_access_entries,
            "CreateAccessEntry": self._create_access_entry,
            "DescribeAccessEntry": _describe_access_entry,
            "UpdateAccessEntry": _update_access_entry,
            "DeleteAccessEntry": _delete_access_entry,
            "AssociateAccessPolicy": _associate_access_policy,
            "ListAssociatedAccessPolicies": _list_associated_access_policies,
            "DisassociateAccessPolicy": _disassociate_access_policy,
        }
        if "Access" in action and cluster.authentication_mode == "CONFIG_MAP":
            raise AwsError(400, "InvalidRequestException", "The cluster's authentication mode must be set to one of "
                           "[API, API_AND_CONFIG_MAP] to perform this operation.")  # fmt: skip
        return _json_answer(operation, handlers[action](cluster, arguments, body, call))

    def _listing(self, action: str, call: Call) -> dict[str, Any]:
        if action == "ListAccessPolicies":
            return {
                "accessPolicies": [{"name": name, "arn": policy_arn(name, call.region)} for name in ACCESS_POLICIES]
            }
        here = (call.caller.account, call.region)
        return {"clusters": sorted(name for account, region, name in self._world.clusters if (account, region) == here)}

    def _create_access_entry(
        self, cluster: EksCluster, _: Mapping[str, str], body: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        arn = str(body.get("principalArn", ""))
        if _IAM_PRINCIPAL.fullmatch(arn) is None:
            raise _invalid("The principalArn parameter format is not valid")
        if "/aws-service-role/" in arn:
            raise _invalid("The caller is not allowed to modify access entries with a principalArn value of a Service "
                           "Linked Role")  # fmt: skip
        unique_id = self._world.principal_exists(arn)
        if unique_id is None:
            raise _invalid("The specified principalArn is invalid: invalid principal.")
        if arn in cluster.entries:
            raise AwsError(409, "ResourceInUseException", "The specified access entry resource is already in use on "
                           "this cluster.")  # fmt: skip
        groups = tuple(body.get("kubernetesGroups") or ())
        _check_names(body.get("username"), groups)
        entry_type = str(body.get("type") or "STANDARD")
        username = body.get("username") or default_username(arn, entry_type)
        entry = AccessEntry(arn, unique_id, username, groups, entry_type, call.now, call.now)
        cluster.entries[arn] = entry
        return {"accessEntry": _entry(cluster, entry)}


def default_username(arn: str, entry_type: str = "STANDARD") -> str:
    """The user name that EKS gives an entry without one: a template for roles and for nodes, the ARN for users."""
    if entry_type != "STANDARD":
        return "system:node:{{EC2PrivateDNSName}}"
    if ":role/" not in arn:
        return arn
    partition, account, name = arn.split(":")[1], arn.split(":")[4], arn.rsplit("/", 1)[1]
    return f"arn:{partition}:sts::{account}:assumed-role/{name}/{{{{SessionName}}}}"


# --- EKS actions that need the cluster alone: (cluster, path arguments, body, call) -> the answer's JSON


def _describe_cluster(cluster: EksCluster, *_: Any) -> dict[str, Any]:  # noqa: ANN401 - as every handler
    return {
        "cluster": {
            "name": cluster.name,
            "arn": cluster.arn,
            "createdAt": cluster.created.timestamp(),
            "version": cluster.version,
            "endpoint": cluster.endpoint,
            "status": "ACTIVE",
            "certificateAuthority": {"data": cluster.certificate_authority},
            "platformVersion": "eks.1",
            "resourcesVpcConfig": {
                "vpcId": "vpc-0123456789abcdef0",
                "endpointPublicAccess": True,
                "endpointPrivateAccess": False,
                "publicAccessCidrs": ["0.0.0.0/0"],
            },
            "accessConfig": {"authenticationMode": cluster.authentication_mode},
            "tags": {},
        }
    }


def _update_cluster_config(
    cluster: EksCluster, _: Mapping[str, str], body: Mapping[str, Any], call: Call
) -> dict[str, Any]:
    mode = (body.get("accessConfig") or {}).get("authenticationMode")
    if mode not in _MODES:
        raise _invalid("The sandbox updates accessConfig.authenticationMode and nothing else")
    if mode == cluster.authentication_mode:
        raise _invalid("Unsupported authentication mode update: the cluster has it already")
    if _MODES.index(mode) < _MODES.index(cluster.authentication_mode):
        raise _invalid(f"Unsupported authentication mode update from {cluster.authentication_mode} to {mode}")
    cluster.authentication_mode = mode
    update = {"id": str(uuid.uuid4()), "status": "InProgress", "type": "AccessConfigUpdate", "params": []}
    return {"update": {**update, "createdAt": call.now.timestamp(), "errors": []}}


def _list_access_entries(cluster: EksCluster, _: Mapping[str, str], __: Any, call: Call) -> dict[str, Any]:  # noqa: ANN401
    wanted = call.parameters.get("associatedPolicyArn")
    found = [arn for arn, entry in sorted(cluster.entries.items()) if wanted is None or wanted in entry.policies]
    return _page("accessEntries", found, call)


def _describe_access_entry(cluster: EksCluster, arguments: Mapping[str, str], *_: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"accessEntry": _entry(cluster, _found(cluster, arguments))}


def _update_access_entry(
    cluster: EksCluster, arguments: Mapping[str, str], body: Mapping[str, Any], call: Call
) -> dict[str, Any]:
    entry = _found(cluster, arguments)
    groups = tuple(body["kubernetesGroups"]) if "kubernetesGroups" in body else entry.groups
    _check_names(body.get("username"), groups)
    entry.groups, entry.modified = groups, call.now
    entry.username = body.get("username") or entry.username
    return {"accessEntry": _entry(cluster, entry)}


def _delete_access_entry(cluster: EksCluster, arguments: Mapping[str, str], *_: Any) -> dict[str, Any]:  # noqa: ANN401
    del cluster.entries[_found(cluster, arguments).principal_arn]
    return {}


def _associate_access_policy(
    cluster: EksCluster, arguments: Mapping[str, str], body: Mapping[str, Any], call: Call
) -> dict[str, Any]:
    entry = _found(cluster, arguments)
    arn, scope = str(body.get("policyArn", "")), dict(body.get("accessScope") or {})
    if arn not in {policy_arn(name, cluster.region) for name in ACCESS_POLICIES}:
        raise _invalid("The policyArn parameter format is not valid")
    if scope.get("type") not in {"cluster", "namespace"} or (scope["type"] == "namespace") != bool(
        scope.get("namespaces")
    ):
        raise _invalid("The accessScope is not valid: namespaces belong to type namespace, and only to it")
    entry.policies[arn] = associated_policy(arn, scope, call.now)
    answer = {"clusterName": cluster.name, "principalArn": entry.principal_arn}
    return {**answer, "associatedAccessPolicy": entry.policies[arn]}


def policy_arn(name: str, region: str) -> str:
    """The ARN of an access policy, with the region's partition."""
    return f"arn:{endpoints.partition_of(region)}:eks::aws:cluster-access-policy/{name}"


def associated_policy(arn: str, scope: dict[str, Any], now: datetime) -> dict[str, Any]:
    """An association as EKS lists it."""
    moment = now.timestamp()
    return {"policyArn": arn, "accessScope": scope, "associatedAt": moment, "modifiedAt": moment}


def _list_associated_access_policies(
    cluster: EksCluster,
    arguments: Mapping[str, str],
    _: Any,  # noqa: ANN401 - as every handler
    call: Call,
) -> dict[str, Any]:
    entry = _found(cluster, arguments)
    page = _page("associatedAccessPolicies", list(entry.policies.values()), call)
    return {"clusterName": cluster.name, "principalArn": entry.principal_arn, **page}


def _disassociate_access_policy(cluster: EksCluster, arguments: Mapping[str, str], *_: Any) -> dict[str, Any]:  # noqa: ANN401
    entry = _found(cluster, arguments)
    if entry.policies.pop(arguments["policy"], None) is None:
        raise AwsError(404, "ResourceNotFoundException", "The specified policyArn could not be found.")
    return {}


_ENTRIES = r"/clusters/(?P<cluster>[^/]+)/access-entries"
_ROUTES = tuple(
    (method, re.compile(pattern), action)
    for method, pattern, action in (
        ("GET", r"/clusters", "ListClusters"),
        ("GET", r"/clusters/(?P<cluster>[^/]+)", "DescribeCluster"),
        ("POST", r"/clusters/(?P<cluster>[^/]+)/update-config", "UpdateClusterConfig"),
        ("GET", r"/access-policies", "ListAccessPolicies"),
        ("GET", _ENTRIES, "ListAccessEntries"),
        ("POST", _ENTRIES, "CreateAccessEntry"),
        ("GET", _ENTRIES + r"/(?P<principal>[^/]+)", "DescribeAccessEntry"),
        ("POST", _ENTRIES + r"/(?P<principal>[^/]+)", "UpdateAccessEntry"),
        ("DELETE", _ENTRIES + r"/(?P<principal>[^/]+)", "DeleteAccessEntry"),
        ("POST", _ENTRIES + r"/(?P<principal>[^/]+)/access-policies", "AssociateAccessPolicy"),
        ("GET", _ENTRIES + r"/(?P<principal>[^/]+)/access-policies", "ListAssociatedAccessPolicies"),
        (
            "DELETE",
            _ENTRIES + r"/(?P<principal>[^/]+)/access-policies/(?P<policy>[^/]+)",
            "DisassociateAccessPolicy",
        ),
    )
)


def _route(request: Received) -> tuple[str, dict[str, str]] | None:
    for method, pattern, action in _ROUTES:
        match = pattern.fullmatch(request.path) if method == request.method else None
        if match:
            return action, {name: unquote(value) for name, value in match.groupdict().items()}
    return None


def _found(cluster: EksCluster, arguments: Mapping[str, str]) -> AccessEntry:
    try:
        return cluster.entries[arguments["principal"]]
    except KeyError:
        raise AwsError(404, "ResourceNotFoundException", "The specified principalArn could not be found. You can view "
                       "your available access entries with 'list-access-entries'.") from None  # fmt: skip


def _entry(cluster: EksCluster, entry: AccessEntry) -> dict[str, Any]:
    kind, _, name = entry.principal_arn.split(":", 5)[5].partition("/")
    account = entry.principal_arn.split(":")[4]
    arn = cluster.arn.replace(f":cluster/{cluster.name}", f":access-entry/{cluster.name}/{kind}/{account}")
    return {
        "clusterName": cluster.name,
        "principalArn": entry.principal_arn,
        "kubernetesGroups": list(entry.groups),
        "accessEntryArn": f"{arn}/{name.rsplit('/', 1)[-1]}/{uuid.uuid5(uuid.NAMESPACE_URL, entry.principal_arn)}",
        "createdAt": entry.created.timestamp(),
        "modifiedAt": entry.modified.timestamp(),
        "tags": {},
        "username": entry.username,
        "type": entry.type,
    }


def _check_names(username: str | None, groups: tuple[str, ...]) -> None:
    if username is not None and username.startswith(("system:", "eks:", "aws:", "amazon:", "iam:")):
        raise _invalid(f"The username is invalid, it cannot start with {username.split(':')[0]}:")
    for group in groups:
        if group.startswith(("system:", "eks:", "aws:", "amazon:", "iam:")):
            prefix = group.split(":")[0]
            raise _invalid(f"The kubernetes group name {group} is invalid, it cannot start with {prefix}:")


def _page(name: str, items: list[Any], call: Call) -> dict[str, Any]:
    start = int(call.parameters.get("nextToken") or 0)
    size = min(int(call.parameters.get("maxResults") or _PAGE), _PAGE)
    more = {"nextToken": str(start + size)} if start + size < len(items) else {}
    return {name: items[start : start + size], **more}


def _body(request: Received) -> dict[str, Any]:
    if not request.body:
        return {}
    try:
        body = json.loads(request.body)
    except ValueError:
        raise AwsError(400, "SerializationException", "") from None
    return body if isinstance(body, dict) else {}


# --- validation and forms of answers


def _validate_session(asked: Mapping[str, str]) -> None:
    name = asked.get("RoleSessionName", "")
    shortest, longest = _SESSION_NAME_LENGTH
    if not shortest <= len(name) <= longest or not _SESSION_NAME.fullmatch(name):
        raise _constraint(name, "roleSessionName", r"Member must satisfy regular expression pattern: [\w+=,.@-]*")
    external_id = asked.get("ExternalId")
    if external_id is not None and (len(external_id) < shortest or not _EXTERNAL_ID.fullmatch(external_id)):
        raise _constraint(external_id, "externalId", r"Member must satisfy regular expression pattern: [\w+=,.@:\/-]*")
    duration = asked.get("DurationSeconds")
    if duration is not None and not (duration.isdigit() and int(duration) >= _SHORTEST):
        raise _constraint(duration, "durationSeconds", f"Member must have value greater than or equal to {_SHORTEST}")
    if duration is not None and int(duration) > _LONGEST:
        raise _constraint(duration, "durationSeconds", f"Member must have value less than or equal to {_LONGEST}")


def _constraint(value: str, member: str, constraint: str) -> AwsError:
    text = f"1 validation error detected: Value '{value[:70]}' at '{member}' failed to satisfy constraint: {constraint}"
    return AwsError(400, "ValidationError", text)


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT. Its signature is not looked at: the sandbox has no identity provider."""
    parts = token.split(".")
    try:
        payload = parts[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        claims = None
    if not isinstance(claims, dict):
        raise AwsError(400, "InvalidIdentityToken", "The ID Token provided is not a valid JWT. (You may see this error "
                       "if you sent an Access Token)")  # fmt: skip
    return claims


def _invalid(message: str) -> AwsError:
    return AwsError(400, "InvalidParameterException", message)


def _unknown_key(service: str) -> str:
    return "UnrecognizedClientException" if service == "eks" else "InvalidClientTokenId"


def _expired(service: str) -> str:
    return "ExpiredTokenException" if service == "eks" else "ExpiredToken"


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _json_answer(operation: str, document: dict[str, Any]) -> Answer:
    return Answer(200, "application/json", json.dumps(document).encode(), operation)


def _success(service: str, request: Received, operation: str, result: dict[str, Any]) -> Answer:
    name, request_id = operation.partition(":")[2], str(uuid.uuid4())
    if service == "sts" and "application/json" in request.header("accept"):
        document = {f"{name}Response": {f"{name}Result": result, "ResponseMetadata": {"RequestId": request_id}}}
        return _json_answer(operation, document)
    namespace = _STS_NAMESPACE if service == "sts" else _IAM_NAMESPACE
    text = (
        f'<{name}Response xmlns="{namespace}"><{name}Result>{_xml(result)}</{name}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    )
    return Answer(200, "text/xml", text.encode(), operation)


def refusal(service: str, accept: str, error: AwsError) -> tuple[str, bytes]:
    """Content type and body of AWS's error in the form that the service and the Accept header ask for."""
    if service == "eks":
        return "application/json", json.dumps({"message": error.message}).encode()
    fields = {"Type": "Sender", "Code": error.code, "Message": error.message}
    request_id = str(uuid.uuid4())
    if service == "sts" and "application/json" in accept:
        return "application/json", json.dumps({"Error": fields, "RequestId": request_id}).encode()
    namespace = _STS_NAMESPACE if service == "sts" else _IAM_NAMESPACE
    inner = f"<Error>{_xml(fields)}</Error><RequestId>{request_id}</RequestId>"
    return "text/xml", f'<ErrorResponse xmlns="{namespace}">{inner}</ErrorResponse>'.encode()


def _xml(fields: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_xml(value) if isinstance(value, dict) else escape(str(value))}</{name}>"
        for name, value in fields.items()
    )


def instance_credentials(key: Key, now: datetime) -> dict[str, Any]:
    """The document of the instance metadata service for a role session."""
    return {"Code": "Success", "LastUpdated": _iso(now), "Type": "AWS-HMAC", **container_credentials(key)}


def container_credentials(key: Key) -> dict[str, Any]:
    """The document of the container credentials endpoint for a role session."""
    return {
        "AccessKeyId": key.access_key_id,
        "SecretAccessKey": key.secret_key,
        "Token": key.session_token,
        "Expiration": _iso(key.expiration) if key.expiration else None,
    }
