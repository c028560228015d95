// SPDX-License-Identifier: Apache-2.0
// The control plane: small host messages between ranks. Tensors travel over a Transport instead.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.hpp"

namespace rondo {

/// The MPI communicator behind a Communicator, opaque here; comm/mpi_handle.hpp turns it into an MPI_Comm.
struct MpiCommHolder;

/// A group of ranks. All calls but the getters are collective over the group, in the same order on every
/// rank.
class Communicator {
 public:
  /// A world of one rank that never touches MPI.
  static Communicator self();
  explicit Communicator(std::unique_ptr<MpiCommHolder> holder);
  ~Communicator();
  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// Null for a world of one rank without MPI.
  const MpiCommHolder* holder() const { return holder_.get(); }

  void barrier() const;
  /// Rank `root`'s bytes on every rank; sizes may differ before.
  std::string broadcast(std::string bytes, int root = 0) const;
  /// Every rank's bytes, in rank order, on every rank.
  std::vector<std::string> all_gather(std::string_view bytes) const;
  std::vector<std::int64_t> all_gather(std::int64_t value) const;
  std::vector<double> all_gather(double value) const;
  std::int64_t max(std::int64_t value) const;
  std::int64_t sum(std::int64_t value) const;
  bool any(bool value) const { return max(value ? 1 : 0) != 0; }
  /// As max() and any(), for a rank that does not know whether its peers will ever ask. @returns nothing when they do not in
  /// time; the group is then good for nothing but to be aborted
  std::optional<std::int64_t> max_within(std::int64_t value, std::chrono::milliseconds limit) const;
  std::optional<bool> any_within(bool value, std::chrono::milliseconds limit) const;
  /// Ranks of equal colour form a group, ordered by rank.
  Communicator split(int color) const;
  /// The same ranks in another order: what is rank order[i] here is rank i there. @pre alike on all ranks
  Communicator reordered(std::span<const int> order) const;

 private:
  Communicator() = default;
  Communicator split(int color, int place) const;
  std::unique_ptr<MpiCommHolder> holder_;
  int rank_ = 0;
  int size_ = 1;
};

/// An error that all ranks throw alike, so that they can end in an orderly way.
struct AgreedError : Error {
  using Error::Error;
};

/// What is being handled, as an Error: a full memory, a file that the standard library could not touch, anything else.
/// @pre called in a catch block
Error error_at_hand();

/// If any rank brings an error, every rank throws (an AgreedError) the error of the lowest failing rank; its
/// message names that rank, unless all ranks bring the same.
void agree(const Communicator& world, const std::optional<Error>& mine);
/// As agree(), about something that the ranks did together: there, a rank that failed may have left the others waiting for
/// it. A rank with an error waits for them a few seconds only, and then throws its error alone.
void agree_or_leave(const Communicator& world, const std::optional<Error>& mine);
/// Runs `action` on every rank and agrees about what it may throw. @pre `action` is not collective
void agree_on(const Communicator& world, const std::function<void()>& action);

}  // namespace rondo
