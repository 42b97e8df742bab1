"""The trigger: the provider's own, whose client is ours. Its row holds names only, never a secret."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from eks_cross_account.airflow._clients import AsyncEksKubernetesHook
from eks_cross_account.airflow._failures import EksFailure, of_token_error
from eks_cross_account.airflow._seams import EksPodOperator, KubernetesPodTrigger
from eks_cross_account.airflow._target import Target
from eks_cross_account.errors import EksTokenError, without_frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_DEFERRED = "deferred"
_EKS_POD_TRIGGER_KEYS = ("eks_cluster_name", "aws_conn_id", "region")


class _NamingHook(AsyncEksKubernetesHook):
    """Names its own failures: of an error in a triggerer nothing but its text comes back to the task."""

    @contextlib.asynccontextmanager
    async def get_conn(self) -> AsyncIterator[Any]:
        try:
            async with super().get_conn() as client:
                yield client
        except EksTokenError as error:
            raise EksFailure(of_token_error(error, self.known_access).line) from without_frames(error)


class CrossAccountEksPodTrigger(KubernetesPodTrigger):  # type: ignore[misc] # Airflow has no types here
    """KubernetesPodTrigger with ``eks``: cluster, region, connection id and role hops, as a mapping with ``v`` 1.

    All other arguments are the parent's, whatever its release has.
    """

    def __init__(self, *, eks: Mapping[str, Any], **kwargs: Any) -> None:  # noqa: ANN401 - the parent's
        super().__init__(**kwargs)
        self._fired = False
        self.eks: dict[str, Any] = dict(eks)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The parent's arguments, and ``eks`` as it came: a key of a newer release survives."""
        _, kwargs = super().serialize()
        return f"{CrossAccountEksPodTrigger.__module__}.{CrossAccountEksPodTrigger.__qualname__}", {
            **kwargs,
            "eks": self.eks,
        }

    @cached_property
    def _target(self) -> Target:
        """Not made in __init__: what that raises ends the whole triggerer, with the triggers of all other tasks."""
        try:
            return Target.from_dict(self.eks)
        except EksTokenError as error:
            raise EksFailure(of_token_error(error, None).line) from None

    @cached_property
    def hook(self) -> AsyncEksKubernetesHook:
        """The provider's async hook with our client; one for the life of the trigger."""
        return _NamingHook(target=self._target, conn_id=self.kubernetes_conn_id, in_cluster=False)

    async def run(self) -> AsyncIterator[Any]:
        """As the parent, by a client that all triggers of this way in share."""
        try:
            kept: contextlib.AbstractAsyncContextManager[None] = self.hook.kept()
        except EksFailure:  # the parent asks for the hook too, and makes an event of this
            kept = contextlib.nullcontext()
        async with kept, contextlib.aclosing(super().run()) as events:
            async for event in events:
                self._fired = True
                yield event

    async def cleanup(self) -> None:
        """Delete the pod of a task that was killed while deferred, where the parent does not (8.0 to 10.13).

        Not when the trigger had its event, nor when the task is still deferred: then only this triggerer ends.
        """
        await super().cleanup()
        if "cleanup" not in vars(KubernetesPodTrigger) and await self._is_task_ended():
            self.log.info("The task was ended while deferred: deleting pod %s", self.pod_name)
            try:
                await self.hook.delete_pod(name=self.pod_name, namespace=self.pod_namespace)
            except Exception:  # Airflow drops what cleanup raises, so it is said here
                self.log.exception("Pod %s in namespace %s may have been left", self.pod_name, self.pod_namespace)

    async def on_kill(self) -> None:
        """As the parent, which deletes the pod (Airflow 3.3 calls it); not when the task is still deferred.

        A triggerer that was taken for dead cancels what another one has taken over as if somebody had killed the tasks.
        """
        if await self._is_task_ended():
            await super().on_kill()

    async def _is_task_ended(self) -> bool:
        """Whether the task was ended while this trigger watched; where nobody knows it goes on."""
        if self._fired:
            return False
        try:
            return not await _is_still_deferred(self.task_instance)
        except Exception:  # as above
            self.log.exception("Pod %s in namespace %s may have been left", self.pod_name, self.pod_namespace)
            return False

    def _get_async_hook(self) -> AsyncEksKubernetesHook:
        """How cncf-kubernetes up to 9 asks for it."""
        return self.hook


async def _is_still_deferred(task_instance: Any) -> bool:  # noqa: ANN401 - Airflow's, by line
    """Whether the task waits for its trigger; asked of Airflow in the one thread that may."""
    if hasattr(task_instance, "refresh_from_db"):  # Airflow 2
        await sync_to_async(task_instance.refresh_from_db)()
        return str(task_instance.state) == _DEFERRED
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance  # noqa: PLC0415 - from Airflow 3 on

    states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=task_instance.map_index,
    )
    found = list((states.get(task_instance.run_id) or {}).values())
    return not found or str(getattr(found[0], "value", found[0])) == _DEFERRED  # not known: nothing is deleted for it


def ours_instead_of(trigger: Any, target: Target) -> CrossAccountEksPodTrigger:  # noqa: ANN401 - any trigger
    """The same watch over the same pod as our trigger. Raises TypeError for a trigger class that is not known.

    Without what belongs to the authentication that ours replaces: kubeconfig and the connection's extras may hold keys.
    """
    if type(trigger) is CrossAccountEksPodTrigger:
        return trigger
    known = {KubernetesPodTrigger: (), _eks_pod_trigger(): _EKS_POD_TRIGGER_KEYS}
    if type(trigger) not in known:
        kind = f"{type(trigger).__module__}.{type(trigger).__qualname__}"
        raise TypeError(
            f"[eks:unknown-trigger] this task defers with {kind}, which is not the trigger of KubernetesPodOperator: "
            "watched by it the pod would be asked for with another identity. Set deferrable=False, or tell us of it"
        )
    _, kwargs = trigger.serialize()
    for name in known[type(trigger)]:
        kwargs.pop(name, None)
    for name in ("config_dict", "config_file", "cluster_context"):
        if name in kwargs:
            kwargs[name] = None
    if kwargs.get("connection_extras") is not None:
        kwargs["connection_extras"] = {}
    return CrossAccountEksPodTrigger(eks=target.to_dict(), **kwargs)


def _eks_pod_trigger() -> Any:  # noqa: ANN401 - the provider's, from 9.25 on
    """EksPodTrigger where there is one: an operator of one's own may make it."""
    import sys  # noqa: PLC0415 - only while deferring

    module = sys.modules.get("airflow.providers.amazon.aws.triggers.eks")
    return getattr(module, "EksPodTrigger", EksPodOperator)  # an operator is no trigger: never equal
