#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that the tests would notice: each mutant is one wrong line in librondo, and a named test must fail on it.

    tests/mutants/mutants.py --build build/release [NAME...]

A mutant is compiled, linked with the objects of a finished build into a librondo.so of its own, and the test runs
with that library. Sources and build stay as they are. Needs the tests to be built.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TEST_LIMIT_S = 60


@dataclasses.dataclass
class Mutant:
    name: str
    file: str
    old: str  # replaced wherever it occurs
    new: str
    test: str
    filter: str = "*"
    ranks: int = 0


GRADIENT = "*OfEveryTensorMatchesCentralDifferences/0"
MUTANTS = [
    Mutant("attention backward without delta", "kernels/reference/attention.cpp",
           "p * (dot<Sum>(d_out, v, dim) - delta)", "p * dot<Sum>(d_out, v, dim)", "gradient_test", GRADIENT),
    Mutant("attention backward without the scale of the scores", "kernels/reference/attention.cpp",
           "add_scaled(d_q, scale * ds, k, dim)", "add_scaled(d_q, ds, k, dim)", "gradient_test", GRADIENT),
    Mutant("query heads dealt out to the wrong key heads", "kernels/reference/attention.cpp",
           "head / (heads / kv_heads)", "head % kv_heads", "llama_golden_test", "*Losses*"),
    Mutant("merge of blocks keeps the old log-sum-exp", "kernels/reference/attention.cpp",
           "lse = largest + std::log(both)", "lse = largest", "ring_attention_test", "*MatchesOneRank*", 2),
    Mutant("no guard for rows that see no key", "kernels/reference/attention.cpp",
           "if (!sees_keys) continue;", "(void)sees_keys;", "ring_attention_test", "*MatchesOneRank*", 2),
    Mutant("keys and queries rotated by different angles", "kernels/reference/rope.cpp",
           "rotate_heads(k + i, from_k + i, kv_heads, head_dim, turn)",
           "rotate_heads(k + i, from_k + i, kv_heads, head_dim, Turn{turn.cosine, -turn.sine})", "llama_golden_test",
           "*Losses*"),
    Mutant("rotary gradient rotated forwards", "kernels/reference/rope.cpp", "back.sine = -back.sine", "(void)back",
           "gradient_test", GRADIENT),
    Mutant("rotary angle in fp32", "kernels/reference/rope.cpp", "static_cast<double>(position) * frequency",
           "static_cast<double>(static_cast<float>(position) * static_cast<float>(frequency))", "reference_test",
           "*QkvSplit*"),
    Mutant("RMSNorm gradient without the part along x", "kernels/reference/norm.cpp", "- xc * along_x", "- 0 * xc * along_x",
           "gradient_test", GRADIENT),
    Mutant("SwiGLU derivative without its second term", "kernels/reference/swiglu.cpp", "s * (1 + g * (1 - s))", "s",
           "gradient_test", GRADIENT),
    Mutant("cross-entropy gradient without the target", "kernels/reference/cross_entropy.cpp",
           "v == target ? Sum{1} : Sum{0}", "v < 0 ? Sum{1} : Sum{0}", "gradient_test", GRADIENT),
    Mutant("AdamW without bias correction", "kernels/reference/elementwise.cpp",
           "1 / (1 - std::pow(args.beta_2, steps))", "1 + 0 * steps", "reference_test", "*Adam*"),
    Mutant("last checkpoint lost when the metrics cannot be written", "lib/train/trainer.cpp",
           "metrics_error = write_metrics(", "if (const auto e = write_metrics(metrics_of(report, mine))) std::rethrow_exception(e);\n    metrics_error = write_metrics(",
           "trainer_2_ranks_test", "*WhenTheMetricsCannotBeWritten*", 2),
    Mutant("non-finite numbers blamed on the last micro-batch", "lib/train/non_finite.cpp",
           "if (where && micro_batch != *where) continue;", "if (micro_batch + 1 != num_micro_batches()) continue;",
           "trainer_2_ranks_test", "*NamesTheDocuments*", 2),
    Mutant("tasks of a launcher not compared with the ranks of MPI", "lib/comm/launch.cpp",
           "world_size != 1 || launched.empty()", "world_size >= 1 || launched.empty()", "launch_test"),
    Mutant("targets not shifted by one token", "lib/io/data_loader.cpp", "hull_[in_hull + 1]", "hull_[in_hull]",
           "data_loader_test"),
    Mutant("gradients that return to their owner are dropped", "lib/model/kv_exchange.cpp", "add(returned_, d_own_)",
           "(void)returned_", "model_ring_test", "*OneRank*", 2),
    Mutant("gradient slots start dirty", "lib/model/kv_exchange.cpp",
           "execution_.device.fill_zero(execution_.compute, t.data, t.size_bytes())",
           "execution_.device.fill(execution_.compute, t, 1.0)", "model_ring_test", "*OneRank*", 2),
    Mutant("head gradient of the last chunk only", "lib/model/blockwise_head.cpp", ".accumulate = true", ".accumulate = false",
           "gradient_test", GRADIENT),
    Mutant("final norm missing before the head", "lib/model/blockwise_head.cpp",
           "backend.matmul(stream, {.a = normed, .b = w.head.value, .c = logits",
           "backend.matmul(stream, {.a = xc, .b = w.head.value, .c = logits", "llama_golden_test", "*Losses*"),
    Mutant("feed-forward gradient without its norm", "lib/model/blockwise_feed_forward.cpp",
           "{d_normed, xc, w.ffn_norm.value", "{d_xc, xc, w.ffn_norm.value", "gradient_test", GRADIENT),
    Mutant("cached keys rotated as if they came first", "lib/model/exact_attention.cpp",
           "const auto [q, fresh] = split(span.runs(), in.qkv);",
           "const auto [q, fresh] = split(TokenRuns::contiguous(0, span.num_tokens()), in.qkv);", "sequence_stream_test",
           "*GivesTheLossesOfTraining*"),
    Mutant("llama3 blend the wrong way round", "lib/model/transformer_shape.cpp", "(1.0 - smooth) * frequency",
           "smooth * frequency", "llama_golden_test", "*Frequencies*"),
    Mutant("zigzag hands out one part twice", "lib/core/sequence_layout.cpp", "2 * ring_ - 1 - rank", "2 * ring_ - 1",
           "core_test", "*Layout*"),
    Mutant("the scan composes two maps the wrong way round", "lib/model/exclusive_scan.cpp",
           "backend.memory_fold(compute, {.state = own.sent.decay, .decay = own.held.decay, .added = own.held.decay});",
           "backend.memory_fold(compute, {.state = own.held.decay, .decay = own.sent.decay, .added = own.sent.decay});"
           "std::swap(own.sent.decay, own.held.decay);", "exclusive_scan_test", "*SerialFold*", 8),
    Mutant("the reverse scan does not transpose", "lib/model/exclusive_scan.cpp", ".is_transposed = is_reverse",
           ".is_transposed = is_reverse && own.place == 0", "exclusive_scan_test", "*SerialFold*", 8),
    Mutant("the scan forgets that a document starts", "lib/model/exclusive_scan.cpp", "place == 0 || at(place).is_reset",
           "place == 0 || (at(place).is_reset && place > 1)", "exclusive_scan_test", "*SerialFold*", 8),
    Mutant("gradients of halo keys stay where they are", "lib/model/key_halo.cpp",
           "for (const AddArgs& sum : sums) backend.add(compute, sum);", "(void)sums;", "model_ring_test",
           "*OneRank*", 2),
    Mutant("partial gradients stop before the last rank that adds", "lib/model/ring_schedule.cpp",
           "if (needs.has_gradient(shard, hop - 1) && needs.travels_to(shard, hop))",
           "if (needs.has_gradient(shard, hop - 1) && needs.travels_to(shard, hop + 1))", "ring_schedule_test"),
    Mutant("gradients return to the next rank, not to the owner", "lib/model/ring_schedule.cpp",
           "plan.send_gradient_to = previous_shard;", "plan.send_gradient_to = needs.at(rank, 1);", "ring_schedule_test"),
    Mutant("memory read without its normaliser", "kernels/reference/compressive_memory.cpp",
           "weighted[static_cast<std::size_t>(d)] * inverse", "weighted[static_cast<std::size_t>(d)]", "infini_attention_test",
           "*IsThatOfTheSequentialProgram*", 2),
    Mutant("gradient of the gate without its slope", "kernels/reference/memory_gate.cpp", "+= share * (1 - share) * d_share",
           "+= d_share", "gradient_test"),
    Mutant("gate opened where the memory is empty", "kernels/reference/memory_gate.cpp", "is_empty ? Sum{0} : ",
           "is_empty && n < 0 ? Sum{0} : ", "infini_attention_test", "*IsThatOfTheSequentialProgram*", 2),
    Mutant("gradients of the ranks not summed", "lib/train/training_step.cpp",
           "world_.all_reduce(execution_.compute, parameters_.all_gradients(), execution_.scratch);", "", "trainer_2_ranks_test",
           "*", 2),
    Mutant("stop decided by each rank alone", "lib/train/step_actions.cpp", "agreed |= of_rank;", "agreed = wishes + 0 * of_rank;",
           "step_actions_test", "*", 2),
    Mutant("no checkpoint after the last step", "lib/train/step_actions.cpp", "actions.checkpoint = last ||",
           "actions.checkpoint = actions.stop ||", "step_actions_test", "*", 2),
    Mutant("time limit without room for a save", "lib/train/step_actions.cpp", "2 * (step_s + save_s_)", "0 * (step_s + save_s_)",
           "step_actions_test", "*", 2),
    Mutant("digests of chunks in the order of ranks", "lib/io/checkpoint_writer.cpp", "next[rank] += sizeof(digest);", "(void)rank;",
           "checkpoint_test"),
    Mutant("schedule forgets that a shard passes through", "lib/model/ring_schedule.cpp",
           "for (int later = hop; later < num_hops(); ++later)", "for (int later = hop; later <= hop; ++later)",
           "ring_schedule_test"),
    Mutant("an output may replace an input", "lib/io/output_file.cpp", "refuse_inputs(request_, path_, *facts);",
           "(void)refuse_inputs;", "output_file_test", "*RefusesItsInputs*"),
    Mutant("an output may replace a file of another kind", "lib/io/output_file.cpp",
           "facts->st_size == 0 || request_.kind.recognises(path_)", "facts->st_size >= 0", "output_file_test", "*AnotherKind*"),
    Mutant("an output is not checked again before it is renamed", "lib/io/output_file.cpp", "  try {\n    check_replaceable();",
           "  try {", "output_file_test", "*DuringTheWork*"),
]


