// SPDX-License-Identifier: Apache-2.0
// The commands, one file each, named after its command. A new command is declared here and added in main.cpp.
#pragma once

#include "apps/options.hpp"

namespace rondo {

void add_bench(Program& program);
void add_attention(Program& program);
void add_check(Program& program);
void add_train(Program& program);
void add_eval(Program& program);
void add_generate(Program& program);
void add_corpus(Program& program);
void add_prepare(Program& program);
void add_checkpoint(Program& program);
void add_config_reference(Program& program);  // hidden: writes docs/reference/configuration.md

/// The text of `rondo --version`: this build and the libraries that it finds at run time.
std::string version_text();

}  // namespace rondo
