// SPDX-License-Identifier: Apache-2.0
#include "tests/kernels/cuda/fake_nccl.hpp"

#include <cstring>
#include <functional>
#include <memory>
#include <mpi.h>
#include <nccl.h>
#include <sched.h>
#include <utility>

#include "comm/mpi_handle.hpp"
#include "kernels/cuda/device.hpp"
#include "tests/support/guarded_device.hpp"

// The transport hands its stream to NCCL as CUDA's; here it is a guarded one.
namespace rondo::cuda {
cudaStream_t native(const Stream& stream) { return reinterpret_cast<cudaStream_t>(const_cast<Stream*>(&stream)); }
}  // namespace rondo::cuda

struct ncclComm {
  MPI_Comm ranks = MPI_COMM_NULL;
  int busy = 0;  // answers "in progress" that are left to give
};

namespace rondo::test::fake_nccl {

namespace {

struct Message {
  enum class Direction { Send, Receive } direction;
  void* data;
  std::size_t bytes;
  int peer;
  ncclComm_t comm;
  GuardedStream* stream;
};

struct State {
  const Communicator* group = nullptr;
  std::vector<std::string> calls;
  std::vector<Message> open_group;
  int depth = 0;
  bool has_failed_peer = false, refuses_to_start = false, is_stuck = false;
  int slowness = 0, num_alive = 0, num_aborted = 0;
};

State& state() {
  static State all;
  return all;
}

void note(const std::string& call) { state().calls.push_back(call); }

ncclResult_t answer(ncclComm_t comm) {
  comm->busy = state().slowness;
  return state().is_stuck || comm->busy > 0 ? ncclInProgress : ncclSuccess;
}

// Device memory cannot be touched from outside, so messages travel through copies of it.
void exchange(const std::vector<Message>& messages, MPI_Comm ranks) {
  std::vector<std::vector<char>> memory;
  std::vector<MPI_Request> requests;
  auto& device = GuardedDevice::current();
  for (const Message& message : messages) {
    std::vector<char>& bytes = memory.emplace_back(message.bytes);
    MPI_Request& request = requests.emplace_back(MPI_REQUEST_NULL);
    const auto count = static_cast<int>(message.bytes);
    if (message.direction == Message::Direction::Receive) {
      MPI_Irecv(bytes.data(), count, MPI_BYTE, message.peer, 0, ranks, &request);
    } else {
      const GuardedMemory::Open open(device.guarded_memory());
      std::memcpy(bytes.data(), message.data, message.bytes);
      MPI_Isend(bytes.data(), count, MPI_BYTE, message.peer, 0, ranks, &request);
    }
  }
  for (int all = 0; all == 0 && !state().has_failed_peer;) {
    MPI_Testall(static_cast<int>(requests.size()), requests.data(), &all, MPI_STATUSES_IGNORE);
    sched_yield();
  }
  for (MPI_Request& request : requests) {  // of a peer that failed
    if (request == MPI_REQUEST_NULL) continue;
    MPI_Cancel(&request);
    MPI_Request_free(&request);
  }
  const GuardedMemory::Open open(device.guarded_memory());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].direction == Message::Direction::Receive)
      std::memcpy(messages[i].data, memory[i].data(), messages[i].bytes);
  }
}

ncclResult_t add(Message::Direction direction, const void* data, std::size_t bytes, int peer, ncclComm_t comm,
                 cudaStream_t stream) {
  if (comm == nullptr) return ncclInvalidArgument;
  note((direction == Message::Direction::Send ? "send " : "recv ") + std::to_string(peer) + " " +
       std::to_string(bytes));
  if (state().depth == 0) return ncclInvalidUsage;  // the transport always uses groups
  state().open_group.push_back(
      {direction, const_cast<void*>(data), bytes, peer, comm, reinterpret_cast<GuardedStream*>(stream)});
  return ncclSuccess;
}

}  // namespace

void use(const Communicator& group) { state() = {.group = &group, .calls = {}, .open_group = {}}; }
std::vector<std::string> take_calls() { return std::exchange(state().calls, {}); }
void let_a_peer_fail() { state().has_failed_peer = true; }
void refuse_to_start() { state().refuses_to_start = true; }
void be_stuck() { state().is_stuck = true; }
void be_slow(int times) { state().slowness = times; }
int num_alive() { return state().num_alive; }
int num_aborted() { return state().num_aborted; }

}  // namespace rondo::test::fake_nccl

namespace fake = rondo::test::fake_nccl;

extern "C" {

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  std::memset(id, 7, sizeof(*id));
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int num_ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  const rondo::Communicator& group = *fake::state().group;
  const bool is_right =
      num_ranks == group.size() && rank == group.rank() && id.internal[0] == 7 && config->blocking == 0;
  if (!is_right) return ncclInvalidArgument;
  if (fake::state().refuses_to_start) return ncclSystemError;
  fake::note("init, at most " + std::to_string(config->maxCTAs) + " CTAs");
  *comm = new ncclComm;
  if (!fake::state().is_stuck) MPI_Comm_dup(rondo::mpi_comm_of(group), &(*comm)->ranks);
  ++fake::state().num_alive;
  return fake::answer(*comm);
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  const bool is_busy = fake::state().is_stuck || comm->busy > 0;
  *error = fake::state().has_failed_peer ? ncclRemoteError : is_busy ? ncclInProgress : ncclSuccess;
  if (comm->busy > 0) --comm->busy;
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  fake::note("group");
  ++fake::state().depth;
  return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
  fake::note("end");
  if (--fake::state().depth > 0) return ncclSuccess;
  const std::vector<fake::Message> messages = std::exchange(fake::state().open_group, {});
  if (messages.empty()) return ncclSuccess;
  for (const fake::Message& message : messages) {
    if (message.comm != messages.front().comm || message.stream != messages.front().stream) return ncclInvalidUsage;
  }
  messages.front().stream->push([messages, ranks = messages.front().comm->ranks] { fake::exchange(messages, ranks); });
  return fake::answer(messages.front().comm);
}

ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
  return fake::add(fake::Message::Direction::Send, data, count, peer, comm, stream);
}

ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
  return fake::add(fake::Message::Direction::Receive, data, count, peer, comm, stream);
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  fake::note("broadcast " + std::to_string(root) + " " + std::to_string(count));
  reinterpret_cast<rondo::test::GuardedStream*>(stream)->push([=, ranks = comm->ranks] {
    const rondo::test::GuardedMemory::Open open(rondo::test::GuardedDevice::current().guarded_memory());
    std::vector<char> bytes(static_cast<const char*>(from), static_cast<const char*>(from) + count);
    MPI_Bcast(bytes.data(), static_cast<int>(count), MPI_BYTE, root, ranks);
    std::memcpy(to, bytes.data(), count);
  });
  return fake::answer(comm);
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) { return fake::answer(comm); }

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  fake::note("destroy");
  --fake::state().num_alive;
  MPI_Comm_free(&comm->ranks);
  delete comm;
  return ncclSuccess;
}

// MPI's communicator is not given back: freeing it is collective.
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  fake::note("abort");
  --fake::state().num_alive;
  ++fake::state().num_aborted;
  delete comm;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t) { return "remote process exited"; }
const char* ncclGetLastError(ncclComm_t) { return ""; }

}  // extern "C"
