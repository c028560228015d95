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

/// A group of ranks. All calls except the getters are collective over the group, in the same order on every rank.
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
  /// Returns root's bytes on every rank; the ranks may pass different sizes.
  std::string broadcast(std::string bytes, int root = 0) const;
  /// Returns the bytes of all ranks, in rank order, on every rank.
  std::vector<std::string> all_gather(std::string_view bytes) const;
  std::vector<std::int64_t> all_gather(std::int64_t value) const;
  std::vector<double> all_gather(double value) const;
  std::int64_t max(std::int64_t value) const;
  std::int64_t sum(std::int64_t value) const;
  bool any(bool value) const { return max(value ? 1 : 0) != 0; }
  /// As max() and any(), for a rank that does not know whether its peers will call. @returns nothing if they do not within
  /// `limit`; after that the group can only be aborted
  std::optional<std::int64_t> max_within(std::int64_t value, std::chrono::milliseconds limit) const;
  std::optional<bool> any_within(bool value, std::chrono::milliseconds limit) const;
  /// Ranks of equal colour form a group, ordered by rank.
  Communicator split(int color) const;
  /// The same ranks in another order: rank order[i] of this group is rank i of the new one. @pre the same on all ranks
  Communicator reordered(std::span<const int> order) const;

 private:
  Communicator() = default;
  Communicator split(int color, int place) const;
  std::unique_ptr<MpiCommHolder> holder_;
  int rank_ = 0;
  int size_ = 1;
};

/// An error that all ranks throw together, so that the program can end in an orderly way.
struct AgreedError : Error {
  using Error::Error;
};

/// The exception being handled as an Error: out of memory, an error of std::filesystem, or any other exception.
/// @pre called in a catch block
Error error_at_hand();

/// If any rank passes an error, every rank throws the error of the lowest such rank as an AgreedError. Its message names that
/// rank, unless all ranks pass the same error.
void agree(const Communicator& world, const std::optional<Error>& mine);
/// As agree(), after a collective operation, in which a rank that failed may have left the others waiting for it. A rank with
/// an error waits for the others only a few seconds, and then throws its error alone.
void agree_or_leave(const Communicator& world, const std::optional<Error>& mine);
/// Runs `action` on every rank, then calls agree() with the error that it threw, if any. @pre `action` is not collective
void agree_on(const Communicator& world, const std::function<void()>& action);

}  // namespace rondo
