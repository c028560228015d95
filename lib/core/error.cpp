// SPDX-License-Identifier: Apache-2.0
#include "core/error.hpp"

#include <utility>

#include "core/utf8.hpp"

namespace rondo {

namespace {

std::string full_text(const std::string& message, const std::string& where, const std::string& advice) {
  std::string text = where.empty() ? message : where + ": " + message;
  return advice.empty() ? text : text + "\n  " + advice;
}

}  // namespace

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::Internal: return 1;
    case ErrorKind::Config: return 2;
    case ErrorKind::Data:
    case ErrorKind::Checkpoint: return 3;
    case ErrorKind::Device:
    case ErrorKind::Communication: return 4;
    case ErrorKind::NonFinite: return 5;
  }
  return 1;
}

std::string_view name_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::Internal: return "internal";
    case ErrorKind::Config: return "configuration";
    case ErrorKind::Data: return "data";
    case ErrorKind::Checkpoint: return "checkpoint";
    case ErrorKind::Device: return "device";
    case ErrorKind::Communication: return "communication";
    case ErrorKind::NonFinite: return "non-finite";
  }
  return "internal";
}

Error::Error(ErrorKind kind, std::string message, std::string where, std::string advice)
    : std::runtime_error(shown_as_utf8(full_text(message, where, advice))),
      kind_(kind),
      message_(std::move(message)),
      where_(std::move(where)),
      advice_(std::move(advice)) {
  for (std::string* part : {&message_, &where_, &advice_}) *part = shown_as_utf8(*part);
}

}  // namespace rondo
