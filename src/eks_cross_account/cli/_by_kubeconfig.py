"""``permissions`` at any cluster: by a kubeconfig, or as the ServiceAccount of the pod that this runs in.

The client of the package kubernetes reads both; an exec plugin that a kubeconfig names is started by it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from eks_cross_account._printable import printable, printable_message, without_secrets
from eks_cross_account.cli._main import UsageError
from eks_cross_account.diagnosis._any_cluster import judge_rights

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from eks_cross_account.diagnosis._permission_probes import Wanted
    from eks_cross_account.diagnosis.report import Report

_CORE = "/api/v1/"


def report(options: argparse.Namespace, wanted: Wanted) -> Report:
    """Who one is there, and what one may do. UsageError where the configuration cannot be used."""
    try:
        from kubernetes import client, config  # noqa: PLC0415 - an extra
        from kubernetes.config import ConfigException  # noqa: PLC0415 - as above
        from yaml import YAMLError  # type: ignore[import-untyped] # noqa: PLC0415 - comes with the client
    except ImportError:
        raise UsageError(
            "--kubeconfig, --context and --in-cluster need the extra kubernetes: "
            'pip install "eks-cross-account[kubernetes]"'
        ) from None
    configuration: Any = client.Configuration()
    load: Any = config.load_incluster_config if options.in_cluster else config.load_kube_config
    chosen = {} if options.in_cluster else {"config_file": options.kubeconfig, "context": options.context}
    try:
        load(client_configuration=configuration, **chosen)
    except (ConfigException, OSError) as error:
        shown = printable_message(without_secrets(str(error)))
        raise UsageError(f"this configuration cannot be used: {shown}") from None
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # YAML of other shapes; not in its own words, which quote the file, and a kubeconfig holds tokens
        raise UsageError(f"this configuration cannot be used: it is no kubeconfig ({type(error).__name__})") from None
    name = options.context or ("in-cluster" if options.in_cluster else "the current context")
    configuration.retries = False
    with client.ApiClient(configuration) as api:
        return judge_rights(name, wanted, _Asker(client, api, options.timeout).ask, timeout=options.timeout)


class _Asker:
    """Asks as ``diagnosis`` does, by calls that every release of the client has."""

    def __init__(self, package: Any, api: Any, timeout: float) -> None:  # noqa: ANN401 - kubernetes has no types
        self._error: Any = package.ApiException
        self._core: Any = package.CoreV1Api(api)
        self._objects: Any = package.CustomObjectsApi(api)
        self._api = api
        self._timeout = timeout / 4

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[int, dict[str, Any]]:
        """Status and document; 0 and why, where no Kubernetes answered."""
        try:
            document = self._api.sanitize_for_serialization(self._called(method, path, body))
        except self._error as error:
            return self._refused(error)
        except Exception as error:  # noqa: BLE001 - urllib3's, and what the client makes of an answer that is none
            return 0, {"message": f"no answer from {printable(self._api.configuration.host)}: {type(error).__name__}"}
        return 200, document if isinstance(document, dict) else {}

    def _refused(self, error: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 - the client's ApiException
        try:
            document = json.loads(error.body or "")
        except (ValueError, TypeError, RecursionError):
            document = None
        if error.status and isinstance(document, dict):
            return int(error.status), document
        return int(error.status or 0), {"message": printable_message(str(error.reason))}

    def _called(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:  # noqa: ANN401 - a model or a dict
        limit = {"_request_timeout": self._timeout}
        if path.startswith(_CORE):
            parts = path.removeprefix(_CORE).partition("?")[0].split("/")
            if method == "POST":
                return self._core.create_namespaced_pod(parts[1], body, dry_run="All", **limit)
            return self._core.read_namespace(parts[1], **limit) if parts[1:] else self._core.list_namespace(**limit)
        group, version, *rest = path.removeprefix("/apis/").split("/")
        if method == "POST":
            return self._objects.create_cluster_custom_object(group, version, rest[0], body, **limit)
        if rest[0] == "namespaces":
            return self._objects.list_namespaced_custom_object(group, version, rest[1], rest[2], **limit)
        return self._objects.list_cluster_custom_object(group, version, rest[0], **limit)
