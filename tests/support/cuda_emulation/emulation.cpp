// SPDX-License-Identifier: Apache-2.0
// The running block, and the barriers where its threads meet. Nothing here is thread_local: such variables are shared memory.
#include "tests/support/cuda_emulation/emulation.hpp"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <elf.h>
#include <link.h>
#include <map>
#include <memory>
#include <unistd.h>
#include <vector>

#include "tests/support/cuda_emulation/cuda_runtime.h"
#include "tests/support/cuda_emulation/fiber.hpp"
#include "tests/support/cuda_emulation/guarded_memory.hpp"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace rondo::emulation {

namespace {

constexpr int kWarp = 32;

/// Where a thread waits.
struct Place {
  const char* function = "";
  std::source_location where = {};

  std::string name() const {
    const std::string file = where.file_name();
    return std::string(function) + " at " + file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line());
  }
  bool operator==(const Place& other) const {
    return where.line() == other.where.line() && std::strcmp(function, other.function) == 0 &&
           std::strcmp(where.file_name(), other.where.file_name()) == 0;
  }
};

struct Copy {
  void* to;
  const void* from;
  std::size_t bytes;
};
using Copies = std::vector<Copy>;

struct Thread {
  enum class State { Runs, Waits, Ended };
  State state = State::Runs;
  Place place;
  void* operands = nullptr;
  Copies open_group;
  std::vector<Copies> groups;
};

struct Warp {
  unsigned arrived = 0;  // lanes that wait in the function
  unsigned mask = 0;
  std::size_t bytes = 0;
  Place place;
};

Order order = Order::Ascending;

/// The only block that runs.
struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  Fiber main;
  const std::function<void()>* body = nullptr;
  int size = 0, num_ended = 0, current = 0;
  int num_at_barrier = 0, num_votes = 0;
  Votes last_votes;
  Place barrier_place;
  std::string error;
  void* shared = nullptr;

  Thread& thread() { return threads[static_cast<std::size_t>(current)]; }
  Fiber& fiber_of(int index) { return *fibers[static_cast<std::size_t>(index)]; }

  void prepare(int num_threads) {
    size = num_threads;
    while (static_cast<int>(fibers.size()) < size) {
      fibers.push_back(std::make_unique<Fiber>([this] { run_bodies(); }));
    }
  }

  void run(const std::function<void()>& kernel) {
    body = &kernel;
    threads.assign(static_cast<std::size_t>(size), {});
    warps.assign(static_cast<std::size_t>((size + kWarp - 1) / kWarp), {});
    num_ended = num_at_barrier = num_votes = 0;
    error.clear();
    select(order == Order::Ascending ? 0 : size - 1);
    main.switch_to(fiber_of(current));
    if (!error.empty()) throw KernelError(error);
  }

  /// The body of every fiber: runs one kernel body per block.
  [[noreturn]] void run_bodies() {
    for (;;) {
      (*body)();
      finish();
    }
  }

  void finish() {
    thread().state = Thread::State::Ended;
    Fiber& mine = fiber_of(current);
    if (++num_ended == size) {
      mine.switch_to(main);
    } else {
      switch_to_next(mine);
    }
  }

  void wait(const Place& place) {
    thread().state = Thread::State::Waits;
    thread().place = place;
    switch_to_next(fiber_of(current));
  }

  void switch_to_next(Fiber& from) {
    for (int step = 1; step <= size; ++step) {
      const int next = (current + (order == Order::Ascending ? step : size - step)) % size;
      if (threads[static_cast<std::size_t>(next)].state == Thread::State::Runs) {
        select(next);
        return from.switch_to(fiber_of(next));
      }
    }
    fail("nobody can go on");
  }

  void select(int index) {
    current = index;
    const auto i = static_cast<unsigned>(index);
    threadIdx = {i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y};
  }

  [[noreturn]] void fail(const std::string& what) {
    std::map<std::string, int> places;
    for (const Thread& each : threads) {
      if (each.state == Thread::State::Ended) ++places["have ended"];
      if (each.state == Thread::State::Waits) ++places["wait in " + each.place.name()];
    }
    error = "block " + std::to_string(blockIdx.x) + ", thread " + std::to_string(current) + ": " + what;
    for (const auto& [place, count] : places) error += "; " + std::to_string(count) + " " + place;
    for (const auto& fiber : fibers) fiber->restart();
    fiber_of(current).switch_to(main);
    std::abort();
  }
};

Block& block() {
  static Block the_block;
  return the_block;
}

/// The calling thread's copy of the thread_local variables of the program or library that holds an address: what a
/// static `__shared__` variable becomes. Empty if it has none.
struct StaticShared {
  const void* address;
  void* first = nullptr;
  std::size_t bytes = 0;

  static int look(dl_phdr_info* info, std::size_t, void* self) {
    auto& found = *static_cast<StaticShared*>(self);
    const auto address = reinterpret_cast<ElfW(Addr)>(found.address);
    bool inside = false;
    std::size_t bytes = 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& header = info->dlpi_phdr[i];
      const ElfW(Addr) first = info->dlpi_addr + header.p_vaddr;
      if (header.p_type == PT_LOAD && first <= address && address < first + header.p_memsz) inside = true;
      if (header.p_type == PT_TLS) bytes = header.p_memsz;
    }
    if (!inside) return 0;
    found.first = info->dlpi_tls_data;
    found.bytes = found.first == nullptr ? 0 : bytes;
    return 1;
  }
};

