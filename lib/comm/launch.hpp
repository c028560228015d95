// SPDX-License-Identifier: Apache-2.0
// What the launcher of this process says in the environment, before MPI starts. The only reader of launchers' variables.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace rondo {

/// Was this process started by mpirun or srun?
bool launched_by_mpi();
/// The rank that this process will have; 0 without a launcher.
int rank_at_launch();

/// How many tasks a launcher started with this one, and the variable that says so.
struct LaunchedTasks {
  std::string variable;
  int count = 0;
};
/// What the launchers of this process say, the one nearest to the process first. Of a SLURM job these are the tasks of the step:
/// a batch script, and what it starts without srun, is one task whatever the job asked for. Ask before MPI_Init, which may set
/// variables of its own.
std::vector<LaunchedTasks> launched_tasks();

/// A CommError when a launcher started several tasks of which MPI made worlds of one rank each, as happens when they are not of
/// the same MPI; nothing otherwise. Each task would then do the whole work alone.
std::optional<Error> launch_problem(const std::vector<LaunchedTasks>& launched, int world_size);

}  // namespace rondo
