# SPDX-License-Identifier: Apache-2.0
"""The mpiexec of the MPI that a program was built with, which need not be the first in PATH."""
import pathlib
import re


def mpiexec_of(program):
    """@returns MPIEXEC_EXECUTABLE of the build that holds BUILD/bin/PROGRAM, or "mpirun" for a program from elsewhere."""
    cache = pathlib.Path(program).resolve().parent.parent / "CMakeCache.txt"
    text = cache.read_text(encoding="utf-8") if cache.is_file() else ""
    found = re.search(r"^MPIEXEC_EXECUTABLE:\w+=(.+)$", text, re.MULTILINE)
    return found.group(1) if found else "mpirun"
