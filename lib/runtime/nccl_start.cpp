// SPDX-License-Identifier: Apache-2.0
#include "runtime/nccl_start.hpp"

#include <string>
#include <thread>

namespace rondo {

namespace {

// What a rank reports in one call of all_ready(); the largest value of all ranks decides.
enum Progress : std::int64_t { kReady = 0, kConnecting = 1, kTooLate = 2, kFailed = 3 };

// Between two calls; connecting takes far longer.
constexpr std::chrono::milliseconds kPause{1};

constexpr const char* kAdvice =
    "NCCL_DEBUG=INFO shows how far each rank came; parallel.transport = \"mpi\" works without NCCL";

}  // namespace

NcclStart::NcclStart(const Communicator& world, std::chrono::milliseconds limit, std::chrono::milliseconds answer_limit)
    : world_(world), limit_(limit), answer_limit_(answer_limit), end_(std::chrono::steady_clock::now() + limit) {}

bool NcclStart::all_ready(bool is_ready) {
  const bool is_late = std::chrono::steady_clock::now() >= end_;
  const auto most = world_.max_within(is_ready ? kReady : is_late ? kTooLate : kConnecting, answer_limit_);
  if (most == kReady) return true;
  if (most == kConnecting) {
    std::this_thread::sleep_for(kPause);
    return false;
  }
  is_over_ = true;
  if (!most) throw CommError("a peer does not answer while NCCL connects the ranks", "", kAdvice);
  if (most == kTooLate) time_out(is_ready);
  agree(world_, std::nullopt);  // throws the error of the rank that failed
  throw CommError("a rank failed while NCCL connected the ranks", "", kAdvice);
}

void NcclStart::fail(const Error& mine) {
  is_over_ = true;
  if (world_.max_within(kFailed, answer_limit_)) agree(world_, mine);
  throw Error(mine);
}

void NcclStart::time_out(bool is_ready) {
  const std::vector<std::int64_t> ready = world_.all_gather(std::int64_t{is_ready ? 1 : 0});
  std::string missing;
  for (std::size_t rank = 0; rank < ready.size(); ++rank) {
    if (ready[rank] == 0) missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
  }
  throw AgreedError(ErrorKind::Communication,
                    "NCCL has not connected the ranks within " + std::to_string(limit_.count() / 1000) +
                        " s; not connected: rank " + missing,
                    "", kAdvice);
}

std::chrono::seconds nccl_start_limit(int num_ranks) { return std::chrono::seconds(120 + num_ranks / 8); }

}  // namespace rondo
