// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.hpp"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sched.h>
#include <utility>

#include "comm/mpi_handle.hpp"
#include "comm/mpi_session.hpp"
#include "core/trace.hpp"

namespace rondo {

namespace {

int int_count(std::size_t count) {
  ensure(count <= static_cast<std::size_t>(std::numeric_limits<int>::max()), "control messages stay below 2 GiB");
  return static_cast<int>(count);
}

template <typename T> std::vector<T> gather_values(const Communicator& group, T value, MPI_Datatype type) {
  std::vector<T> values(static_cast<std::size_t>(group.size()), value);
  if (group.holder() != nullptr) {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Iallgather(&value, 1, type, values.data(), 1, type, mpi_comm_of(group), &request), "MPI_Iallgather");
    wait_for_all({&request, 1}, group.holder()->watch);
  }
  return values;
}

// How long a rank that failed waits for peers, which may be stuck in the operation that it left.
constexpr std::chrono::seconds kPeersComeWithin{5};

// Throws the error of the lowest rank that passes one.
[[noreturn]] void throw_first(const Communicator& world, const std::optional<Error>& mine) {
  nlohmann::json report;
  if (mine) {
    report = {{"kind", static_cast<int>(mine->kind())},
              {"message", mine->message()},
              {"where", mine->where()},
              {"advice", mine->advice()}};
  }
  const std::vector<std::string> reports =
      world.all_gather(report.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  const bool all_say_the_same = std::ranges::adjacent_find(reports, std::not_equal_to<>()) == reports.end();
  for (int rank = 0; rank < world.size(); ++rank) {
    const auto first = nlohmann::json::parse(reports[static_cast<std::size_t>(rank)]);
    if (first.is_null()) continue;
    std::string message = first["message"];
    if (!all_say_the_same) message += " (rank " + std::to_string(rank) + ")";
    throw AgreedError(static_cast<ErrorKind>(first["kind"].get<int>()), std::move(message), first["where"],
                      first["advice"]);
  }
  throw Error(ErrorKind::Internal, "an error was announced, and no rank brings one");
}

}  // namespace

MpiCommHolder::~MpiCommHolder() {
  if (owned) MPI_Comm_free(&comm);
}

void check_mpi(int status, std::string_view call, std::source_location caller) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw CommError(std::string(call) + " failed: " + std::string(text, static_cast<std::size_t>(length)),
                  std::string(caller.file_name()) + ":" + std::to_string(caller.line()),
                  "a peer may have ended: look for the first error in the other ranks' output");
}

void wait_for_all(std::span<MPI_Request> requests, const std::function<void()>* watch) {
  const TraceScope trace("communicator.wait", TraceOf::Host);
  constexpr int kPollsBeforeYield = 100;  // ranks may share a core
  for (int polls = 0;; ++polls) {
    int all = 0;
    check_mpi(MPI_Testall(int_count(requests.size()), requests.data(), &all, MPI_STATUSES_IGNORE), "MPI_Testall");
    if (all != 0) return;
    if (watch != nullptr && *watch) (*watch)();
    if (polls > kPollsBeforeYield) sched_yield();
  }
}

Communicator Communicator::self() { return Communicator(); }

Communicator::Communicator(std::unique_ptr<MpiCommHolder> holder) : holder_(std::move(holder)) {
  check_mpi(MPI_Comm_rank(holder_->comm, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(holder_->comm, &size_), "MPI_Comm_size");
}

Communicator::~Communicator() = default;
Communicator::Communicator(Communicator&&) noexcept = default;
Communicator& Communicator::operator=(Communicator&&) noexcept = default;

void Communicator::barrier() const {
  if (!holder_) return;
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Ibarrier(holder_->comm, &request), "MPI_Ibarrier");
  wait_for_all({&request, 1}, holder_->watch);
}

std::string Communicator::broadcast(std::string bytes, int root) const {
  if (!holder_) return bytes;
  const auto send = [&](void* data, std::size_t count) {
    MPI_Request request = MPI_REQUEST_NULL;
    check_mpi(MPI_Ibcast(data, int_count(count), MPI_CHAR, root, holder_->comm, &request), "MPI_Ibcast");
    wait_for_all({&request, 1}, holder_->watch);
  };
  auto length = static_cast<std::int64_t>(bytes.size());
  send(&length, sizeof(length));
  bytes.resize(static_cast<std::size_t>(length));
  send(bytes.data(), bytes.size());
  return bytes;
}

