// SPDX-License-Identifier: Apache-2.0
// A small valid configuration, and variations of it.
#pragma once

#include <string>
#include <vector>

#include "config/load.hpp"

namespace rondo::test {

// Line 1 is [model]; the keys of a test follow in lines of their own tables.
inline const std::string kSample = R"([model]
layers = 2
d_model = 64
heads = 4
kv_heads = 2
[data]
corpus = "a.h5"
sequence_length = 256
[train]
steps = 10
learning_rate = 0.001
)";

inline RunConfig sample(const std::vector<std::string>& overrides = {}) {
  return load_config_text(kSample, "sample.toml", overrides);
}

/// The problems of a text as they are printed.
inline std::vector<std::string> problems_of(const std::string& text, const std::vector<std::string>& overrides = {},
                                            int world_size = 0) {
  std::vector<std::string> printed;
  for (const Problem& problem : all_problems(draft_config_text(text, "a.toml", overrides), world_size)) {
    printed.push_back(to_string(problem));
  }
  return printed;
}

}  // namespace rondo::test
