// SPDX-License-Identifier: Apache-2.0
#include "comm/launch.hpp"

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace rondo {

namespace {

// mpirun of Open MPI; mpiexec of MPICH and its derivatives, and srun --mpi=pmi2
constexpr const char* kMpirunSizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
constexpr const char* kStepSize = "SLURM_STEP_NUM_TASKS";

std::optional<LaunchedTasks> read_count(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  LaunchedTasks tasks{variable, 0};
  const std::string_view digits(text);
  const auto [end, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), tasks.count);
  if (problem != std::errc() || end != digits.data() + digits.size() || tasks.count < 1) return std::nullopt;
  return tasks;
}

}  // namespace

bool launched_by_mpi() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", kStepSize}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

int rank_at_launch() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    if (const char* rank = std::getenv(name)) return std::atoi(rank);
  }
  return 0;
}

std::vector<LaunchedTasks> launched_tasks() {
  std::vector<LaunchedTasks> found;
  for (const char* variable : kMpirunSizes) {
    if (const auto tasks = read_count(variable)) found.push_back(*tasks);
  }
  // mpirun inside a SLURM job starts its ranks in a step of its own that has one task per host.
  if (!found.empty()) return found;
  if (const auto tasks = read_count(kStepSize)) found.push_back(*tasks);
  return found;
}

std::optional<Error> launch_problem(const std::vector<LaunchedTasks>& launched, int world_size) {
  if (world_size != 1 || launched.empty()) return std::nullopt;
  for (const LaunchedTasks& tasks : launched) {
    if (tasks.count == world_size) return std::nullopt;
  }
  const LaunchedTasks& tasks = launched.front();
  const std::string count = std::to_string(tasks.count);
  const bool is_srun = tasks.variable == kStepSize;
  return CommError("the launcher started " + count + " tasks (" + tasks.variable + "=" + count +
                       "), but MPI has 1 rank in each: every task would do the whole work alone, in the same files",
                   "",
                   is_srun ? "start it with `srun --mpi=pmix -n " + count +
                                 " rondo ...` (`srun --mpi=list` says what there is), or with `mpirun -n " + count +
                                 " rondo ...` inside the job; for one rank alone with `mpirun -n 1 rondo ...`"
                           : "start it with `mpirun -n " + count +
                                 " rondo ...` of the MPI that rondo is built with: `rondo --version` names it");
}

}  // namespace rondo
