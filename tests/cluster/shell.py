"""What kwok runs for a container's command: the sandbox's shell, which knows the few commands that Airflow sends.

Arguments: the port of the kubelet's stand-in, the path of the container there, and the command.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from datetime import UTC, datetime

from eks_cross_account.sandbox import _exec, _pods

_WINDOW = 65_536


class Pod:
    """What a shell can reach of its pod: a file, and its own end."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self.files = {_pods.XCOM_FILE: self._ask("GET")["xcom"]}

    def interrupt(self, _: object, __: datetime) -> None:
        self._ask("POST")

    def _ask(self, method: str) -> dict[str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        connection.request(method, f"/shell/{self._path}")
        found: dict[str, str] = json.loads(connection.getresponse().read())
        connection.close()
        return found


def main(port: str, path: str, *command: str) -> int:
    shell = _exec.Shell(Pod(int(port), path), None, command)  # type: ignore[arg-type]
    answers = shell.begin(datetime.now(UTC))
    while True:
        for channel, payload in answers:
            os.write(channel, payload)
        if shell.is_over or not (read := os.read(0, _WINDOW)):
            return shell.code
        answers = shell.feed(read, datetime.now(UTC))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
