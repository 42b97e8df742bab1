"""The hook for Python of your own: a token, or a Kubernetes client, by an Airflow connection."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from eks_cross_account._discretion import discreet
from eks_cross_account._flight import renew_locks_after_fork
from eks_cross_account.airflow._clients import EksKubernetesHook, review
from eks_cross_account.airflow._connections import Access, access_of, look_up
from eks_cross_account.airflow._failures import failure_of
from eks_cross_account.airflow._seams import BaseHook
from eks_cross_account.airflow._target import Target, hops_of
from eks_cross_account.credentials import RoleHop, role_chain
from eks_cross_account.sts import verify_token

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import kubernetes.client

    from eks_cross_account.provider import TokenProvider
    from eks_cross_account.token import EksToken

_TIMEOUT = 5.0  # seconds, for the API server's answer to test_connection


class CrossAccountEksHook(BaseHook):  # type: ignore[misc] # Airflow has no types here
    """One cluster, by one connection; arguments as ``CrossAccountEksPodOperator`` has them. Asks nobody when made.

    ``aws_conn_id=None``: AWS's default chain, on purpose.
    """

    def __init__(  # noqa: PLR0913 - how to get in
        self,
        aws_conn_id: str | None = "aws_default",
        *,
        cluster_name: str,
        region: str | None = None,
        role_arn: str | None = None,
        role_hops: Iterable[RoleHop | Mapping[str, Any] | str] | None = None,
        external_id: str | None = None,
        session_name: str | None = None,
        cluster_endpoint: str | None = None,
        cluster_ca: str | None = None,
    ) -> None:
        super().__init__()
        chain = hops_of(role_hops) if role_hops is not None else None
        self.target: Target = Target(
            cluster_name=cluster_name,
            region=region,
            aws_conn_id=aws_conn_id,
            hops=role_chain(role_arn, external_id, session_name, chain),
            cluster_endpoint=cluster_endpoint,
            cluster_ca=cluster_ca,
        )

    @cached_property
    def _access(self) -> Access:
        return access_of(look_up(self.target))

    @property
    def provider(self) -> TokenProvider:
        """Keeps a token fresh. Raises ConnectionMissingError where Airflow knows no such connection."""
        return self._access.provider

    def get_token(self) -> EksToken:
        """A token that may be sent now; str() and repr() hide it. Raises EksTokenError."""
        return self.provider.get_token()

    @cached_property
    def api_client(self) -> kubernetes.client.ApiClient:
        """A Kubernetes client that stays authenticated. Raises EksTokenError."""
        made: kubernetes.client.ApiClient
        made = EksKubernetesHook(target=self.target, access=self._access, conn_id=None).get_conn()
        return made

    def get_conn(self) -> kubernetes.client.ApiClient:
        """As ``api_client``, the name that Airflow gives it."""
        return self.api_client

    @cached_property
    def core_v1(self) -> Any:  # noqa: ANN401 - its methods have no types, and what pyright infers for them is wrong
        """CoreV1Api of ``api_client``."""
        import kubernetes.client  # noqa: PLC0415 - heavy, and here already where it is used

        return kubernetes.client.CoreV1Api(self.api_client)

    def test_connection(self) -> tuple[bool, str]:
        """Whether STS knows the token and the API server its user, and who that is."""
        try:
            return True, self._identity()
        except Exception as error:  # noqa: BLE001 - Airflow shows the text
            access = self.__dict__.get("_access")
            failure = failure_of(error, lambda: self.target, access)
            return False, failure.line if failure is not None else f"{type(error).__name__}: {error}"

    def _identity(self) -> str:
        access = self._access
        token = access.provider.get_token()
        with discreet():
            identity = verify_token(
                token.value,
                cluster_name=self.target.cluster_name,
                region=access.connected.region,
                session=access.session,
            )
        answer = review(access, "SelfSubjectReview", {}, timeout=_TIMEOUT)
        user = ((answer.get("status") or {}).get("userInfo") or {}).get("username")
        return f"STS: {identity.arn}; cluster {self.target.cluster_name}: user {user}"


renew_locks_after_fork(CrossAccountEksHook)
