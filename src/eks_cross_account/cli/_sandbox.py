"""``sandbox``: AWS on loopback until Ctrl-C."""

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


def sandbox(options: argparse.Namespace) -> int:
    """Start it, print what to export, wait."""
    try:
        from eks_cross_account.sandbox import Sandbox  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(str(error)) from None

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with Sandbox(region=options.region) as started:
        if options.output == "json":
            answer = {"schema": "eks-token-check/1", "command": "sandbox", "environ": started.environ}
            sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        else:
            sys.stdout.write(
                "".join(f"export {name}={shlex.quote(value)}\n" for name, value in started.environ.items())
            )
        sys.stdout.flush()
        print(_HINT, file=sys.stderr, flush=True)
        stopped.wait()
    return OK


_HINT = """The sandbox runs until Ctrl-C. Put the lines above into another shell, then for example:
  eks-token-check check --cluster-name analytics --role-arn arn:aws:iam::222222222222:role/cross-account-role"""
