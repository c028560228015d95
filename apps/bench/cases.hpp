// SPDX-License-Identifier: Apache-2.0
// The cases of `rondo bench`, one file each.
#pragma once

#include "apps/options.hpp"

namespace rondo::bench {

void add_attention(Program& program, CLI::App& group);
void add_feed_forward(Program& program, CLI::App& group);
void add_matmul(Program& program, CLI::App& group);
void add_memory(Program& program, CLI::App& group);
void add_ring(Program& program, CLI::App& group);
void add_split(Program& program, CLI::App& group);
void add_step(Program& program, CLI::App& group);

}  // namespace rondo::bench
