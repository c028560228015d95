// SPDX-License-Identifier: Apache-2.0
// Work items distributed over OpenMP threads. Items are claimed in ascending order, each is done by one thread, and the
// calling thread keeps transfers progressing. Results never depend on which thread does an item.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <omp.h>
#include <thread>

#include "core/device.hpp"

namespace rondo::cpu {

/// One thread inside parallel_items.
class Worker {
 public:
  Worker(const Stream& stream, int index, std::atomic<bool>& stop) : stream_(stream), stop_(stop), index_(index) {}

  int index() const { return index_; }
  bool stopped() const { return stop_.load(std::memory_order_relaxed); }

  /// Called between tiles; on the calling thread it lets transfers progress, at most every 30 us.
  void tick() {
    if (index_ != 0) return;
    const auto now = std::chrono::steady_clock::now();
    if (now - last_progress_ < std::chrono::microseconds(30)) return;
    stream_.progress();
    last_progress_ = std::chrono::steady_clock::now();
  }

  /// Waits until `value` is `wanted`. @returns false if another thread has failed
  bool wait_for(const std::atomic<std::int32_t>& value, std::int32_t wanted) {
    for (int tries = 0; value.load(std::memory_order_acquire) != wanted; ++tries) {
      if (stopped()) return false;
      pause(tries);
    }
    return true;
  }
  void pause(int tries) {
    tick();
    if (tries > 64) std::this_thread::yield();
  }

 private:
  const Stream& stream_;
  std::atomic<bool>& stop_;
  int index_;
  std::chrono::steady_clock::time_point last_progress_{};
};

/// Number of threads for an operation of `flop` FLOP: waking threads for less than about 20 us of work does not pay off.
inline int threads_for(double flop, int threads) { return flop < 2e6 ? 1 : threads; }

/// body(worker, item) for all items in [0, num_items). The first exception of any thread is rethrown on the caller.
template <typename Body> void parallel_items(const Stream& stream, int threads, std::int64_t num_items, Body&& body) {
  const int used = static_cast<int>(std::min<std::int64_t>(threads, num_items));
  std::atomic<bool> stop{false};
  if (used <= 1) {
    Worker worker(stream, 0, stop);
    for (std::int64_t item = 0; item < num_items; ++item) {
      body(worker, item);
      worker.tick();
    }
    return;
  }
  std::atomic<std::int64_t> next{0}, finished{0};
  std::exception_ptr failure;
#pragma omp parallel num_threads(used)
  {
    Worker worker(stream, omp_get_thread_num(), stop);
    try {
      while (!worker.stopped()) {
        const std::int64_t item = next.fetch_add(1);
        if (item >= num_items) break;
        body(worker, item);
        finished.fetch_add(1);
        worker.tick();
      }
      worker.tick();  // in case the calling thread got no item
      // The calling thread keeps transfers progressing until all items are done.
      for (int tries = 0; worker.index() == 0 && !worker.stopped() && finished.load() < num_items; ++tries) {
        worker.pause(tries);
      }
    } catch (...) {
#pragma omp critical(rondo_parallel_items)
      {
        if (!failure) failure = std::current_exception();
      }
      stop.store(true);
    }
  }
  if (failure) std::rethrow_exception(failure);
}

/// body(worker, begin, end) over [0, count) in chunks of `chunk`, of which the last may be shorter.
template <typename Body>
void parallel_chunks(const Stream& stream, int threads, std::int64_t count, std::int64_t chunk, Body&& body) {
  parallel_items(stream, threads, (count + chunk - 1) / chunk, [&](Worker& worker, std::int64_t item) {
    body(worker, item * chunk, std::min(count, (item + 1) * chunk));
  });
}

}  // namespace rondo::cpu
