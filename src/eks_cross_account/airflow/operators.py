"""The operators: KubernetesPodOperator and whatever is built on it, authenticated in this process.

``CrossAccountEksMixin`` replaces the hook and, when a task is deferred, the trigger; all that the parent does with a
pod stays the parent's code, in every release of the provider. No parent method is copied, no parent argument listed.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from eks_cross_account.airflow._clients import EksKubernetesHook
from eks_cross_account.airflow._failures import EksFailure, http_status, links, named_failures
from eks_cross_account.airflow._seams import (
    EksPodOperator,
    KubernetesPodOperator,
    OnFinishAction,
)
from eks_cross_account.airflow._target import Target, target_of
from eks_cross_account.airflow.triggers import ours_instead_of

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable, Mapping, Sequence

    from eks_cross_account.airflow._connections import Access
    from eks_cross_account.credentials import RoleHop

_FORBIDDEN = 403
_FINISHED = {"Succeeded", "Failed"}
_EKS_ARGUMENTS: dict[str, str | None] = {"region": None, "aws_conn_id": "aws_default"}
_WRITES_KUBECONFIGS = ("execute", "trigger_reentry", "invoke_defer_method", "_refresh_cached_properties")
_INSTALLED = inspect.signature(EksPodOperator.__init__).parameters
_COSMOS_BASE = "DbtAwsEksBaseOperator"  # of cosmos, which is built on KubernetesPodOperator and writes kubeconfigs too
_COSMOS_WRITES = ("execute", "build_and_run_cmd")  # the first since 1.8, the second before


class _InProcess(EksPodOperator):  # type: ignore[misc] # Airflow has no types here
    """Stands before EksPodOperator in the method resolution order of an operator that is built on it.

    There it has, of the four methods in which EksPodOperator writes kubeconfigs and credentials, those of
    KubernetesPodOperator. An operator between, of your own, still runs with its ``super().execute(...)``.
    """

    for _name in _WRITES_KUBECONFIGS:
        if hasattr(KubernetesPodOperator, _name):
            locals()[_name] = getattr(KubernetesPodOperator, _name)
    del _name


def _instead_of_writers(operator: type) -> list[Any]:
    """The classes that have to stand before those of the operator's bases that write kubeconfigs."""
    found: list[Any] = []
    if issubclass(operator, EksPodOperator) and not issubclass(operator, _InProcess):
        found.append(_InProcess)
    cosmos = next((kind for kind in operator.__mro__ if kind.__name__ == _COSMOS_BASE), None)
    if cosmos is not None and not any(vars(kind).get("_passes_over") is cosmos for kind in operator.__mro__):
        found.append(_passing_over(cosmos, [name for name in _COSMOS_WRITES if name in vars(cosmos)]))
    return found


def _passing_over(writer: Any, names: Iterable[str]) -> Any:  # noqa: ANN401 - an operator class
    """A subclass whose methods of these names are those behind the writer."""

    def behind(name: str) -> Any:  # noqa: ANN401 - a method
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the method's
            return getattr(super(writer, self), name)(*args, **kwargs)

        return call

    methods = {name: behind(name) for name in names}
    return type(writer)(f"_InProcess{writer.__name__}", (writer,), {"_passes_over": writer, **methods})


