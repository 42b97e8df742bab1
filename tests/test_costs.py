"""What is paid for a token, counted and not timed: calls and modules are the same on every machine, and in CI.

A change that makes one of these grow is to be meant; scripts/bench has the times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader
from tokens import CREDENTIALS

from eks_cross_account import (
    FrozenCredentials,
    RoleHop,
    TokenProvider,
    assume_roles,
    encode_token,
    presign,
    violations,
)
from eks_cross_account.credentials import botocore_session, session_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from eks_cross_account.sandbox import Sandbox

ROLE = "arn:aws:iam::222222222222:role/cross-account-role"
NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
ENVIRON = {"AWS_ACCESS_KEY_ID": "ASIAEXAMPLEEXAMPLE01", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "y",
           "AWS_REGION": "eu-west-1"}  # fmt: skip
HEAVY = {"dataclasses", "inspect", "shutil", "bz2", "lzma", "subprocess", "urllib.request", "http.client", "ssl",
         "asyncio", "logging", "botocore", "boto3", "yaml", "importlib.metadata", "importlib.resources"}  # fmt: skip


def calls_of(call: Callable[[], Any]) -> int:
    """Calls of functions, Python's and C's, within one call after one that is not counted."""
    call()
    counted = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return counted


def provider() -> TokenProvider:
    credentials = FrozenCredentials("ASIAEXAMPLE", "x", "y", NOW + timedelta(hours=1))
    return TokenProvider(lambda: credentials, cluster_name="c", region="eu-west-1", clock=lambda: NOW)


def minted() -> str:
    return encode_token(presign(CREDENTIALS, cluster_name="c", region="eu-west-1", now=NOW))


TOKEN = minted()


@pytest.mark.parametrize(
    ("call", "most"),
    [
        pytest.param(provider().get_token, 5, id="a fresh token"),
        pytest.param(minted, 90, id="a new token"),
        pytest.param(lambda: violations(TOKEN, now=NOW, region="eu-west-1"), 600, id="all rules over a token"),
    ],
)
def test_what_is_done_often_takes_few_calls(call: Callable[[], Any], most: int) -> None:
    assert calls_of(call) <= most


def test_the_command_token_loads_little() -> None:
    code = (
        "import sys; from eks_cross_account.cli import main; code = main(['token', '--cluster-name', 'c']); "
        "import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "PYTHONPATH"}}
    ran = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        env={**kept, **ENVIRON}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    loaded = set(json.loads(ran.stderr.splitlines()[-1]))
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith("eks_cross_account.diagnosis")} == set()
    assert len(loaded) <= 110


def test_the_folders_of_all_services_are_not_looked_through(
    eks_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Loader, "list_available_services", lambda *_: pytest.fail("all services were looked for"))

    assume_roles(session_source(), [RoleHop(ROLE)], region="eu-west-1")()

    assert [it.operation for it in eks_sandbox.requests] == ["sts:AssumeRole"]


def test_a_session_of_the_users_lists_services_as_botocore_does(eks_sandbox: Sandbox) -> None:
    own = botocore.session.Session()
    loader = own.get_component("data_loader")

    assume_roles(session_source(own), [RoleHop(ROLE)], region="eu-west-1")()

    assert [it.operation for it in eks_sandbox.requests] == ["sts:AssumeRole"]
    assert own.get_component("data_loader") is loader
    assert own.get_available_services() == Loader().list_available_services("service-2")


def test_a_folder_of_models_of_the_users_has_its_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tmp_path / "ours" / "2026-01-01" / "service-2.json"
    model.parent.mkdir(parents=True)
    model.write_text(json.dumps({"metadata": {}, "operations": {}, "shapes": {}}), encoding="utf-8")
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))

    assert botocore_session().get_service_model("ours").operation_names == []


def test_an_unknown_service_is_told_with_those_that_are_known() -> None:
    with pytest.raises(UnknownServiceError, match=r"Unknown service: 'ekss'\. Valid service names are: .* eks, "):
        botocore_session().create_client("ekss", region_name="eu-west-1")
