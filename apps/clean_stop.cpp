// SPDX-License-Identifier: Apache-2.0
#include "apps/clean_stop.hpp"

#include <csignal>
#include <cstdio>
#include <signal.h>

namespace rondo {

namespace {

volatile std::sig_atomic_t stop_signal = 0;

struct Stopped {};

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { stop_signal = signal; };
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

void stop_if_asked() {
  if (stop_signal != 0) throw Stopped{};
}

}  // namespace rondo
