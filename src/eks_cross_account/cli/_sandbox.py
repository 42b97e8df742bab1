"""``sandbox``: AWS and EKS on loopback until Ctrl-C, or the demonstration of what this package is for."""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from typing import TYPE_CHECKING

from eks_cross_account.cli._main import OK, UsageError

if TYPE_CHECKING:
    import argparse

    from eks_cross_account.sandbox import Sandbox

_ROLE = "arn:{partition}:iam::222222222222:role/cross-account-role"


def sandbox(options: argparse.Namespace) -> int:
    """Start it, print what to export, wait; with ``--demo`` play the demonstration instead."""
    try:
        from eks_cross_account.sandbox import Sandbox  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(str(error)) from None

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with Sandbox(region=options.region) as started:
        if options.demo:
            from eks_cross_account.cli import _demo  # noqa: PLC0415 - only where it is played

            return _demo.play(started, _role(started))
        _print(started, options.output)
        stopped.wait()
    return OK


def _print(started: Sandbox, output: str) -> None:
    """Answer and hint. The kubeconfig lies in the sandbox's own folder, and goes with it."""
    cluster = started.cluster()
    file = started.write_kubeconfig(cluster, role_arn=_role(started))
    environ = {**started.environ, "KUBECONFIG": str(file)}
    if output == "json":
        known = {"name": cluster.name, "endpoint": cluster.endpoint, "role_arn": _role(started)}
        answer = {"schema": "eks-token-check/1", "command": "sandbox", "environ": environ, "cluster": known}
        sys.stdout.write(json.dumps({**answer, "kubeconfig": json.loads(file.read_text())}, indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"export {name}={shlex.quote(value)}\n" for name, value in environ.items()))
    sys.stdout.flush()
    print(_HINT.format(role=_role(started)), file=sys.stderr, flush=True)


def _role(started: Sandbox) -> str:
    return _ROLE.format(partition=started.cluster().arn.split(":")[1])


_HINT = """The sandbox runs until Ctrl-C. Put the lines above into another shell, then for example:
  eks-token-check check --cluster-name analytics --role-arn {role}
KUBECONFIG names a kubeconfig for Kubernetes clients, with this package's token as its exec plugin. Of kubectl only
`kubectl get --raw /api/v1/namespaces/data/pods` and the like work here: there is no API discovery."""
