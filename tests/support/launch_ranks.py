# SPDX-License-Identifier: Apache-2.0
"""How Python tests start ranks: through jobs/launch.sh, which knows the launchers of several MPIs."""
import pathlib

LAUNCH = str(pathlib.Path(__file__).resolve().parents[2] / "jobs/launch.sh")
# The variables by which launchers tell a process its rank.
RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK")


def on_ranks(mpiexec, ranks, command):
    """The command line that starts so many ranks of a command; the command itself for 0."""
    return [LAUNCH, "--mpiexec", mpiexec, "-n", str(ranks), *command] if ranks else list(command)
