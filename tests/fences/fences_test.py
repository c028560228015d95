# SPDX-License-Identifier: Apache-2.0
"""Breaks each fence once in memory and expects exactly one finding; keeps to it and expects none."""
import unittest

import fences

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


def findings(path, text):
    return list(fences.findings_in_file(path, SPDX + text))


class Fences(unittest.TestCase):
    def assert_refused(self, path, text, word):
        found = findings(path, text)
        self.assertEqual(len(found), 1, found)
        self.assertIn(word, found[0])
        self.assertIn(path, found[0])

    def test_refuses_foreign_headers_outside_their_place(self):
        self.assert_refused("lib/model/ring_attention.cpp", "#include <mpi.h>\n", "mpi.h")
        self.assert_refused("lib/io/token_corpus.cpp", "#include <mpi.h>\n", "mpi.h")
        self.assert_refused("lib/comm/transport.cpp", "#include <hdf5.h>\n", "hdf5.h")
        self.assert_refused("kernels/reference/matmul.cpp", "#include <dnnl.hpp>\n", "dnnl.hpp")
        self.assert_refused("lib/core/device.cpp", "#include <cuda_runtime.h>\n", "cuda_runtime.h")
        self.assert_refused("lib/comm/transport.cpp", "#include <nccl.h>\n", "nccl.h")
        self.assert_refused("apps/train.cpp", "#include <toml++/toml.h>\n", "toml")
        self.assert_refused("lib/config/load.cpp", "#include <CLI/CLI.hpp>\n", "CLI")
        self.assert_refused("lib/core/log.cpp", "#include <iostream>\n", "iostream")

    def test_allows_foreign_headers_in_their_place(self):
        self.assertEqual(findings("lib/comm/communicator.cpp", "#include <mpi.h>\n"), [])
        self.assertEqual(findings("lib/io/hdf5_file.cpp", "#include <hdf5.h>\n#include <mpi.h>\n"), [])
        self.assertEqual(findings("kernels/cuda/matmul.cu", "#include <cuda_bf16.h>\n"), [])
        self.assertEqual(findings("kernels/cpu/matmul.cpp", "#include <dnnl.hpp>\n"), [])

    def test_refuses_includes_against_the_arrows(self):
        self.assert_refused("lib/core/arena.cpp", '#include "config/run_config.hpp"\n', "core may not see config")
        self.assert_refused("lib/io/loader.cpp", '#include "kernels/backend.hpp"\n', "io may not see kernels")
        self.assert_refused("kernels/cpu/norm.cpp", '#include "runtime/runtime.hpp"\n', "kernels may not see runtime")

    def test_allows_includes_along_the_arrows(self):
        self.assertEqual(findings("lib/train/trainer.cpp", '#include "model/transformer.hpp"\n#include "train/adamw.hpp"\n'), [])
        self.assertEqual(findings("apps/train.cpp", '#include "train/trainer.hpp"\n'), [])

    def test_refuses_printing_and_the_environment_in_the_library(self):
        self.assert_refused("lib/train/trainer.cpp", 'std::printf("step\\n");\n', "printf")
        self.assert_refused("lib/model/block.cpp", 'const char* x = std::getenv("X");\n', "getenv")
        self.assertEqual(findings("lib/train/trainer.cpp", '// no printf(here)\nconst char* s = "printf(";\n'), [])

    def test_refuses_words_of_a_dialect(self):
        self.assert_refused("lib/model/span.hpp", "#pragma once\n// the keys in sight of a query\n", "in sight")
        self.assert_refused("lib/model/span.cpp", "// takes 4 bytes a token\n", "bytes a token")
        self.assert_refused("docs/tour.md", "The state behind the span is carried.\n", "the field says after")
        self.assertEqual(findings("lib/model/span.cpp", "// hides behind arithmetic; the visible keys; 4 bytes per token\n"), [])

    def test_refuses_long_files_and_bare_headers(self):
        self.assert_refused("lib/core/long.cpp", "int x;\n" * 500, "longer than 500")
        self.assert_refused("lib/core/bare.hpp", "int x;\n", "#pragma once")
        self.assertEqual(len(list(fences.findings_in_file("lib/core/a.cpp", "int x;\n"))), 1)


if __name__ == "__main__":
    unittest.main()
