# SPDX-License-Identifier: Apache-2.0
"""The program and its GPU module from outside: with the module that was built, on a machine without a GPU; without any
module; and with GPUs of the tests, whose memory the host cannot touch (tests/support/guarded_module.cpp).
"""
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from program import OPTIONS, ProgramTest, read_options


class GpuProgramTest(ProgramTest):
    TEXT = "Rings carry keys and values from rank to rank. " * 100
    SMALL = ("model.layers=1", "model.d_model=16", "model.heads=2", "model.kv_heads=1", "data.sequence_length=64",
             "train.steps=4", "train.warmup_steps=1", "train.batch_sequences=2", "evaluate.sequences=1",
             "evaluate.every_steps=2", "log.every_steps=1", "precision.compute=fp32", "parallel.threads=1")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Each folder is an installation of its own: the module is looked for beside the library that the program loads.
        for name, module in (("none", None), ("guarded", OPTIONS.guarded), ("real", OPTIONS.module)):
            (cls.folder / name).mkdir()
            (cls.folder / name / "librondo.so").symlink_to(OPTIONS.library)
            if module:
                (cls.folder / name / "librondo_cuda.so").symlink_to(module)

    @classmethod
    def rondo_of(cls, installation, *arguments, ranks=0, code=0, **variables):
        environment = {**os.environ, "LD_LIBRARY_PATH": f"{cls.folder}/{installation}",
                       **{name: str(value) for name, value in variables.items()}}
        return cls.rondo(*arguments, ranks=ranks, code=code, env=environment)

    def refused(self, installation, words, *values, ranks=2, **variables):
        done = self.rondo_of(installation, *self.train_line("refused", *values), ranks=ranks, code=4, **variables)
        errors = [line for line in done.stderr.splitlines() if "error:" in line]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertIn(words, errors[0])
        self.assertNotIn("step       1", done.stderr)

    def test_without_a_module_a_gpu_is_refused_and_the_cpu_works(self):
        self.refused("none", "no GPU can be used: the module librondo_cuda.so is missing", "parallel.device=cuda")
        self.assertIn("GPU    none: no GPU can be used", self.rondo_of("none", "--version").stdout)
        done = self.rondo_of("none", *self.train_line("cpu"), ranks=2)
        self.assertRegex(done.stderr, r"2 ranks .*; auto: ")

    def test_without_a_driver_the_module_says_so_and_the_cpu_works(self):
        if not OPTIONS.module:
            self.skipTest("built without a CUDA toolkit")
        version = self.rondo_of("real", "--version").stdout
        self.assertRegex(version, r"GPU    CUDA \d+\.\d+, driver ")
        if "driver none" not in version:
            self.skipTest("this machine has a driver of NVIDIA")
        self.refused("real", "no GPU can be used: there is no NVIDIA driver on this host", "parallel.device=cuda")
        done = self.rondo_of("real", *self.train_line("driverless"), ranks=2)
        self.assertIn("auto: there is no NVIDIA driver on this host", done.stderr)

    def test_what_a_gpu_run_lacks_is_said_before_the_first_step(self):
        mpi = ("parallel.device=cuda", "parallel.transport=mpi")
        self.refused("guarded", "no GPU can be used: this host of the tests has none", *mpi, RONDO_TEST_GPUS=0)
        self.refused("guarded", "is too old: compute capability 7.5", *mpi, RONDO_TEST_GPU_CAPABILITY=75)
        self.refused("guarded", "of GPU memory", *mpi, RONDO_TEST_GPU_BYTES=65536)
        nccl = ("parallel.device=cuda", "parallel.transport=nccl")
        self.refused("guarded", "the GPU module was built without NCCL", *nccl)
        self.refused("guarded", "2 ranks on host", *nccl, RONDO_TEST_GPUS=1, RONDO_TEST_NCCL=1)
        self.refused("guarded", "the tests have no NCCL, also not for 3 CTAs", *nccl, "parallel.nccl_max_ctas=3", RONDO_TEST_NCCL=1)

    def test_a_run_changes_between_gpus_and_cpus(self):
        gpu = ("parallel.device=cuda", "parallel.transport=mpi")
        whole = self.rondo_of("none", *self.train_line("whole", "parallel.device=cpu", "train.schedule=constant"), ranks=2)
        half = ("train.steps=2", "train.schedule=constant")
        first = self.rondo_of("guarded", *self.train_line("mixed", *gpu, *half), ranks=2)
        self.assertRegex(first.stderr, r"MPI between GPUs\n.*: rank 0 on GPU 0 \(0000:00:00.0\), rank 1 on GPU 1 ")
        self.rondo_of("guarded", *self.train_line("mixed", "parallel.device=cpu", "train.schedule=constant"), ranks=1)
        losses = {run: self.losses(run) for run in ("whole", "mixed")}
        self.assertEqual(losses["whole"].keys(), losses["mixed"].keys(), whole.stderr)
        for step, loss in losses["whole"].items():
            self.assertAlmostEqual(loss, losses["mixed"][step], places=4)
        same = [self.rondo_of("guarded", "generate", "--checkpoint", "mixed", "--prompt", "Rings", "--tokens", "8", "--device",
                           device).stdout for device in ("cpu", "cuda")]
        self.assertEqual(*same)
        same = [re.sub("seconds.*", "", self.rondo_of("guarded", "eval", "--checkpoint", "mixed", "--corpus", "corpus.h5",
                                                   "--device", device, ranks=2).stdout) for device in ("cpu", "cuda")]
        self.assertEqual(*same)

    def losses(self, run):
        found = {}
        with open(f"{self.folder}/{run}/metrics.jsonl", encoding="utf-8") as file:
            for line in file:
                for step, loss in re.findall(r'"step":(\d+),"loss":([0-9.e+-]+)', line):
                    found[step] = float(loss)
        return found


if __name__ == "__main__":
    rest = read_options("program", "library", "guarded", "module", "mpiexec", "source")
    unittest.main(argv=[sys.argv[0], *rest])
