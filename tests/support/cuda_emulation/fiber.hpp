// SPDX-License-Identifier: Apache-2.0
// A function with its own stack that gives up its turn in the middle and is taken up again later.
#pragma once

#include <csetjmp>
#include <functional>
#include <ucontext.h>

namespace rondo::emulation {

/// Runs `body` once for each time that the stack is handed out with restart(); must never return past its end.
class Fiber {
 public:
  /// The fiber that the program's own stack is.
  Fiber() = default;
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to this fiber starts the body from its beginning; what was on its stack is forgotten.
  void restart() { started_ = false; }
  /// Goes on with `to`; returns when somebody switches back to this fiber. @pre this is the one that runs
  void switch_to(Fiber& to);

 private:
  [[noreturn]] void enter();

  std::function<void()> body_;
  void* stack_ = nullptr;
  bool started_ = false;
  std::jmp_buf place_ = {};
};

}  // namespace rondo::emulation
