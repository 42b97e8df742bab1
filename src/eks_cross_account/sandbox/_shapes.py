"""The types of the fields that the sandbox reads in what it is sent. Touches nothing.

As Go's decoder: a field of another type refuses the whole document, null is the zero value, fields that are not here
are left as they come.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from eks_cross_account.sandbox import _status

if TYPE_CHECKING:
    from collections.abc import Iterator

_ANY_NAME = "*"  # in the place of a field's name: a map
_STRINGS = {_ANY_NAME: str}
_CONTAINERS = [{"name": str, "image": str}]
# Go's names of a pod's structs, by the path to them: errors name the struct around a field, and the type of one
_STRUCTS = {
    "": "Pod",
    "metadata": "ObjectMeta",
    "metadata.ownerReferences": "OwnerReference",
    "spec": "PodSpec",
    "spec.containers": "Container",
    "spec.initContainers": "Container",
}
_INT64 = 2**63

POD: dict[str, Any] = {
    "metadata": {
        "name": str,
        "generateName": str,
        "namespace": str,
        "uid": str,
        "resourceVersion": str,
        "labels": _STRINGS,
        "annotations": _STRINGS,
        "finalizers": [str],
        "ownerReferences": [{"name": str, "uid": str}],
    },
    "spec": {"containers": _CONTAINERS, "initContainers": _CONTAINERS, "terminationGracePeriodSeconds": int},
}
DELETE_OPTIONS: dict[str, Any] = {"gracePeriodSeconds": int, "preconditions": {"uid": str}}
ACCESS_REVIEW: dict[str, Any] = {
    "spec": {
        "resourceAttributes": dict.fromkeys(("verb", "resource", "subresource", "group", "namespace", "name"), str),
        "nonResourceAttributes": {"verb": str, "path": str},
    }
}
ANYTHING: dict[str, Any] = {}


def read(document: Any, shape: Any, path: str = "") -> Any:  # noqa: ANN401 - JSON
    """The document as Go would hold it. Raises ApiError (400) for a field of another type."""
    if isinstance(shape, dict) and isinstance(document, dict):
        return dict(_fields(document, shape, path))
    if isinstance(shape, list) and isinstance(document, list):
        return [_zero(shape[0]) if item is None else read(item, shape[0], path) for item in document]
    if shape is str and isinstance(document, str):
        return document.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a surrogate pair: U+FFFD
    if shape is int and type(document) is int and -_INT64 <= document < _INT64:
        return document
    kind = kind_of(document)
    if shape is int and kind == "number":
        kind = f"number {json.dumps(document)}"
    raise _status.bad_request(f"json: cannot unmarshal {kind} into Go {_place(path)} of type {_type(shape, path)}")


def _fields(document: dict[str, Any], shape: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        inner = shape.get(_ANY_NAME) or shape.get(name)
        if inner is None:
            yield name, value
        elif value is not None:
            yield name, read(value, inner, path if _ANY_NAME in shape else f"{path}.{name}".lstrip("."))
        elif _ANY_NAME in shape:
            yield name, _zero(inner)


def _place(path: str) -> str:
    if not path:
        return "value"
    around = _STRUCTS.get(path.rpartition(".")[0])
    return f"struct field {around}.{path}" if around else f"struct field {path}"


def _zero(shape: Any) -> Any:  # noqa: ANN401 - JSON
    return {} if isinstance(shape, dict) else shape()


def kind_of(value: Any) -> str:  # noqa: ANN401 - JSON
    """As Go's decoder names it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _type(shape: Any, path: str) -> str:  # noqa: ANN401 - JSON
    if isinstance(shape, dict):
        struct = f"v1.{_STRUCTS[path]}" if path in _STRUCTS else "struct"
        return "map[string]string" if _ANY_NAME in shape else struct
    if isinstance(shape, list):
        return f"[]{_type(shape[0], path)}"
    return {str: "string", int: "int64"}[shape]
