"""Patches of a pod, as far as a pod may be changed: its labels and annotations. Touches nothing."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from eks_cross_account.sandbox import _shapes, _status

JSON_PATCH = "application/json-patch+json"
_MERGED = ("application/merge-patch+json", "application/strategic-merge-patch+json")
_UNREADABLE = "error decoding patch: json: cannot unmarshal"
_MAY_CHANGE = {"labels", "annotations", "finalizers", "ownerReferences"}
_FIXED = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
    "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def patched(document: dict[str, Any], patch: Any, content_type: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """The object with the patch on it. Raises ApiError for one that cannot be read, or makes what is no pod."""
    after = _applied(document, patch, content_type)
    name = document["metadata"]["name"]
    if after.get("metadata") is None:
        raise _status.bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    try:
        read: dict[str, Any] = _shapes.read(after, _shapes.POD)
    except _status.ApiError as error:
        shown = f"Invalid value: {json.dumps(json.dumps(patch))}: {error.document['message']}"
        raise _status.invalid("", ("FieldValueInvalid", "patch", shown), kind="") from None
    return read


def _applied(document: dict[str, Any], patch: Any, content_type: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
    if content_type == JSON_PATCH and isinstance(patch, list):
        after = deepcopy(document)
        for step in patch:
            _step(after, step)
        return after
    if content_type in _MERGED and isinstance(patch, dict):
        return dict(_merged(document, patch))
    if content_type == JSON_PATCH:
        raise _status.bad_request(f"{_UNREADABLE} object into Go value of type []handlers.jsonPatchOp")
    if content_type in _MERGED:
        raise _status.bad_request(f"{_UNREADABLE} array into Go value of type map[string]interface {{}}")
    raise _status.unsupported_media_type()


def checked(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The metadata to store. Raises ApiError where the patch changes what must stay (a change of status is ignored)."""
    name = before["metadata"]["name"]
    if after.get("spec") != before["spec"]:
        raise _status.invalid(name, ("FieldValueForbidden", "spec", _FIXED))
    was, became = dict(before["metadata"]), dict(after.get("metadata", {}))
    version = became.pop("resourceVersion", None)
    if version not in (None, was.pop("resourceVersion")):
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise _status.conflict("pods", name, why)
    for field in set(was) | set(became):
        if field not in _MAY_CHANGE and was.get(field) != became.get(field):
            shown = json.dumps(became.get(field))
            cause = ("FieldValueInvalid", f"metadata.{field}", f"Invalid value: {shown}: field is immutable")
            raise _status.invalid(name, cause, cause)  # a real server names it twice
    return {field: value for field, value in became.items() if value or field not in _MAY_CHANGE}


def _merged(target: Any, patch: Any) -> Any:  # noqa: ANN401 - JSON
    """RFC 7396; on labels and annotations a strategic merge is the same."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    result: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result


def _step(document: dict[str, Any], step: Any) -> None:  # noqa: ANN401 - JSON
    """Carry out one operation of RFC 6902: add, replace, remove or test of a member. Raises ApiError."""
    try:
        holds = _operate(document, step)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        holds = False
    if not holds:
        raise _status.ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _operate(document: Any, step: Any) -> bool:  # noqa: ANN401 - JSON
    operation, path = step["op"], step["path"]
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    target = document
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    there = last in target
    if operation == "add" or (operation == "replace" and there):
        target[last] = step["value"]
    elif operation == "remove":
        del target[last]
    elif operation == "test":
        return bool(target[last] == step["value"])
    return operation in {"add", "remove"} or there
