// SPDX-License-Identifier: Apache-2.0
// The JSON that all records have in common: a format name with a version, figures that may not be finite, and errors that name
// the file. Included only by the sources of records; their headers do not depend on JSON.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace rondo {

struct RecordFormat {
  std::string_view name;
  std::int64_t version;  // the newest version that can be read, and the one that is written
};

/// The first members of every record.
inline nlohmann::ordered_json versioned(const RecordFormat& format) {
  return {{"format", format.name}, {"version", format.version}};
}

/// JSON has no infinity and no NaN: a figure that is not finite is written as null.
inline nlohmann::ordered_json finite_or_null(double figure) {
  return std::isfinite(figure) ? nlohmann::ordered_json(figure) : nlohmann::ordered_json(nullptr);
}
/// null is read back as NaN.
inline double figure_of(const nlohmann::json& value) {
  return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

/// Text of a record; bytes that are not UTF-8 are replaced. @param indent  -1 for one line
inline std::string text_of_record(const nlohmann::ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Parses a record and passes the object to `read`. A record without a format is from before records had versions.
/// @throws Failure, naming `where`, for text that is not such a record, and for a newer version
template <typename Failure, typename Read>
auto read_record(const std::string& text, const RecordFormat& format, const std::string& where, const Read& read) {
  const std::string what = "this is not a record of format " + std::string(format.name);
  try {
    const auto json = nlohmann::json::parse(text);
    if (json.contains("format") && json.at("format").get<std::string>() != format.name) {
      throw Failure(what + ", but of " + json.at("format").get<std::string>(), where);
    }
    if (const std::int64_t version = json.value("version", std::int64_t{0}); version > format.version) {
      throw Failure("the record has version " + std::to_string(version) + " of format " + std::string(format.name) +
                        ", this program reads up to " + std::to_string(format.version),
                    where, "use the rondo that wrote it, or a newer one");
    }
    return read(json);
  } catch (const nlohmann::json::exception& problem) {
    throw Failure(what + ": " + problem.what(), where);
  }
}

}  // namespace rondo
