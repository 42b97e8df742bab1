"""Run a program; write its CPU seconds, wall seconds and peak KiB to a file. Usage: used.py FILE PROGRAM ARGUMENT...

A process has the peak of the one it was forked from: this one's is small, whatever scripts/bench has loaded by then.
"""

import os
import sys
import time

report, *command = sys.argv[1:]
start = time.perf_counter()
pid = os.posix_spawnp(command[0], command, os.environ)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - start
with open(report, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib would be in the peak
    file.write(f"{usage.ru_utime + usage.ru_stime} {wall} {usage.ru_maxrss}")
sys.exit(os.waitstatus_to_exitcode(status))
