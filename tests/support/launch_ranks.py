# SPDX-License-Identifier: Apache-2.0
"""Starts ranks for Python tests through jobs/launch.sh, which supports the launchers of several MPIs."""
import pathlib

LAUNCH = str(pathlib.Path(__file__).resolve().parents[2] / "jobs/launch.sh")
# The environment variables in which launchers pass a process its rank.
RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")


def on_ranks(mpiexec, ranks, command):
    """The command line that starts so many ranks of a command; the command itself for 0."""
    return [LAUNCH, "--mpiexec", mpiexec, "-n", str(ranks), *command] if ranks else list(command)
