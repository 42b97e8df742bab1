"""The answers of a Kubernetes API server that are no objects: a Status for each way to fail. Touches nothing.

Words and fields are those of k8s.io/apimachinery's ``api/errors`` and of the API server's ``responsewriters``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request asks for, as an authorizer sees it.

    ``resource``: with its subresource, ``pods/log``; "" for a path that is no resource. ``namespace``: "" for the
    cluster's scope.
    """

    verb: str
    resource: str = ""
    api_group: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def operation(self) -> str:
        """The name that faults and denials use: ``kubernetes:get pods/log``, ``kubernetes:get /version``."""
        return f"kubernetes:{self.verb} {self.resource or self.path}"


class ApiError(Exception):
    """An answer that is no success: the HTTP status and the Status document."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.document: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            **({"reason": reason} if reason else {}),
            **({} if details is None else {"details": details}),
            "code": code,
        }


class NoApiError(ApiError):
    """``404 page not found``, in plain text."""

    def __init__(self) -> None:
        super().__init__(404, "NotFound", "404 page not found")


def unauthorized() -> ApiError:
    """The one 401 there is: nobody authenticated the request, and no reason is given."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(asked: Attributes, username: str, reason: str = "") -> ApiError:
    """The authorizer's denial, in the grammar of responsewriters/errors.go."""
    because = f": {reason}" if reason else ""
    if not asked.resource:
        text = f'forbidden: User "{username}" cannot {asked.verb} path "{asked.path}"{because}'
        return ApiError(403, "Forbidden", text, {})
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    tail = f'User "{username}" cannot {asked.verb} resource "{asked.resource}" in API group "{asked.api_group}" {scope}'
    return refused(asked, tail + because)


def refused(asked: Attributes, tail: str) -> ApiError:
    """A 403 about an object: ``pods "p1" is forbidden: `` and the tail, which may be empty."""
    resource = asked.resource.partition("/")[0]
    grouped = f"{resource}.{asked.api_group}" if asked.api_group else resource
    head = f'{grouped} "{asked.name}" is forbidden: ' if asked.name else f"{grouped} is forbidden: "
    return ApiError(403, "Forbidden", head + tail, _details(asked.name, resource, asked.api_group))


def not_found(resource: str, name: str) -> ApiError:
    """No object of this name."""
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', _details(name, resource))


def no_such_resource() -> ApiError:
    """No API of this path: what a server says of a group or a resource that it does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def not_allowed() -> ApiError:
    """The resource is there, the method is not."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def already_exists(resource: str, name: str) -> ApiError:
    """The name is taken."""
    return ApiError(409, "AlreadyExists", f'{resource} "{name}" already exists', _details(name, resource))


def conflict(kind: str, name: str, why: str) -> ApiError:
    """A precondition does not hold. ``kind``: ``pods``, or ``Pod`` where the server checks before its storage does."""
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {kind} "{name}": {why}', _details(name, kind))


def bad_request(message: str) -> ApiError:
    """The request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def unsupported_media_type() -> ApiError:
    """The body is of a form that is not read here."""
    return ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def page_not_found() -> NoApiError:
    """No path, and no API group, of this name: the answer of the server's mux, which is no Status."""
    return NoApiError()


def invalid(name: str, *causes: tuple[str, str, str], kind: str = "Pod", api_group: str = "") -> ApiError:
    """An object that validation refuses; each cause is (reason, field, message). The text says each once."""
    told = list(dict.fromkeys(f"{field}: {message}" for _, field, message in causes))
    shown = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    listed = [{"reason": reason, "message": message, "field": field} for reason, field, message in causes]
    of = f"{kind}.{api_group}" if api_group else kind
    details = {key: value for key, value in _details(name, kind, api_group).items() if value}
    return ApiError(422, "Invalid", f'{of} "{name}" is invalid: {shown}', {**details, "causes": listed})


def internal(message: str) -> ApiError:
    """The server itself failed."""
    text = f"Internal error occurred: {message}"
    return ApiError(500, "InternalError", text, {"causes": [{"message": message}]})


def too_many_requests() -> ApiError:
    """The server is busy."""
    return ApiError(429, "TooManyRequests", "Too many requests, please try again later.", {"retryAfterSeconds": 1})


def _details(name: str, kind: str, api_group: str = "") -> dict[str, Any]:
    group = {"group": api_group} if api_group else {}
    return {**({"name": name} if name else {}), **group, "kind": kind}
