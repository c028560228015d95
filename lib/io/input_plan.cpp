// SPDX-License-Identifier: Apache-2.0
#include "io/input_plan.hpp"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <utility>

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "io/atomic_file.hpp"
#include "io/input_kind.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNamedInWarnings = 3;

PlannedInput refused(const std::string& path, std::string why, std::string advice = {}) {
  return {.path = path, .use = InputUse::Refused, .why = std::move(why), .advice = std::move(advice)};
}

bool is_same_file(const fs::path& path, const std::string& other) {
  std::error_code missing;
  return !other.empty() && fs::equivalent(path, other, missing);
}

/// Why an entry of a folder is skipped because of its name or type; empty for a regular file or a folder.
std::string why_left_out(const fs::directory_entry& entry) {
  std::error_code failure;
  const fs::file_status target = entry.status(failure);
  if (entry.path().filename().string().starts_with('.')) return "it is hidden";
  if (entry.is_symlink(failure)) {
    if (fs::is_directory(target)) return "it is a link to a folder";
    if (!fs::exists(target)) return "it is a broken link";
  }
  if (entry.path().extension() == kPartialSuffix) return "it is an unfinished output";
  return fs::is_regular_file(target) || fs::is_directory(target) ? "" : "it is no file";
}

/// Adds the entries of the folder, recursively and in any order.
void list_folder(const fs::path& folder, const InputRequest& request, std::vector<PlannedInput>& found) {
  std::error_code failure;
  fs::directory_iterator at(folder, failure);
  for (; !failure && at != fs::directory_iterator(); at.increment(failure)) {
    const std::string path = at->path().string();
    if (is_same_file(at->path(), request.output) || path == request.output + std::string(kPartialSuffix)) continue;
    const std::string why = why_left_out(*at);
    std::error_code ignored;
    if (!why.empty()) {
      found.push_back({.path = path, .use = InputUse::LeftOut, .why = why, .in_folder = true});
    } else if (at->is_directory(ignored)) {
      list_folder(at->path(), request, found);
    } else {
      found.push_back({.path = path, .in_folder = true});
    }
  }
  if (failure) found.push_back(refused(folder.string(), "cannot be listed: " + failure.message()));
}

/// Adds the inputs at a path that the user named.
void list_input(const std::string& path, const InputRequest& request, std::vector<PlannedInput>& found) {
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (path == "-") {
    found.push_back({.path = path});
  } else if (fs::is_directory(status)) {
    const auto first = std::ssize(found);
    list_folder(path, request, found);
    // char_traits compares as unsigned bytes
    std::sort(found.begin() + first, found.end(),
              [](const PlannedInput& a, const PlannedInput& b) { return a.path < b.path; });
  } else if (fs::exists(status)) {
    const bool is_output = is_same_file(path, request.output);
    found.push_back(is_output ? refused(path, "is input and output at once", "write to another --output")
                              : PlannedInput{.path = path});
  } else if (fs::is_symlink(fs::symlink_status(path, failure))) {
    found.push_back(refused(path, "is a broken link"));
  } else if (status.type() == fs::file_type::not_found) {
    found.push_back(refused(path, "no such file or folder"));
  } else {
    found.push_back(refused(path, "cannot be opened: " + failure.message()));
  }
}

/// Opens inputs that can be opened twice, so that bad ones are refused before hours of reading.
void look_into(PlannedInput& input, const InputRequest& request) {
  std::error_code failure;
  input.is_pipe = input.path == "-" || !fs::is_regular_file(input.path, failure);
  if (!input.is_pipe) input.num_bytes = static_cast<std::int64_t>(fs::file_size(input.path, failure));
  input.format = request.format;
  if (input.is_pipe && request.pipes == PipePolicy::Later) return;
  try {
    constexpr std::size_t kSmallBlock = 8192;  // usually the first few bytes decide
    ByteStream stream = ByteStream::open(input.path, request.stop, kSmallBlock);
    input.is_gzip = stream.is_gzip();
    if (request.format) {
      input.why = "--format says so";
    } else {
      recognise_into(input, stream);
    }
  } catch (const DataError& error) {
    const bool has_place = error.where() != shown_as_utf8(display_name(input.path));
    input.use = InputUse::Refused;
    input.why = (has_place ? error.where() + ": " : "") + error.message();
    input.advice = error.advice();
  }
}

