// SPDX-License-Identifier: Apache-2.0
// The one exception of the library: what went wrong, where, and what to do, shown as in core/utf8.hpp. Only main catches it.
#pragma once

#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

namespace rondo {

/// The cause decides the exit code of the program, see exit_code().
enum class ErrorKind { Internal, Config, Data, Checkpoint, Device, Communication, NonFinite };

/// @returns 1 internal, 2 configuration or usage, 3 data, checkpoint or disk, 4 device or communication, 5 non-finite.
int exit_code(ErrorKind kind);
/// @returns the word used in messages and in exit.json, e.g. "configuration".
std::string_view name_of(ErrorKind kind);

class Error : public std::runtime_error {
 public:
  /// @param where  file:line, path, dataset or key the message is about; may be empty
  /// @param advice what the reader should do next; may be empty
  Error(ErrorKind kind, std::string message, std::string where = {}, std::string advice = {});

  ErrorKind kind() const { return kind_; }
  const std::string& message() const { return message_; }
  const std::string& where() const { return where_; }
  const std::string& advice() const { return advice_; }

 private:
  ErrorKind kind_;
  std::string message_, where_, advice_;
};

struct ConfigError : Error {
  explicit ConfigError(std::string message, std::string where = {}, std::string advice = {})
      : Error(ErrorKind::Config, std::move(message), std::move(where), std::move(advice)) {}
};
struct DataError : Error {
  explicit DataError(std::string message, std::string where = {}, std::string advice = {})
      : Error(ErrorKind::Data, std::move(message), std::move(where), std::move(advice)) {}
};
struct CheckpointError : Error {
  explicit CheckpointError(std::string message, std::string where = {}, std::string advice = {})
      : Error(ErrorKind::Checkpoint, std::move(message), std::move(where), std::move(advice)) {}
};
struct DeviceError : Error {
  explicit DeviceError(std::string message, std::string where = {}, std::string advice = {})
      : Error(ErrorKind::Device, std::move(message), std::move(where), std::move(advice)) {}
};
struct CommError : Error {
  explicit CommError(std::string message, std::string where = {}, std::string advice = {})
      : Error(ErrorKind::Communication, std::move(message), std::move(where), std::move(advice)) {}
};
struct NonFiniteError : Error {
  explicit NonFiniteError(std::string message, std::string where = {}, std::string advice = {})
      : Error(ErrorKind::NonFinite, std::move(message), std::move(where), std::move(advice)) {}
};

/// Throws an internal error that names the caller if the invariant does not hold; also in release builds.
inline void ensure(bool invariant, std::string_view rule,
                   std::source_location caller = std::source_location::current()) {
  if (!invariant) [[unlikely]] {
    throw Error(ErrorKind::Internal, "broken invariant: " + std::string(rule),
                std::string(caller.file_name()) + ":" + std::to_string(caller.line()));
  }
}

}  // namespace rondo
