// SPDX-License-Identifier: Apache-2.0
// The program: one subcommand a file. Only this file catches errors and turns them into exit codes.
int main() { return 0; }