std::string joined(std::span<const PlannedInput* const> inputs, std::string_view more) {
  std::string text;
  for (std::size_t i = 0; i < std::min(inputs.size(), kNamedInWarnings); ++i) {
    text += (i > 0 ? ", " : "") + inputs[i]->path + " (" + inputs[i]->why + ")";
  }
  if (inputs.size() > kNamedInWarnings) {
    text += " and " + std::to_string(inputs.size() - kNamedInWarnings) + std::string(more);
  }
  return text;
}

}  // namespace

std::vector<PlannedInput> plan_inputs(const InputRequest& request) {
  if (request.inputs.empty())
    throw ConfigError("no input is given", "INPUT", "name files, folders, or - for standard input");
  if (std::count(request.inputs.begin(), request.inputs.end(), "-") > 1) {
    throw ConfigError("standard input can be read only once", "-");
  }
  std::vector<PlannedInput> plan;
  for (const std::string& path : request.inputs) {
    std::vector<PlannedInput> found;
    list_input(path, request, found);
    bool is_useful = found.size() == 1 && !found.front().in_folder;
    for (PlannedInput& input : found) {
      if (input.use == InputUse::Read) look_into(input, request);
      is_useful |= input.use != InputUse::LeftOut;
    }
    if (!is_useful) {
      const std::string why = found.empty() ? "the folder has no files" : "the folder has no files that can be read";
      found.push_back(refused(path, why, found.empty() ? "" : "--dry-run says what they are"));
    }
    std::move(found.begin(), found.end(), std::back_inserter(plan));
  }
  return plan;
}

void recognise_into(PlannedInput& input, ByteStream& stream) {
  const Recognition found = recognise_input(stream);
  input.why = found.why;
  input.doubt = found.doubt;
  const bool is_read = found.kind != InputKind::Foreign && (found.kind != InputKind::Binary || !input.in_folder);
  if (is_read) {
    input.format = found.kind == InputKind::JsonLines ? InputFormat::JsonLines
                   : found.kind == InputKind::Fasta   ? InputFormat::Fasta
                                                      : InputFormat::Text;
    if (found.kind == InputKind::Binary) input.doubt = "is read as text although " + found.why;
    return;
  }
  input.use = input.in_folder ? InputUse::LeftOut : InputUse::Refused;
  if (found.kind != InputKind::Foreign) return;
  input.why = (stream.is_gzip() ? "inside gzip it is " : "it is ") + found.why;
  input.advice = found.advice;
  if (input.in_folder) return;
  input.advice += std::string(input.advice.empty() ? "" : "; ") + "--format text takes its bytes as they are";
}

void expect_none_refused(std::span<const PlannedInput> plan) {
  const PlannedInput* first = nullptr;
  std::size_t num_refused = 0;
  for (const PlannedInput& input : plan) {
    if (input.use != InputUse::Refused) continue;
    if (num_refused++ == 0) first = &input;
  }
  if (num_refused == 0) return;
  std::string advice = first->advice;
  if (num_refused > 1) {
    advice += (advice.empty() ? "" : "\n  ") + std::string("also refused: ") + std::to_string(num_refused - 1) +
              " more, which --dry-run names";
  }
  throw DataError(first->why, display_name(first->path), advice);
}

std::vector<std::string> warnings_of(std::span<const PlannedInput> plan) {
  std::vector<const PlannedInput*> left_out, doubtful;
  for (const PlannedInput& input : plan) {
    if (input.use == InputUse::LeftOut) left_out.push_back(&input);
    if (input.use == InputUse::Read && !input.doubt.empty()) doubtful.push_back(&input);
  }
  std::vector<std::string> warnings;
  if (!left_out.empty()) warnings.push_back("left out: " + joined(left_out, " more, which --dry-run names"));
  for (std::size_t i = 0; i < std::min(doubtful.size(), kNamedInWarnings); ++i) {
    warnings.push_back(display_name(doubtful[i]->path) + " " + doubtful[i]->doubt);
  }
  if (doubtful.size() > kNamedInWarnings) {
    warnings.push_back("also doubtful: " + std::to_string(doubtful.size() - kNamedInWarnings) +
                       " more, which --dry-run names");
  }
  return warnings;
}

}  // namespace rondo
