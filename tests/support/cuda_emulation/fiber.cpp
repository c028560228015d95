// SPDX-License-Identifier: Apache-2.0
// Stacks are entered with makecontext; after that _setjmp and _longjmp switch, which unlike swapcontext make no system call.
#include "tests/support/cuda_emulation/fiber.hpp"

#include <cstdlib>
#include <new>
#include <sys/mman.h>
#include <utility>

namespace rondo::emulation {

namespace {

constexpr std::size_t kStackBytes = 128 * 1024;
constexpr std::size_t kGuardBytes = 4096;  // a stack overflow ends the program instead of damaging another stack

const std::function<void()>* body_to_enter = nullptr;

void enter_body() {
  (*body_to_enter)();
  std::abort();  // a body ends by switching away
}

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {
  stack_ = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(stack_, kGuardBytes, PROT_NONE);
}

Fiber::~Fiber() {
  if (stack_ != nullptr) munmap(stack_, kStackBytes);
}

void Fiber::enter() {
  started_ = true;
  body_to_enter = &body_;
  ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = stack_;
  context.uc_stack.ss_size = kStackBytes;
  context.uc_link = nullptr;
  makecontext(&context, enter_body, 0);
  setcontext(&context);
  std::abort();  // setcontext returns only when it fails
}

void Fiber::switch_to(Fiber& to) {
  if (_setjmp(place_) != 0) return;
  if (to.stack_ != nullptr && !to.started_) to.enter();
  _longjmp(to.place_, 1);
}

}  // namespace rondo::emulation
