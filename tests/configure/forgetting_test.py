# SPDX-License-Identifier: Apache-2.0
"""Configures one folder twice: first with something hidden, which must be named, then with it visible, which must be found.
A folder that remembers what was missing fails.

usage: forgetting_test.py --source ROOT --cmake CMAKE --ninja NINJA --cc CC --cxx CXX
       --headers FOLDER (of dnnl.hpp and xxhash.h) --hide FOLDER... (of mpicc and h5pcc)
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

OPTIONS = argparse.Namespace()


class Forgetting(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)
        self.build = self.place / "build"

    def configure(self, *arguments, source="jobs/cmake/probe", **environment):
        done = subprocess.run([OPTIONS.cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={OPTIONS.ninja}", "-S", pathlib.Path(OPTIONS.source) / source,
                               "-B", self.build, *arguments], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              encoding="utf-8", env=dict(os.environ, **{"CC": OPTIONS.cc, "CXX": OPTIONS.cxx, **environment}))
        self.said = done.stdout
        return done.returncode

    def probe(self, *arguments, **environment):
        """The packages that jobs/setup.sh would install."""
        self.assertEqual(self.configure(*arguments, **environment), 0, self.said)
        return set((self.build / "missing_packages.txt").read_text(encoding="utf-8").split())

    def refusal(self):
        return (self.build / "refused.txt").read_text(encoding="utf-8")

    def cached(self, name):
        for line in (self.build / "CMakeCache.txt").read_text(encoding="utf-8").splitlines():
            if line.startswith(f"{name}:"):
                return line.split("=", 1)[1]
        return None

    def compiler(self, name, body):
        """A compiler at a path of its own: the real one after the shell lines of `body`, which may set `more`."""
        file = self.place / name
        file.write_text(f'#!/bin/sh\nmore=\n{body}\nexec "{OPTIONS.cxx}" $more "$@"\n', encoding="utf-8")
        file.chmod(0o755)
        return str(file)

    def test_mpi_and_parallel_hdf5_whose_wrappers_appear_later(self):
        hidden = self.probe(f"-DCMAKE_IGNORE_PATH={';'.join(OPTIONS.hide)}")
        self.assertLessEqual({"libhdf5-openmpi-dev", "libopenmpi-dev"}, hidden)
        self.assertEqual(self.probe("-DCMAKE_IGNORE_PATH="), set())

    def test_an_older_folder_that_holds_a_serial_hdf5_for_good(self):
        self.assertEqual(self.probe("-DHDF5_IS_PARALLEL:BOOL=FALSE", "-DHDF5_C_COMPILER_EXECUTABLE=/nowhere/h5cc",
                                    "-DHDF5_C_LIBRARY_hdf5=/nowhere/libhdf5.so"), set())

    def test_headers_that_come_after_their_libraries(self):
        self.assertLessEqual({"libdnnl-dev", "libxxhash-dev"}, self.probe(f"-DCMAKE_IGNORE_PATH={OPTIONS.headers}"))
        self.assertEqual(self.probe("-DCMAKE_IGNORE_PATH="), set())

    def test_a_folder_of_the_build_itself(self):
        arguments = ("-DRONDO_TESTS=OFF", "-DRONDO_CUDA=OFF")
        hidden = ";".join([OPTIONS.headers, *OPTIONS.hide])
        self.assertNotEqual(self.configure(*arguments, f"-DCMAKE_IGNORE_PATH={hidden}", source="."), 0)
        for words in ("Debian package libopenmpi-dev openmpi-bin", "Debian package libhdf5-openmpi-dev", "Debian package libxxhash-dev"):
            self.assertIn(words, " ".join(self.said.split()))
        self.assertEqual(self.configure("-DCMAKE_IGNORE_PATH=", source="."), 0, self.said)

    def test_openmp_that_the_compiler_learns_later(self):
        broken = self.place / "broken"
        broken.touch()
        cxx = self.compiler("c++", f'if [ -e "{broken}" ]; then case " $* " in *-fopenmp*) exit 1 ;; esac; fi')
        self.assertEqual(self.probe(CXX=cxx), {"g++"})
        broken.unlink()
        self.assertEqual(self.probe(CXX=cxx), set())

    def test_a_compiler_that_is_too_old_is_named_and_not_kept(self):
        old = self.compiler("old-c++", 'more="-U__GNUC__ -D__GNUC__=11 -U__GNUC_MINOR__ -D__GNUC_MINOR__=4"')
        self.probe(CXX=old)
        for words in ("GNU 11.4", old, "g++ 12"):
            self.assertIn(words, self.refusal())
        self.assertEqual(self.probe(), set())
        self.assertEqual(self.refusal(), "")
        self.assertEqual(self.cached("CMAKE_CXX_COMPILER"), OPTIONS.cxx)

    def test_a_python_that_lost_its_modules(self):
        arguments = ("-DRONDO_TESTS=ON", f"-DRONDO_PYTHON={self.compiler('python', 'exit 1')}")
        self.probe(*arguments)
        self.assertNotEqual(self.cached("RONDO_PYTHON"), str(self.place / "python"))

    def test_a_cuda_compiler_that_is_named_later(self):
        nvcc = shutil.which("nvcc") or next((path for path in ["/usr/local/cuda/bin/nvcc"] if os.access(path, os.X_OK)), None)
        if nvcc is None:
            self.skipTest("there is no CUDA toolkit here")
        project = self.place / "project"
        (project / "kernels/cuda").mkdir(parents=True)
        (project / "kernels/cuda/CMakeLists.txt").touch()
        (project / "CMakeLists.txt").write_text(
            f"cmake_minimum_required(VERSION 3.25)\nproject(p LANGUAGES C CXX)\nset(RONDO_CUDA AUTO)\ninclude({OPTIONS.source}/jobs/cmake/cuda.cmake)\n"
            "file(WRITE ${CMAKE_BINARY_DIR}/has_cuda ${RONDO_HAS_CUDA})\n", encoding="utf-8")
        self.assertEqual(self.configure(source=project, CUDACXX="/nowhere/nvcc"), 0, self.said)
        self.assertEqual((self.build / "has_cuda").read_text(encoding="utf-8"), "OFF")
        self.assertEqual(self.configure(source=project, CUDACXX=nvcc), 0, self.said)
        self.assertEqual((self.build / "has_cuda").read_text(encoding="utf-8"), "ON")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("source", "cmake", "ninja", "cc", "cxx", "headers"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--hide", nargs="+", required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
