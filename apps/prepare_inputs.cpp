// SPDX-License-Identifier: Apache-2.0
#include "apps/prepare_inputs.hpp"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "apps/clean_stop.hpp"
#include "apps/figures.hpp"
#include "core/utf8.hpp"

namespace rondo {

namespace {

constexpr std::array<InputFormat, 3> kFormats{InputFormat::Text, InputFormat::JsonLines, InputFormat::Fasta};

struct Counts {
  std::array<std::int64_t, kFormats.size()> of_format{};
  std::int64_t read = 0, left_out = 0, refused = 0, num_bytes = 0;
};

Counts count(const std::vector<PlannedInput>& plan) {
  Counts counts;
  for (const PlannedInput& input : plan) {
    if (input.use == InputUse::LeftOut) ++counts.left_out;
    if (input.use == InputUse::Refused) ++counts.refused;
    if (input.use != InputUse::Read) continue;
    ++counts.read;
    ++counts.of_format[static_cast<std::size_t>(*input.format)];
    counts.num_bytes += input.num_bytes;
  }
  return counts;
}

std::string_view word_of(const PlannedInput& input) {
  if (input.use == InputUse::LeftOut) return "left out";
  if (input.use == InputUse::Refused) return "refused";
  switch (*input.format) {
    case InputFormat::Text: return "text";
    case InputFormat::JsonLines: return "JSON lines";
    case InputFormat::Fasta: return "FASTA";
  }
  return "text";
}

void print_json(const std::vector<PlannedInput>& plan, const Counts& counts) {
  nlohmann::ordered_json inputs = nlohmann::ordered_json::array();
  for (const PlannedInput& input : plan) {
    nlohmann::ordered_json entry{{"path", input.path}, {"use", input.use == InputUse::Read ? "read" : word_of(input)}};
    if (input.use == InputUse::Read) {
      entry.update({{"format", name_of(*input.format)}, {"gzip", input.is_gzip}});
      entry["bytes"] = input.is_pipe ? nlohmann::ordered_json() : nlohmann::ordered_json(input.num_bytes);
    }
    entry["why"] = input.why;
    if (!input.advice.empty()) entry["advice"] = input.advice;
    if (!input.doubt.empty()) entry["doubt"] = input.doubt;
    inputs.push_back(std::move(entry));
  }
  nlohmann::ordered_json document{{"inputs", std::move(inputs)}, {"read", counts.read}};
  for (std::size_t i = 0; i < kFormats.size(); ++i) document[std::string(name_of(kFormats[i]))] = counts.of_format[i];
  document.update({{"left_out", counts.left_out}, {"refused", counts.refused}, {"input_bytes", counts.num_bytes}});
  std::printf("%s\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

void print_text(const std::vector<PlannedInput>& plan, const Counts& counts) {
  for (const PlannedInput& input : plan) {
    std::string line = fmt::format("{}: {} ({})", display_name(input.path), word_of(input), input.why);
    if (input.is_gzip && input.use == InputUse::Read) line += ", gzip";
    if (!input.advice.empty()) line += "; " + input.advice;
    if (!input.doubt.empty()) line += "; it " + input.doubt;
    fmt::print("{}\n", shown_as_utf8(line));
  }
  fmt::print("{} to read, {:.1f} MB: {} text, {} JSON lines, {} FASTA; {} left out, {} refused\n",
             counted(counts.read, "input"), static_cast<double>(counts.num_bytes) * 1e-6, counts.of_format[0],
             counts.of_format[1], counts.of_format[2], counts.left_out, counts.refused);
}

}  // namespace

int show_inputs(const PrepareOptions& options, bool json) {
  return run_with_clean_stop("prepare", [&] {
    const std::vector<PlannedInput> plan = plan_inputs({.inputs = options.inputs,
                                                        .output = options.output,
                                                        .format = options.format,
                                                        .pipes = PipePolicy::Now,
                                                        .stop = stop_request()});
    const Counts counts = count(plan);
    json ? print_json(plan, counts) : print_text(plan, counts);
    std::fflush(stdout);
    expect_none_refused(plan);
    return 0;
  });
}

}  // namespace rondo
