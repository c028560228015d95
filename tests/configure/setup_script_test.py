# SPDX-License-Identifier: Apache-2.0
"""jobs/setup.sh in a tree and with a PATH of its own, in which commands are missing, old, or replaced by CC and CXX. Nothing
is installed: there is no apt-get in that PATH.

usage: setup_script_test.py --source ROOT --cmake CMAKE --ninja NINJA --cc CC --cxx CXX
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
LEFT_OUT = {"apt-get", "sudo", "cmake", "ninja", "ninja-build", "c++", "g++", "clang++", "cc", "gcc", "clang", "ccache"}


class SetupScript(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = pathlib.Path(place.name)
        for file in ("jobs/setup.sh", "jobs/launch.sh", "tests/configure/parallel_hdf5.c"):
            (self.place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(pathlib.Path(OPTIONS.source) / file, self.place / file)
        shutil.copytree(pathlib.Path(OPTIONS.source) / "jobs/cmake", self.place / "jobs/cmake")
        self.bin = self.place / "bin"
        self.bin.mkdir()
        # First come, first served, as in PATH itself.
        for folder in os.environ["PATH"].split(os.pathsep):
            for command in pathlib.Path(folder).glob("*") if folder else ():
                if command.name not in LEFT_OUT and not (self.bin / command.name).is_symlink():
                    (self.bin / command.name).symlink_to(command)
        self.add(cmake=OPTIONS.cmake, ninja=OPTIONS.ninja)

    def add(self, **commands):
        for name, target in commands.items():
            (self.bin / name).symlink_to(target)

    def write(self, name, body):
        file = self.place / name
        file.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        file.chmod(0o755)
        return str(file)

    def setup_script(self, status, *words, arguments=(), **environment):
        kept = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX")}
        done = subprocess.run(["/bin/bash", self.place / "jobs/setup.sh", *arguments], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, encoding="utf-8", env={**kept, "PATH": str(self.bin), **environment})
        self.assertEqual(done.returncode, status, done.stdout)
        for word in words:
            self.assertIn(word, done.stdout)
        return done.stdout

    def test_compilers_come_from_cc_and_cxx(self):
        self.setup_script(0, "everything is found, nothing to install", CC=OPTIONS.cc, CXX=OPTIONS.cxx)
        said = self.setup_script(1, "Missing commands: g++ gcc")
        self.assertNotIn("Missing commands: cmake", said)

    def test_a_compiler_that_is_not_there_is_named(self):
        self.setup_script(1, "CXX=g++-99 -O3, and there is no g++-99 here", CC=OPTIONS.cc, CXX="g++-99 -O3")

    def test_a_compiler_that_is_too_old_is_named(self):
        old = self.write("old-c++", f'exec "{OPTIONS.cxx}" -U__GNUC__ -D__GNUC__=11 "$@"')
        self.setup_script(1, "GNU 11.", old, "g++ 12", CC=OPTIONS.cc, CXX=old)
        # The probe remembers nothing of it.
        self.setup_script(0, "everything is found", CC=OPTIONS.cc, CXX=OPTIONS.cxx)

    def test_a_cmake_that_is_too_old_is_named(self):
        (self.bin / "cmake").unlink()
        self.add(cmake=self.write("cmake-3.18", "echo cmake version 3.18.4"))
        self.setup_script(1, "CMake 3.25 or newer is needed", str(self.bin / "cmake"), "is 3.18.4", CC=OPTIONS.cc, CXX=OPTIONS.cxx)

    def test_what_is_missing_is_named_where_nothing_can_be_installed(self):
        (self.bin / "ninja").unlink()
        self.setup_script(1, "Missing commands: ninja-build\n", "The whole list: cmake g++", "no apt-get here", CC=OPTIONS.cc, CXX=OPTIONS.cxx)

    def test_commands_that_only_help_are_not_required(self):
        for command in ("git", "clang-format-14", "debootstrap"):
            (self.bin / command).unlink(missing_ok=True)
        said = self.setup_script(0, "not found, and not necessary: ccache git clang-format-14", "everything is found, nothing to install",
                                 arguments=["--tests"], CC=OPTIONS.cc, CXX=OPTIONS.cxx)
        self.assertNotIn("installing", said)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("source", "cmake", "ninja", "cc", "cxx"):
        parser.add_argument(f"--{option}", required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