std::vector<std::string> Communicator::all_gather(std::string_view bytes) const {
  if (!holder_) return {std::string(bytes)};
  const std::vector<std::int64_t> lengths = all_gather(static_cast<std::int64_t>(bytes.size()));
  std::vector<int> counts, offsets;
  std::int64_t total = 0;
  for (std::int64_t length : lengths) {
    counts.push_back(int_count(static_cast<std::size_t>(length)));
    offsets.push_back(int_count(static_cast<std::size_t>(total)));
    total += length;
  }
  std::string all(static_cast<std::size_t>(total), '\0');
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgatherv(bytes.data(), int_count(bytes.size()), MPI_CHAR, all.data(), counts.data(), offsets.data(),
                            MPI_CHAR, holder_->comm, &request),
            "MPI_Iallgatherv");
  wait_for_all({&request, 1}, holder_->watch);
  std::vector<std::string> parts;
  for (std::size_t r = 0; r < counts.size(); ++r) {
    parts.push_back(all.substr(static_cast<std::size_t>(offsets[r]), static_cast<std::size_t>(counts[r])));
  }
  return parts;
}

std::vector<std::int64_t> Communicator::all_gather(std::int64_t value) const {
  return gather_values(*this, value, MPI_INT64_T);
}

std::vector<double> Communicator::all_gather(double value) const { return gather_values(*this, value, MPI_DOUBLE); }

std::int64_t Communicator::max(std::int64_t value) const {
  const auto values = all_gather(value);
  return *std::max_element(values.begin(), values.end());
}

std::optional<std::int64_t> Communicator::max_within(std::int64_t value, std::chrono::milliseconds limit) const {
  if (!holder_) return value;
  auto values = std::make_unique<std::vector<std::int64_t>>(static_cast<std::size_t>(size_) + 1, value);
  MPI_Request request = MPI_REQUEST_NULL;  // the same call as in max(), so it matches that of the peers
  check_mpi(MPI_Iallgather(&values->back(), 1, MPI_INT64_T, values->data(), 1, MPI_INT64_T, holder_->comm, &request),
            "MPI_Iallgather");
  struct TooLate {};
  const auto end = std::chrono::steady_clock::now() + limit;
  const std::function<void()> until_end = [&] {
    if (holder_->watch != nullptr && *holder_->watch) (*holder_->watch)();
    if (std::chrono::steady_clock::now() > end) throw TooLate{};
  };
  try {
    wait_for_all({&request, 1}, &until_end);
  } catch (const TooLate&) {
    static_cast<void>(values.release());  // MPI may still write there
    return std::nullopt;
  }
  return *std::ranges::max_element(*values);
}

std::optional<bool> Communicator::any_within(bool value, std::chrono::milliseconds limit) const {
  const std::optional<std::int64_t> most = max_within(value ? 1 : 0, limit);
  return most ? std::optional(*most != 0) : std::nullopt;
}

std::int64_t Communicator::sum(std::int64_t value) const {
  const auto values = all_gather(value);
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

Communicator Communicator::split(int color) const { return split(color, rank_); }

Communicator Communicator::reordered(std::span<const int> order) const {
  return split(0, static_cast<int>(std::ranges::find(order, rank_) - order.begin()));
}

Communicator Communicator::split(int color, int place) const {
  if (!holder_) return Communicator::self();
  auto part = std::make_unique<MpiCommHolder>();
  check_mpi(MPI_Comm_split(holder_->comm, color, place, &part->comm), "MPI_Comm_split");
  part->owned = true;
  part->watch = holder_->watch;
  check_mpi(MPI_Comm_set_errhandler(part->comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return Communicator(std::move(part));
}

Error error_at_hand() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return DeviceError("out of memory on host " + host_name(), "", "use more ranks or a shorter sequence");
  } catch (const std::filesystem::filesystem_error& error) {
    return DataError(error.code().message(), error.path1().string());
  } catch (const std::exception& error) {
    return Error(ErrorKind::Internal, error.what());
  }
}

void agree(const Communicator& world, const std::optional<Error>& mine) {
  if (world.any(mine.has_value())) throw_first(world, mine);
}

void agree_or_leave(const Communicator& world, const std::optional<Error>& mine) {
  if (!mine) return agree(world, mine);
  if (!world.any_within(true, kPeersComeWithin)) throw Error(*mine);
  throw_first(world, mine);
}

void agree_on(const Communicator& world, const std::function<void()>& action) {
  std::optional<Error> mine;
  try {
    action();
  } catch (const std::exception&) {
    mine = error_at_hand();
  }
  agree(world, mine);
}

}  // namespace rondo
