// SPDX-License-Identifier: Apache-2.0
#include "apps/clean_stop.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace rondo {

namespace {

volatile std::sig_atomic_t stop_signal = 0;
std::array<int, 2> stop_pipe{-1, -1};  // a wait for input ends when the read end becomes readable

struct Stopped {};

void catch_signals() {
  if (::pipe2(stop_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) stop_pipe = {-1, -1};  // then a wait ends with the input
  struct sigaction action {};
  action.sa_handler = [](int signal) {
    const int interrupted = errno;
    stop_signal = signal;
    const char byte = 0;
    [[maybe_unused]] const ::ssize_t written = ::write(stop_pipe[1], &byte, 1);  // never blocks, and one byte is enough
    errno = interrupted;
  };
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}

}  // namespace

int run_with_clean_stop(const std::string& command, const std::function<int()>& body) {
  catch_signals();
  try {
    return body();
  } catch (const Stopped&) {
    std::fprintf(stderr, "%s: stopped by a signal, nothing was written\n", command.c_str());
    std::signal(stop_signal, SIG_DFL);
    std::raise(stop_signal);
  }
  return 0;
}

StopRequest stop_request() { return {.descriptor = stop_pipe[0], .stop = stop_if_asked}; }

void stop_if_asked() {
  if (stop_signal != 0) throw Stopped{};
}

}  // namespace rondo
