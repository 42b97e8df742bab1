"""Every test starts without AWS settings and proxies in its environment, and can reach loopback alone."""

from __future__ import annotations

import os
import socket
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from build import NoGoError
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from real_cluster import RealCluster

_ALSO = {
    "CURL_CA_BUNDLE",
    "KUBECONFIG",
    "KUBERNETES_EXEC_INFO",
    "NO_COLOR",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
}

# of a property CI draws more examples; and where coverage is judged the same each time: a branch that only chance takes
# would be a coin
settings.register_profile(
    "default",
    deadline=None,
    max_examples=100 if os.environ.get("CI") else 30,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("COVERAGE")),
)
settings.load_profile("default")


def pytest_configure(config: pytest.Config) -> None:
    """Sockets that others leave open are not held against a test; ours are, in the environment of the newest.

    aiohttp before 3.12.4 does not wait for its TLS connections to close (aio-libs/aiohttp#1925); urllib3 1.26 leaves
    its pools' sockets to the garbage collector.
    """
    if tuple(map(int, version("aiohttp").split(".")[:3])) < (3, 12, 4):
        config.addinivalue_line("filterwarnings", "ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy") or name in _ALSO:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    """A test that reaches for the network fails, and says where it wanted to go."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked(real: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and address[0] not in {"127.0.0.1", "::1", "localhost"}:
                raise AssertionError(f"a test opened a connection to {address[0]}")
            return real(self, address)

        return call

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", checked(connect))
    patch.setattr(socket.socket, "connect_ex", checked(connect_ex))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[RealCluster]:
    """kube-apiserver behind aws-iam-authenticator; skipped where there is no Go to build them with."""
    from real_cluster import RealCluster  # noqa: PLC0415 - only where it is used

    try:
        with RealCluster() as started:
            yield started
    except NoGoError as error:
        pytest.skip(str(error))
