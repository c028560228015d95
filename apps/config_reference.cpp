// SPDX-License-Identifier: Apache-2.0
// `rondo config-reference`: prints the configuration's reference page for docs/.
#include <cstdio>

#include "apps/commands.hpp"
#include "config/print.hpp"

namespace rondo {

void add_config_reference(Program& program) {
  CLI::App* command = add_command(program, program.app,
                                  {"config-reference", "Print the configuration reference as Markdown.",
                                   "rondo config-reference > docs/reference/configuration.md"},
                                  [] {
                                    std::fputs(reference_page().c_str(), stdout);
                                    return 0;
                                  });
  command->group("");  // not in the list of commands
}

}  // namespace rondo