void say_where(int) {
  char text[160];
  const int length =
      std::snprintf(text, sizeof text, "emulated kernel: block %u, thread %d touched memory outside of every buffer\n",
                    blockIdx.x, block().current);
  // Only calls that are safe in a signal handler; the default action then ends the program.
  if (length > 0) [[maybe_unused]]
    const auto written = write(2, text, static_cast<std::size_t>(length));
  std::signal(SIGSEGV, SIG_DFL);
  std::raise(SIGSEGV);
}

/// During its lifetime, reports the emulated thread that touches memory outside of every buffer.
class FaultMessage {
 public:
  FaultMessage() {
    static char stack[64 * 1024];
    stack_t alternative{};
    alternative.ss_sp = stack;
    alternative.ss_size = sizeof stack;
    sigaltstack(&alternative, nullptr);
    struct sigaction action {};
    action.sa_handler = say_where;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, &before_);
  }
  ~FaultMessage() { sigaction(SIGSEGV, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};

struct FreeGuarded {
  void operator()(void* memory) const { free_guarded(memory); }
};

}  // namespace

void set_order(Order to) { order = to; }

void run_grid(const GridShape& shape, const void* kernel, const std::function<void()>& body) {
  const FaultMessage fault_message;
  StaticShared variables{.address = kernel};
  dl_iterate_phdr(StaticShared::look, &variables);
  const std::unique_ptr<void, FreeGuarded> shared(allocate_guarded(shape.shared_bytes));
  Block& running = block();
  running.shared = shared.get();
  gridDim = {shape.grid.x, shape.grid.y, shape.grid.z};
  blockDim = {shape.block.x, shape.block.y, shape.block.z};
  running.prepare(static_cast<int>(shape.block.x * shape.block.y * shape.block.z));
  const std::size_t num_blocks = std::size_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  for (std::size_t turn = 0; turn < num_blocks; ++turn) {
    const std::size_t i = order == Order::Ascending ? turn : num_blocks - 1 - turn;
    blockIdx = {static_cast<unsigned>(i % shape.grid.x), static_cast<unsigned>(i / shape.grid.x % shape.grid.y),
                static_cast<unsigned>(i / shape.grid.x / shape.grid.y)};
    if (variables.first != nullptr) std::memset(variables.first, 0xff, variables.bytes);
    std::memset(running.shared, 0xff, shape.shared_bytes);
    running.run(body);
  }
}

void* dynamic_shared() { return block().shared; }

int lane_index() { return block().current % kWarp; }

Votes meet_block(const char* function, bool vote, const std::source_location& where) {
  Block& running = block();
  const Place place{function, where};
  if (running.num_at_barrier == 0) running.barrier_place = place;
  if (!(running.barrier_place == place)) {
    running.fail("is in " + place.name() + " while others wait in " + running.barrier_place.name());
  }
  running.num_votes += vote ? 1 : 0;
  if (++running.num_at_barrier < running.size) {
    running.wait(place);
  } else {
    running.last_votes = {.count = running.num_votes, .threads = running.size};
    running.num_at_barrier = running.num_votes = 0;
    for (Thread& each : running.threads) each.state = Thread::State::Runs;
  }
  return running.last_votes;
}

void meet_warp(const char* function, unsigned mask, void* operands, std::size_t bytes,
               const std::function<void(void* const* lanes)>& compute, const std::source_location& where) {
  Block& running = block();
  const auto first = static_cast<std::size_t>(running.current / kWarp * kWarp);
  const unsigned mine = 1U << lane_index();
  Warp& warp = running.warps[first / kWarp];
  const Place place{function, where};
  if ((mask & mine) == 0) running.fail("is not in the mask that it gives to " + place.name());
  if (warp.arrived == 0) {
    warp.mask = mask;
    warp.bytes = bytes;
    warp.place = place;
  } else if (warp.mask != mask || warp.bytes != bytes || !(warp.place == place)) {
    running.fail("is in " + place.name() + " while lanes of its warp wait in " + warp.place.name());
  }
  running.thread().operands = operands;
  warp.arrived |= mine;
  if (warp.arrived != mask) return running.wait(place);

  void* lanes[kWarp] = {};
  for (std::size_t lane = 0; lane < kWarp; ++lane) {
    if ((mask >> lane & 1U) != 0) lanes[lane] = running.threads[first + lane].operands;
  }
  compute(lanes);
  warp.arrived = 0;
  for (std::size_t lane = 0; lane < kWarp; ++lane) {
    if (lanes[lane] != nullptr) running.threads[first + lane].state = Thread::State::Runs;
  }
}

void copy_later(void* to, const void* from, std::size_t bytes) {
  block().thread().open_group.push_back({to, from, bytes});
}

void commit_copies() {
  Thread& thread = block().thread();
  thread.groups.push_back(std::move(thread.open_group));
  thread.open_group.clear();
}

void wait_for_copies(int groups_left) {
  std::vector<Copies>& groups = block().thread().groups;
  for (; static_cast<int>(groups.size()) > groups_left; groups.erase(groups.begin())) {
    for (const Copy& copy : groups.front()) {
      if (copy.from == nullptr) {
        std::memset(copy.to, 0, copy.bytes);
      } else {
        std::memcpy(copy.to, copy.from, copy.bytes);
      }
    }
  }
}

}  // namespace rondo::emulation
