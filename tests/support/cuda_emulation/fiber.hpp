// SPDX-License-Identifier: Apache-2.0
// A function with its own stack that can yield in the middle and be resumed later.
#pragma once

#include <csetjmp>
#include <functional>
#include <ucontext.h>

namespace rondo::emulation {

/// Runs `body` from its beginning at the first switch and after each restart(). The body must never return.
class Fiber {
 public:
  /// The fiber of the program's own stack.
  Fiber() = default;
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to this fiber starts the body from its beginning; what was on its stack is forgotten.
  void restart() { started_ = false; }
  /// Resumes `to`; returns when another fiber switches back to this one. @pre this fiber is running
  void switch_to(Fiber& to);

 private:
  [[noreturn]] void enter();

  std::function<void()> body_;
  void* stack_ = nullptr;
  bool started_ = false;
  std::jmp_buf place_ = {};
};

}  // namespace rondo::emulation
