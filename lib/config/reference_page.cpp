// SPDX-License-Identifier: Apache-2.0
// The configuration reference as Markdown, made from the field lists.
#include "config/print.hpp"

namespace rondo {

namespace {

constexpr const char* kHead = R"(# Configuration reference

<!-- Made by `rondo config-reference > docs/reference/configuration.md`; a test compares the two. Do not edit. -->

A configuration is a TOML file; ready ones are in `configs/`. Every key may also be given on the command line, which wins:
`--set train.steps=100`. `rondo check CONFIG --ranks R` says everything that is wrong with it, without running.

The last column says whether a key may differ when a run is continued from its checkpoint: *yes*; with `--allow-change`;
or *no*.
)";

std::string_view text_of(Change change) {
  switch (change) {
    case Change::Free: return "yes";
    case Change::OnRequest: return "`--allow-change`";
    case Change::Never: return "no";
  }
  return "";
}

std::string row(const Field& field) {
  const std::string standard = field.required ? "required" : "`" + to_toml(field.get(RunConfig{})) + "`";
  return "| `" + field.key + "` | " + standard + " | " + field.rule + " | " + field.meaning + " | " +
         std::string(text_of(field.change)) + " |\n";
}

}  // namespace

std::string reference_page() {
  std::string page = kHead;
  for (const std::string& table : all_tables()) {
    page +=
        "\n## [" + table + "]\n\n| key | default | must be | meaning | may change |\n| --- | --- | --- | --- | --- |\n";
    for (const Field& field : all_fields()) {
      if (field.table == table) page += row(field);
    }
  }
  return page;
}

}  // namespace rondo