class Build:
    def __init__(self, folder, mpiexec, scratch):
        self.folder, self.mpiexec, self.scratch = os.path.abspath(folder), mpiexec, scratch
        with open(os.path.join(self.folder, "compile_commands.json"), encoding="utf-8") as file:
            self.commands = {entry["file"]: entry for entry in json.load(file)}
        listed = subprocess.run(["ninja", "-C", self.folder, "-t", "commands", "lib/librondo.so"], check=True,
                                stdout=subprocess.PIPE, text=True).stdout
        self.link = listed.strip().splitlines()[-1]

    def unit_of(self, source):
        """What the build compiles for `source`: itself, or a file that includes it."""
        if source in self.commands:
            return source
        for unit in filter(lambda file: "/Unity/" in file, self.commands):
            with open(unit, encoding="utf-8") as file:
                if f'"{source}"' in file.read():
                    return unit
        raise ValueError(f"{source} is not part of the build")

    def mutate(self, mutant, folder):
        """A librondo.so with the mutant in `folder`."""
        source = os.path.join(ROOT, mutant.file)
        with open(source, encoding="utf-8") as file:
            text = file.read()
        if mutant.old not in text:
            raise ValueError(f"{mutant.file} no longer holds: {mutant.old}")
        mutated = os.path.join(folder, os.path.basename(mutant.file))
        with open(mutated, "w", encoding="utf-8") as file:
            file.write(text.replace(mutant.old, mutant.new))
        compiled = self.unit_of(source)
        if compiled != source:  # CMake's unity build: a file that includes several sources
            with open(compiled, encoding="utf-8") as file:
                unit = file.read().replace(f'"{source}"', f'"{mutated}"')
            mutated = os.path.join(folder, "unit.cpp")
            with open(mutated, "w", encoding="utf-8") as file:
                file.write(unit)
        entry = self.commands[compiled]
        command = shlex.split(entry["command"])
        original = command[command.index("-o") + 1]
        made = mutated + ".o"
        command[command.index("-o") + 1] = made
        command = [mutated if word == compiled else word for word in command]
        run_or_raise([*command, "-w"], entry["directory"])
        link = shlex.split(self.link.replace(original, made).replace("-o lib/librondo.so",
                                                                     f"-o {folder}/librondo.so"))
        run_or_raise([word for word in link if word not in (":", "&&")], self.folder)

    def test(self, mutant, library_folder=None):
        """@returns (passed, seconds)"""
        environment = dict(os.environ, OMP_NUM_THREADS="1")
        if library_folder:
            environment["LD_LIBRARY_PATH"] = library_folder
        command = [os.path.join(self.folder, "tests", mutant.test), "--gtest_filter=" + mutant.filter]
        if mutant.ranks:
            command = [f"{ROOT}/jobs/launch.sh", "--mpiexec", self.mpiexec, "-n", str(mutant.ranks), *command]
        begin = time.monotonic()
        done = subprocess.run(command, env=environment, timeout=TEST_LIMIT_S, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode == 0 and "[  PASSED  ] 0 tests" in done.stdout:
            raise ValueError(f"{mutant.test}: no test is called {mutant.filter}")
        return done.returncode == 0, time.monotonic() - begin

    def judge(self, mutant):
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            try:
                if not self.test(mutant)[0]:
                    return "the test fails without the mutant"
                self.mutate(mutant, folder)
                passed, seconds = self.test(mutant, folder)
            except (ValueError, OSError, subprocess.SubprocessError) as error:
                return str(error)
            return "SURVIVES" if passed else f"killed in {seconds:.1f} s"


def run_or_raise(command, folder):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stdout[-2000:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--mpiexec", default="mpirun")
    parser.add_argument("names", nargs="*", help="parts of names; all mutants if not given")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.names or any(name in m.name for name in options.names)]
    scratch = os.path.abspath(os.path.join(options.build, "mutants"))
    os.makedirs(scratch, exist_ok=True)
    build = Build(options.build, options.mpiexec, scratch)
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        verdicts = list(pool.map(build.judge, chosen))
    shutil.rmtree(scratch)
    for mutant, verdict in zip(chosen, verdicts):
        print(f"{mutant.name:<52} {mutant.test:<28} {verdict}")
    killed = sum(verdict.startswith("killed") for verdict in verdicts)
    print(f"{killed} of {len(chosen)} mutants killed")
    sys.exit(0 if killed == len(chosen) else 1)


if __name__ == "__main__":
    main()
