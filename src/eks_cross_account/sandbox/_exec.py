"""A shell that is none: the few commands that Airflow runs in its XCom sidecar, and their answers. Touches nothing.

The commands are those of airflow.providers.cncf.kubernetes.utils.pod_manager, 7.6 to 10.25; anything else is refused
on stderr, as a container without that program would.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from eks_cross_account.sandbox._pods import Container, Pod

STDOUT, STDERR, ERROR = 1, 2, 3  # channels of v4.channel.k8s.io
_CAT_IF_THERE = re.compile(r"if \[ -s (\S+) \]; then cat (\S+); else echo (\S+); fi")
_INTERRUPT = re.compile(r"kill (?:-2|-s SIGINT) .+|for f in /proc/.*kill -2 .*", re.DOTALL)
_NOT_FOUND = 127


class Shell:
    """One exec session. ``code``: the exit code; ``status``: what the error channel says at its end."""

    def __init__(self, pod: Pod, container: Container, command: Sequence[str]) -> None:
        self._pod = pod
        self._container = container
        self._command = list(command)
        self._rest = b""
        self.code = 0
        self._interactive = command[0].rpartition("/")[2] in {"sh", "bash", "ash"} and "-c" not in command
        self.is_over = not self._interactive

    @property
    def status(self) -> dict[str, Any]:
        """A Status: Success, or the exit code."""
        if self.code == 0:
            return {"metadata": {}, "status": "Success"}
        return {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit status {self.code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(self.code)}]},
        }

    def begin(self, now: datetime) -> Iterator[tuple[int, bytes]]:
        """What comes without any input: a command's whole answer, or nothing of a shell that waits for lines."""
        if not self._interactive:
            line = self._command[-1] if "-c" in self._command else shlex.join(self._command)
            yield from self._run(line, now)

    def feed(self, data: bytes, now: datetime) -> Iterator[tuple[int, bytes]]:
        """What the shell answers to these bytes of its standard input."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._run(line.decode("utf-8", "replace").strip(), now)

    def _run(self, line: str, now: datetime) -> Iterator[tuple[int, bytes]]:
        self.code = 0
        conditional = _CAT_IF_THERE.fullmatch(line)
        words = line.split(maxsplit=1)
        if not words:
            return
        if _INTERRUPT.fullmatch(line):
            self._pod.interrupt(self._container, now)
            self.is_over = True
        elif conditional:
            yield STDOUT, (self._file(conditional[2]) or f"{conditional[3]}\n").encode()
        elif words[0] == "cat" and self._file(words[-1]):
            yield STDOUT, self._file(words[-1]).encode()
        elif words[0] == "echo":
            yield STDOUT, f"{words[1] if len(words) > 1 else ''}\n".encode()
        elif words[0] == "exit":
            self.is_over = True
        else:
            self.code = _NOT_FOUND
            yield STDERR, f"sh: {words[0]}: not a command of the sandbox\n".encode()

    def _file(self, path: str) -> str:
        return self._pod.files.get(path, "")
