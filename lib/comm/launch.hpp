// SPDX-License-Identifier: Apache-2.0
// Reads the environment variables of the MPI launcher, before MPI starts. Nothing else reads them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace rondo {

/// Whether this process was started by mpirun or srun.
bool launched_by_mpi();
/// The rank that the launcher gave this process; 0 without a launcher.
int rank_at_launch();

/// The number of tasks that a launcher started, this one included, and the variable that gives it.
struct LaunchedTasks {
  std::string variable;
  int count = 0;
};
/// The task counts of the launchers of this process, the innermost launcher first. In a SLURM job these are the tasks of the
/// step: a batch script, and what it starts without srun, is one task whatever the job requested. Call this before MPI_Init,
/// which may set such variables itself.
std::vector<LaunchedTasks> launched_tasks();

/// A CommError if a launcher started several tasks but MPI made each of them a world of one rank, as happens when launcher and
/// program use different MPI libraries; nothing otherwise. Each task would then do the whole work alone.
std::optional<Error> launch_problem(const std::vector<LaunchedTasks>& launched, int world_size);

}  // namespace rondo
