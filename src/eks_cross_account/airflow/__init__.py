"""The operator, the hook and the trigger for Airflow 2.7 to 3.3. The only room that imports airflow.

The names below are imported at their first use (PEP 562), so that a triggerer loads no operator and a DAG file no
trigger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eks_cross_account.airflow.check import EksTokenCheckOperator
    from eks_cross_account.airflow.hooks import CrossAccountEksHook
    from eks_cross_account.airflow.operators import CrossAccountEksMixin, CrossAccountEksPodOperator
    from eks_cross_account.airflow.triggers import CrossAccountEksPodTrigger

_HOME = {
    "CrossAccountEksHook": "hooks",
    "CrossAccountEksMixin": "operators",
    "CrossAccountEksPodOperator": "operators",
    "CrossAccountEksPodTrigger": "triggers",
    "EksTokenCheckOperator": "check",
}

__all__ = [
    "CrossAccountEksHook",
    "CrossAccountEksMixin",
    "CrossAccountEksPodOperator",
    "CrossAccountEksPodTrigger",
    "EksTokenCheckOperator",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: any of the names above
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - a lazy export is the point

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