class CrossAccountEksMixin(KubernetesPodOperator):  # type: ignore[misc] # as above
    """In front of KubernetesPodOperator or of an operator that is built on EksPodOperator, as the first base class.

    ``role_arn`` (with ``external_id`` and ``session_name``) or ``role_hops``: roles to assume after the connection's.
    ``role_hops``: a list of role ARNs, RoleHops or mappings of a RoleHop's fields. ``cluster_endpoint`` and
    ``cluster_ca`` (base64 of PEM, as EKS gives it): no DescribeCluster then. ``diagnose_on_failure``: a page in the log
    when authentication or authorization failed. All other arguments are those of the class behind.
    """

    cluster_name: str
    region: str | None
    aws_conn_id: str | None

    eks_template_fields: ClassVar[tuple[str, ...]] = (
        "cluster_name",
        "region",
        "aws_conn_id",
        "role_arn",
        "role_hops",
        "external_id",
        "session_name",
        "cluster_endpoint",
        "cluster_ca",
        "diagnose_on_failure",
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - a class's
        super().__init_subclass__(**kwargs)
        for before in _instead_of_writers(cls):
            cls.__bases__ = (*cls.__bases__, before)
        cls.template_fields = tuple(dict.fromkeys((*cls.template_fields, *cls.eks_template_fields)))

    def __init__(  # noqa: PLR0913 - how to get in
        self,
        *,
        role_arn: str | None = None,
        role_hops: Iterable[RoleHop | Mapping[str, Any] | str] | None = None,
        external_id: str | None = None,
        session_name: str | None = None,
        cluster_endpoint: str | None = None,
        cluster_ca: str | None = None,
        diagnose_on_failure: bool = True,
        **kwargs: Any,  # noqa: ANN401 - the parent's
    ) -> None:
        named = [name for name in ("cluster_name", *_EKS_ARGUMENTS) if name in kwargs]
        given = {name: kwargs.pop(name) for name in named if not _is_for_behind(self, name)}
        super().__init__(**kwargs)
        for name, value in given.items():
            setattr(self, name, value)
        for name, value in _EKS_ARGUMENTS.items():
            if not hasattr(self, name):
                setattr(self, name, value)
        if role_arn is not None and role_hops is not None:
            raise ValueError("role_arn and role_hops are two ways to say the same: give one")
        self.role_arn = role_arn
        self.role_hops = role_hops
        self.external_id = external_id
        self.session_name = session_name
        self.cluster_endpoint = cluster_endpoint
        self.cluster_ca = cluster_ca
        self.diagnose_on_failure = diagnose_on_failure
        self._left_running = ""

    # --- what replaces kubeconfig and exec plugin

    def eks_target(self) -> Target:
        """Cluster, connection and roles, as they are once templates are rendered."""
        return target_of(self)

    @cached_property
    def hook(self) -> EksKubernetesHook:
        """KubernetesHook with our client; asks nobody until the client is used."""
        return self._new_hook(None)

    def _new_hook(self, access: Access | None) -> EksKubernetesHook:
        return EksKubernetesHook(
            target=self.eks_target(), access=access, conn_id=self.kubernetes_conn_id, in_cluster=False
        )

    def convert_config_file_to_dict(self) -> None:
        """Nothing to convert: there is no kubeconfig, and one in KUBECONFIG is somebody else's."""
        self._config_dict = None

    def _refresh_cached_properties(self) -> None:
        """After a 401 that the client could not mend: a new client, the same way into the cluster."""
        access = self._access()
        for name in ("hook", "client", "pod_manager"):
            self.__dict__.pop(name, None)
        self.hook = self._new_hook(access)

    def _access(self) -> Access | None:
        hook = self.__dict__.get("hook")
        return hook.known_access if hook is not None else None

    def defer(self, *, trigger: Any, method_name: str, **kwargs: Any) -> Any:  # noqa: ANN401 - the parent's
        """Defer with our trigger, made of the parent's. Raises TypeError for a trigger class that is not known."""
        try:
            ours = ours_instead_of(trigger, self.eks_target())
        except TypeError:
            self.on_kill()  # nobody would watch the pod
            raise
        return super().defer(trigger=ours, method_name=method_name, **kwargs)

    # --- what a failure says

    def execute(self, context: Any) -> Any:  # noqa: ANN401 - Airflow's
        """As the parent; errors of authentication and authorization are named."""
        with self._named():
            return super().execute(context)

    def trigger_reentry(self, context: Any, event: dict[str, Any]) -> Any:  # noqa: ANN401 - as above
        """As the parent, after the trigger."""
        with self._named():
            return super().trigger_reentry(context, event)

    def execute_complete(self, context: Any, event: dict[str, Any], **kwargs: Any) -> Any:  # noqa: ANN401 - as above
        """As the parent, up to cncf-kubernetes 9."""
        with self._named():
            return super().execute_complete(context, event, **kwargs)

    def _named(self) -> contextlib.AbstractContextManager[None]:
        return named_failures(
            self.eks_target, self._access, diagnose=_is_on(self.diagnose_on_failure), pod=lambda: self._left_running
        )

    def cleanup(self, pod: Any, remote_pod: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the parent's
        """As the parent; but a pod that runs is not deleted because its log or its events may not be read."""
        if any(http_status(link) == _FORBIDDEN for link in links(sys.exc_info()[1] or EksFailure())) and self._runs(
            pod
        ):
            name = pod.metadata.name
            self._left_running = f"The pod is running and was NOT deleted: pod {name}"
            self.log.warning("%s", self._left_running)
            return
        super().cleanup(pod, remote_pod, *args, **kwargs)

    def _runs(self, pod: Any) -> bool:  # noqa: ANN401 - V1Pod
        """Whether its work goes on; a pod that cannot be read counts as running, one left to its sidecars does not."""
        if pod is None or pod.metadata is None:
            return False
        try:
            found = self.hook.get_pod(pod.metadata.name, pod.metadata.namespace)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is deleted for it
            return getattr(error, "status", None) != 404  # noqa: PLR2004 - HTTP: it is gone
        statuses = (found.status.container_statuses or ()) if found.status is not None else ()
        base = next((status.state for status in statuses if status.name == self.base_container_name), None)
        is_over = base is not None and base.terminated is not None
        return not is_over and (found.status is None or found.status.phase not in _FINISHED)


class CrossAccountEksPodOperator(CrossAccountEksMixin, KubernetesPodOperator):  # type: ignore[misc] # as above
    """EksPodOperator, which also works across accounts, deferred, for hours, and on a machine without a shell.

    The arguments are those of EksPodOperator in any release of the Amazon provider, with the defaults of the installed
    one, and those of ``CrossAccountEksMixin``. ``pod_context`` and ``pod_username`` have never had an effect.
    """

    template_fields: Sequence[str] = tuple(
        dict.fromkeys((*EksPodOperator.template_fields, *KubernetesPodOperator.template_fields))
    )

    def __init__(  # noqa: PLR0913 - EksPodOperator's arguments and ours
        self,
        *,
        cluster_name: str,
        in_cluster: bool = False,
        namespace: str = "default",
        pod_context: str | None = None,
        pod_name: str | None = None,
        pod_username: str | None = None,
        aws_conn_id: str | None = "aws_default",
        region: str | None = None,
        on_finish_action: str | None = None,
        is_delete_operator_pod: bool | None = None,
        role_arn: str | None = None,
        role_hops: Iterable[RoleHop | Mapping[str, Any] | str] | None = None,
        external_id: str | None = None,
        session_name: str | None = None,
        cluster_endpoint: str | None = None,
        cluster_ca: str | None = None,
        diagnose_on_failure: bool = True,
        **kwargs: Any,  # noqa: ANN401 - the parent's
    ) -> None:
        del pod_context, pod_username
        kwargs["on_finish_action"] = _on_finish(on_finish_action, is_delete_operator_pod)
        if "trigger_kwargs" in inspect.signature(KubernetesPodOperator.__init__).parameters:
            # EksPodOperator reads it when it resumes: a task deferred by us can be resumed by it, and the reverse
            kwargs["trigger_kwargs"] = {"eks_cluster_name": cluster_name, **(kwargs.get("trigger_kwargs") or {})}
        kwargs.setdefault("name", pod_name)
        super().__init__(
            cluster_name=cluster_name,
            aws_conn_id=aws_conn_id,
            region=region,
            in_cluster=in_cluster,
            namespace=namespace,
            role_arn=role_arn,
            role_hops=role_hops,
            external_id=external_id,
            session_name=session_name,
            cluster_endpoint=cluster_endpoint,
            cluster_ca=cluster_ca,
            diagnose_on_failure=diagnose_on_failure,
            **kwargs,
        )
        self.pod_name = pod_name
        if self.config_file:
            raise ValueError("config_file is not an argument of this operator: it needs no kubeconfig")


def _is_on(flag: Any) -> bool:  # noqa: ANN401 - a bool, or what a template made of one
    return str(flag).strip().lower() not in {"false", "no", "off", "0", "none", ""}


def _on_finish(action: str | None, is_delete: bool | None) -> Any:  # noqa: ANN401, FBT001 - the provider's enum and flag
    """What to do with a finished pod: as told, or as the installed EksPodOperator does (up to 8 it is kept)."""
    if is_delete is not None:
        warnings.warn(
            "is_delete_operator_pod is deprecated in the provider: use on_finish_action",
            DeprecationWarning,
            stacklevel=4,
        )
        return OnFinishAction.DELETE_POD if is_delete else OnFinishAction.KEEP_POD
    if action is not None:
        return OnFinishAction(action)
    return OnFinishAction.KEEP_POD if "is_delete_operator_pod" in _INSTALLED else OnFinishAction.DELETE_POD


def _is_for_behind(operator: Any, name: str) -> bool:  # noqa: ANN401 - an operator
    """Whether a class behind the mixin takes this argument by name."""
    order = type(operator).__mro__
    behind = order[order.index(CrossAccountEksMixin) + 1 :]
    own = [vars(kind)["__init__"] for kind in behind if "__init__" in vars(kind)]
    return any(name in inspect.signature(init).parameters for init in own)
