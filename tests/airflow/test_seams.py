"""What this package stands on in the providers; a release that has lost one of these names is told so at import."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest

from eks_cross_account import __version__
from eks_cross_account.airflow import _seams

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.contract
INSTALLED = ", ".join(f"{package} {version(package)}" for package in _seams.KNOWN_GOOD)
GOOD = ", ".join(f"{package} {newest}" for package, newest in _seams.KNOWN_GOOD.items())
NEXT = (
    f" cannot be had from {INSTALLED}: eks-cross-account {__version__} does not know these releases. Upgrade "
    f"eks-cross-account, or install what it is known good with, up to {GOOD}"
)


def calls(function: str) -> list[ast.Call]:
    tree = ast.parse((_seams.__spec__.loader).get_source(_seams.__name__))  # type: ignore[union-attr, attr-defined]
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in found if isinstance(node.func, ast.Name) and node.func.id == function]


def values(nodes: list[ast.expr]) -> list[str]:
    return [eval(compile(ast.Expression(node), "<seams>", "eval"), vars(_seams)) for node in nodes]  # noqa: S307 - ours


NAMES = [(name, modules) for name, *modules in map(values, (call.args for call in calls("_first")))]
METHODS = [
    (*values(call.args[0].args), method)  # type: ignore[attr-defined] # the call of _first in it
    for call in calls("_checked")
    for method in values(call.args[1:])
]


class Lacking:
    """The module or class without one name."""

    def __init__(self, real: Any, name: str, instead: Any = None) -> None:
        self._real, self._name, self._instead = real, name, instead
        self.__module__ = getattr(real, "__module__", "")

    def __getattr__(self, name: str) -> Any:
        if name != self._name:
            return getattr(self._real, name)
        if self._instead is None:
            raise AttributeError(name)
        return self._instead


def imported(monkeypatch: pytest.MonkeyPatch, import_module: Any) -> ModuleType:
    """The module of seams anew, in an Airflow that has ``import_module``'s modules."""
    monkeypatch.setattr(importlib, "import_module", import_module)
    spec = importlib.util.spec_from_file_location("seams_anew", _seams.__file__)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_there_are_seams_to_look_at() -> None:
    assert {"KubernetesPodOperator", "EksPodOperator", "AwsConnectionWrapper"} <= {name for name, _ in NAMES}
    methods = {(name, method) for name, _, method in METHODS}
    assert {("KubernetesPodOperator", "defer"), ("KubernetesHook", "get_conn")} <= methods


def test_here_they_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made = imported(monkeypatch, importlib.import_module)

    assert made.KubernetesPodOperator is _seams.KubernetesPodOperator


@pytest.mark.parametrize(("name", "modules"), NAMES, ids=[name for name, _ in NAMES])
def test_a_name_that_has_gone_is_said_with_the_versions_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str, modules: list[str]
) -> None:
    real = importlib.import_module

    def without(module: str, *package: str) -> Any:
        return Lacking(real(module), name) if module in modules else real(module, *package)

    with pytest.raises(ImportError) as raised:
        imported(monkeypatch, without)

    assert str(raised.value) == f"{modules[-1]}.{name}{NEXT}"


@pytest.mark.parametrize(("name", "module", "method"), METHODS, ids=[f"{name}.{method}" for name, _, method in METHODS])
def test_a_method_that_has_gone_is_not_overridden_in_silence(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, method: str
) -> None:
    real = importlib.import_module

    def without(asked: str, *package: str) -> Any:
        found = real(asked, *package)
        return Lacking(found, name, Lacking(getattr(found, name), method)) if asked == module else found

    with pytest.raises(ImportError) as raised:
        imported(monkeypatch, without)

    kind = getattr(real(module), name)
    assert str(raised.value) == f"{kind.__module__}.{kind.__qualname__}.{method}{NEXT}"


def test_a_provider_that_is_not_installed_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def without(module: str, *package: str) -> Any:
        if module.startswith("airflow.providers.cncf"):
            raise ModuleNotFoundError(name="airflow.providers.cncf")
        return real(module, *package)

    with pytest.raises(ImportError) as raised:
        imported(monkeypatch, without)

    assert str(raised.value) == (
        "eks_cross_account.airflow needs apache-airflow-providers-cncf-kubernetes (no module airflow.providers.cncf): "
        'pip install "eks-cross-account[airflow]" with the constraints of your Airflow'
    )


def test_a_module_that_is_there_and_cannot_be_imported_is_a_seam_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module
    broken = ImportError("cannot import name 'x' from 'airflow.models'")

    def without(module: str, *package: str) -> Any:
        if module.endswith("operators.eks"):
            raise broken
        return real(module, *package)

    with pytest.raises(ImportError) as raised:
        imported(monkeypatch, without)

    assert str(raised.value) == f"airflow.providers.amazon.aws.operators.eks.EksPodOperator{NEXT}"
    assert raised.value.__cause__ is broken
