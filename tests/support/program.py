# SPDX-License-Identifier: Apache-2.0
"""Runs the program as a user would: a folder with a corpus, and the ways to start the program there."""
import argparse
import pathlib
import subprocess
import tempfile
import unittest

from launch_ranks import on_ranks

OPTIONS = argparse.Namespace()


def read_options(*names):
    """Parses --NAME VALUE for every name into OPTIONS. @returns the rest of the command line, for unittest"""
    parser = argparse.ArgumentParser()
    for name in names:
        parser.add_argument(f"--{name}", required=True)
    return parser.parse_known_args(namespace=OPTIONS)[1]


def with_settings(*settings):
    return [word for setting in settings for word in ("--set", setting)]


class ProgramTest(unittest.TestCase):
    TEXT = ""   # of the corpus
    SMALL = ()  # settings of a short run

    @classmethod
    def setUpClass(cls):
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = pathlib.Path(temporary.name)
        (cls.folder / "text.txt").write_text(cls.TEXT)
        cls.rondo("prepare", "text.txt", "--tokenizer", "bytes", "--output", "corpus.h5", "--validation", "0.1")

    @classmethod
    def rondo(cls, *arguments, ranks=0, code=0, **options):
        done = subprocess.run(on_ranks(OPTIONS.mpiexec, ranks, [OPTIONS.program, *arguments]), capture_output=True, text=True, errors="replace",
                              timeout=600, cwd=cls.folder, **options)
        if done.returncode != code:
            raise AssertionError(f"{arguments} ended with {done.returncode}, not {code}:\n{done.stdout}\n{done.stderr}")
        return done

    @classmethod
    def train_line(cls, run, *settings):
        return ["train", f"{OPTIONS.source}/configs/tiny.toml", "--run", run,
                *with_settings("data.corpus=corpus.h5", *cls.SMALL, *settings)]
