# SPDX-License-Identifier: Apache-2.0
"""The program and its GPU module from outside: with the module that was built, on a machine without a GPU; without any
module; and with mock devices, whose memory the host cannot touch (tests/support/guarded_module.cpp).
"""
import json
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from program import OPTIONS, ProgramTest, read_options, with_settings


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
        # A rank that waits for NCCL hears of the one that failed.
        self.refused("guarded", "the tests have no NCCL, also not for 8 CTAs (rank 1)", *nccl, RONDO_TEST_NCCL=1,
                     RONDO_TEST_NCCL_STUCK_RANK=0)

    def test_memory_that_is_too_small_is_refused_by_all_ranks(self):
        gpu = ("parallel.device=cuda", "parallel.transport=mpi")
        check = ["check", f"{OPTIONS.source}/configs/tiny.toml", "--ranks", "2", "--json",
                 *with_settings("data.corpus=corpus.h5", *self.SMALL, *gpu)]
        needed = json.loads(self.rondo_of("none", *check).stdout)["memory_bytes_per_rank"]
        self.refused("guarded", "of GPU memory on every rank, and a rank has", *gpu, RONDO_TEST_GPU_BYTES=needed)
        self.assertEqual(self.record("refused")["cause"], "device")
        # Of one GPU other processes have a part: all ranks say so, once, before the first step.
        self.refused("guarded", "does not give: the guarded memory is full", *gpu, RONDO_TEST_GPU_BYTES=2 * needed,
                     RONDO_TEST_GPU_TAKEN_BYTES=needed + 1)
        self.rondo_of("guarded", *self.train_line("enough", *gpu), ranks=2, RONDO_TEST_GPU_BYTES=needed + 2**20)

    def test_memory_that_is_gone_within_a_step_ends_all_ranks(self):
        done = self.rondo_of("guarded", *self.train_line("gone", "parallel.device=cuda", "parallel.transport=mpi"), ranks=2, code=4,
                          RONDO_TEST_GPU_FULL_AFTER=25)
        self.assertIn("the guarded memory is taken by others (rank 1)", done.stderr)
        record = self.record("gone")
        self.assertEqual((record["cause"], record["exit_code"], record["rank"], record["phase"], record["step"]),
                         ("device", 4, 1, "training", 0))

    def test_the_kernel_of_attention_is_stored_and_a_change_is_said(self):
        gpu = ("parallel.device=cuda", "parallel.transport=mpi", "data.isolate_documents=false", "train.schedule=constant")
        first = self.rondo_of("guarded", *self.train_line("kernels", *gpu, "train.steps=2"), ranks=2)
        with open(f"{self.folder}/kernels/start.json", encoding="utf-8") as file:
            start = json.load(file)
        self.assertEqual(start["attention"], ["attention by cudnn: the tests prefer it"])
        self.assertRegex(start["machine"], r"^guarded cpu.* on 2 ranks \(data 1 x ring 2\)")
        self.assertEqual(len(start["gpus"]), 1)
        self.assertIs(start["deterministic"], False)
        self.assertIn("train.deterministic: false, two runs may differ in the last bits", first.stderr)
        same = self.rondo_of("guarded", *self.train_line("kernels", *gpu, "train.steps=3"), ranks=2)
        self.assertNotIn("attention was computed", same.stderr)
        other = self.rondo_of("guarded", *self.train_line("kernels", *gpu, "parallel.attention_kernel=fused"), ranks=2)
        self.assertIn("attention was computed as [attention by cudnn: the tests prefer it], and is now as [attention by fused: "
                      "it is asked for]", other.stderr)

    def test_a_kernel_that_cannot_serve_the_model_is_refused_before_the_first_step(self):
        self.rondo_of("none", "prepare", "text.txt", "text.txt", "--tokenizer", "bytes", "--output", "two.h5")
        cudnn = ("parallel.device=cuda", "parallel.transport=mpi", "parallel.attention_kernel=cudnn", "train.steps=1")
        self.rondo_of("guarded", *self.train_line("one-document", *cudnn), ranks=2)
        done = self.rondo_of("guarded", *self.train_line("two-documents", *cudnn, "data.corpus=two.h5"), ranks=2, code=2)
        self.assertEqual(done.stderr.count("the tests' cuDNN knows no documents"), 1, done.stderr)
        self.assertEqual(self.record("two-documents")["phase"], "start")

    def test_a_trace_has_a_track_for_each_stream(self):
        self.rondo_of("guarded", *self.train_line("traced", "parallel.device=cuda", "parallel.transport=mpi", "log.trace_steps=2"), ranks=2)
        for rank in range(2):
            with open(f"{self.folder}/traced/trace/rank-{rank}.json", encoding="utf-8") as file:
                events = json.load(file)["traceEvents"]
            tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
            self.assertEqual(list(tracks.values()), ["host", "GPU: compute", "GPU: ring", "GPU: reduce"])
            for track in (0, 1):
                self.assertEqual(sum(event["name"] == "adamw.update" and event["tid"] == track for event in events), 2)

    def record(self, run):
        with open(f"{self.folder}/{run}/exit.json", encoding="utf-8") as file:
            return json.load(file)

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
