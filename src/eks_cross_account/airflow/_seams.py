"""Every name of Airflow and its providers that this package stands on, for all lines from 2.7 to 3.3. Touches nothing.

A name that is missing is said here, once, with what to install; a class that has lost a method that we override is
refused here too, because overriding nothing would silently give the job back to the provider's exec plugin.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from eks_cross_account._version import __version__

__all__ = [
    "DAG",
    "KNOWN_GOOD",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AsyncKubernetesHook",
    "AwsConnectionWrapper",
    "BaseHook",
    "BaseOperator",
    "EksPodOperator",
    "KubernetesHook",
    "KubernetesPodOperator",
    "KubernetesPodTrigger",
    "OnFinishAction",
    "Param",
    "base_aws",
]

_PACKAGES = {
    "airflow.providers.amazon": "apache-airflow-providers-amazon",
    "airflow.providers.cncf": "apache-airflow-providers-cncf-kubernetes",
    "kubernetes": "apache-airflow-providers-cncf-kubernetes",
    "kubernetes_asyncio": "apache-airflow-providers-cncf-kubernetes",
}
_CNCF = "airflow.providers.cncf.kubernetes"
KNOWN_GOOD = {  # the newest that the suite was green with: line "newest" of scripts/suites/airflow
    "apache-airflow-providers-amazon": "9.39.0",
    "apache-airflow-providers-cncf-kubernetes": "10.25.0",
}


def _first(name: str, *modules: str) -> Any:  # noqa: ANN401 - Airflow's, whose types differ by line
    """``name`` from the first module that has it. Raises an ImportError that says what is missing."""
    for module in modules[:-1]:
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    try:
        return getattr(importlib.import_module(modules[-1]), name)
    except ModuleNotFoundError as missing:
        raise _not_installed(missing) from missing
    except AttributeError:
        raise _gone(f"{modules[-1]}.{name}") from None
    except ImportError as broken:  # the module is there, and what it stands on is not
        raise _gone(f"{modules[-1]}.{name}") from broken


def _not_installed(missing: ModuleNotFoundError) -> ImportError:
    wanted = missing.name or ""
    package = next((pypi for start, pypi in _PACKAGES.items() if wanted.startswith(start)), "apache-airflow")
    return ImportError(
        f"eks_cross_account.airflow needs {package} (no module {wanted}): "
        'pip install "eks-cross-account[airflow]" with the constraints of your Airflow',
        name=wanted,
    )


def _gone(what: str) -> ImportError:
    good = ", ".join(f"{package} {newest}" for package, newest in KNOWN_GOOD.items())
    return ImportError(
        f"{what} cannot be had from {_versions()}: eks-cross-account {__version__} does not know these releases. "
        f"Upgrade eks-cross-account, or install what it is known good with, up to {good}"
    )


def _versions() -> str:
    found = []
    for package in KNOWN_GOOD:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} (not installed)")
    return ", ".join(found)


def _checked(seam: Any, *names: str) -> Any:  # noqa: ANN401 - as above
    """The class, which still has what we override or call."""
    for name in names:
        if not hasattr(seam, name):
            raise _gone(f"{seam.__module__}.{seam.__qualname__}.{name}")
    return seam


_COMPAT, _SDK = "airflow.providers.common.compat.sdk", "airflow.sdk"
BaseHook: Any = _first("BaseHook", _COMPAT, _SDK, "airflow.hooks.base")
BaseOperator: Any = _first("BaseOperator", _COMPAT, _SDK, "airflow.models.baseoperator")
DAG: Any = _first("DAG", _SDK, "airflow.models.dag")
Param: Any = _first("Param", _SDK, "airflow.models.param")
AirflowException: Any = _first("AirflowException", _COMPAT, "airflow.sdk.exceptions", "airflow.exceptions")
AirflowFailException: Any = _first("AirflowFailException", _COMPAT, "airflow.sdk.exceptions", "airflow.exceptions")
AirflowNotFoundException: Any = _first(
    "AirflowNotFoundException", _COMPAT, "airflow.sdk.exceptions", "airflow.exceptions"
)
KubernetesHook: Any = _checked(_first("KubernetesHook", f"{_CNCF}.hooks.kubernetes"), "get_conn", "core_v1_client")
AsyncKubernetesHook: Any = _checked(_first("AsyncKubernetesHook", f"{_CNCF}.hooks.kubernetes"), "get_conn", "get_pod")
KubernetesPodTrigger: Any = _checked(_first("KubernetesPodTrigger", f"{_CNCF}.triggers.pod"), "serialize", "run")
KubernetesPodOperator: Any = _checked(
    _first("KubernetesPodOperator", f"{_CNCF}.operators.pod"), "execute", "hook", "client", "cleanup", "defer"
)
OnFinishAction: Any = _first("OnFinishAction", f"{_CNCF}.utils.pod_manager")
EksPodOperator: Any = _first("EksPodOperator", "airflow.providers.amazon.aws.operators.eks")
AwsConnectionWrapper: Any = _first("AwsConnectionWrapper", "airflow.providers.amazon.aws.utils.connection_wrapper")
_first("SessionFactory", "airflow.providers.amazon.aws.hooks.base_aws")
base_aws: Any = importlib.import_module("airflow.providers.amazon.aws.hooks.base_aws")  # [aws] session_factory is in it
