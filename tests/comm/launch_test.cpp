// SPDX-License-Identifier: Apache-2.0
#include "comm/launch.hpp"

#include <cstdlib>
#include <gtest/gtest.h>

namespace rondo {
namespace {

constexpr const char* kVariables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS",
                                      "SLURM_PROCID"};

class Launch : public testing::Test {
 protected:
  void SetUp() override { forget(); }
  void TearDown() override { forget(); }
  static void forget() {
    for (const char* variable : kVariables) ::unsetenv(variable);
  }
  static void set(const char* variable, const char* value) { ::setenv(variable, value, 1); }
  /// What is wrong with a world of that size under the variables that are set; empty when nothing is.
  static std::string problem(int world_size) {
    const auto found = launch_problem(launched_tasks(), world_size);
    if (!found) return "";
    EXPECT_EQ(exit_code(found->kind()), 4);
    return found->what();
  }
  static bool says(const std::string& text, const std::string& words) { return text.find(words) != std::string::npos; }
};

TEST_F(Launch, IsRightWithoutALauncher) { EXPECT_EQ(problem(1), ""); }

TEST_F(Launch, IsRefusedWhenTasksOfSrunAreWorldsOfTheirOwn) {
  set("SLURM_STEP_NUM_TASKS", "4");
  set("SLURM_PROCID", "2");
  const std::string said = problem(1);
  EXPECT_TRUE(says(said, "started 4 tasks (SLURM_STEP_NUM_TASKS=4), but MPI has 1 rank")) << said;
  EXPECT_TRUE(says(said, "srun --mpi=pmix -n 4 rondo")) << said;
  EXPECT_TRUE(says(said, "mpirun -n 4 rondo")) << said;
  EXPECT_EQ(problem(4), "");
}

TEST_F(Launch, IsRefusedWhenMpirunIsOfAnotherMpi) {
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    forget();
    set(variable, "3");
    const std::string said = problem(1);
    EXPECT_TRUE(says(said, std::string("started 3 tasks (") + variable + "=3), but MPI has 1 rank")) << said;
    EXPECT_TRUE(says(said, "mpirun -n 3 rondo")) << said;
    EXPECT_EQ(problem(3), "");
  }
}

// A batch script is one task, whatever the job asked for.
TEST_F(Launch, IsRightInABatchScriptOfManyTasks) {
  set("SLURM_NTASKS", "64");
  set("SLURM_PROCID", "0");
  EXPECT_EQ(problem(1), "");
  set("SLURM_STEP_NUM_TASKS", "1");
  EXPECT_EQ(problem(1), "");
}

// mpirun inside a job starts one task per host, and its ranks below them.
TEST_F(Launch, BelievesTheLauncherNearestToTheProcess) {
  set("SLURM_STEP_NUM_TASKS", "8");
  set("OMPI_COMM_WORLD_SIZE", "1");
  EXPECT_EQ(problem(1), "");
  set("OMPI_COMM_WORLD_SIZE", "16");
  EXPECT_EQ(problem(16), "");
  set("PMI_SIZE", "1");
  EXPECT_EQ(problem(1), "") << "one of two launchers says so";
}

TEST_F(Launch, IgnoresWhatIsNoNumberOfTasks) {
  for (const char* value : {"", "many", "0", "-4", "4 tasks", "99999999999999"}) {
    set("SLURM_STEP_NUM_TASKS", value);
    EXPECT_EQ(problem(1), "") << value;
  }
}

}  // namespace
}  // namespace rondo
