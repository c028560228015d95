// SPDX-License-Identifier: Apache-2.0
// The control plane: small host messages between ranks. Tensors travel over a Transport instead.
#pragma once

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
  /// Ranks of equal colour form a group, ordered by rank.
  Communicator split(int color) const;

 private:
  Communicator() = default;
  std::unique_ptr<MpiCommHolder> holder_;
  int rank_ = 0;
  int size_ = 1;
};

/// An error that all ranks throw alike, so that they can end in an orderly way.
struct AgreedError : Error {
  using Error::Error;
};

/// If any rank brings an error, every rank throws (an AgreedError) the error of the lowest failing rank; its
/// message names that rank.
void agree(const Communicator& world, const std::optional<Error>& mine);
/// Runs `action` on every rank and agrees about the Error that it may throw. @pre `action` is not collective
void agree_on(const Communicator& world, const std::function<void()>& action);

}  // namespace rondo
