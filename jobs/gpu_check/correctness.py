# SPDX-License-Identifier: Apache-2.0
"""Steps that ask whether results are right: against the reference backend, against CPUs, against themselves."""
import glob
import re
import shutil

import references
from machine import Late, Skip, Step
from report import FAIL, NOT_RUN, PASS

# Loss of a step on GPUs against CPUs over 50 steps in bf16: docs/numerics.md
CURVE_BOUND = 0.02
FIFTY_STEPS = ("train.steps=50", "log.every_steps=1")
INFINI = ("model.attention=infini", "model.segment_tokens=128", "model.memory_rule=delta")
CURVES = (FIFTY_STEPS, FIFTY_STEPS + INFINI)


def machine(check):
    check.require_gpus(1)
    text = check.call("nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv,noheader")
    return {"gpus": text.strip().splitlines()}


def versions(check):
    lines = check.call(check.rondo, "--version").splitlines()
    for line in lines:
        check.report.show(f"    {line}", flush=True)
    return {"versions": lines, "libraries": [str(folder) for folder in check.cuda_folders]}


def tell_tests(check, name, text, code):
    """A line for every failed test and one for the program. @returns how many passed"""
    passed = text.count("[       OK ]")
    named = lambda result: sorted(set(re.findall(rf"\[  {result} \] (\w+(?:[./]\w+)+)", text)))
    failed, skipped = named("FAILED "), named("SKIPPED")
    for test in failed:
        check.report.verdict(FAIL, f"{name} {test}")
    if code != 0 and not failed:
        check.report.verdict(FAIL, f"{name} ended with {code}")
    for test in skipped:
        check.report.verdict(FAIL, f"{name} {test} was skipped on a machine with a GPU")
    if code == 0 and not skipped:
        check.report.verdict(PASS, name, f"{passed} tests")
    return passed


def operations(check):
    """Every program, whatever the ones before it found."""
    check.require_gpus(1)
    passed = 0
    for name, ranks in check.tests():
        try:
            done = check.run(check.root / "tests" / name, ranks=ranks, limit_s=120)
        except Late as late:
            check.report.verdict(FAIL, f"{name}: {late}")
            continue
        if not check.options.dry_run:
            passed += tell_tests(check, name, done.text, done.code)
    return {"tests_passed": passed}


def find_tool(check, name):
    """A tool of the CUDA toolkit."""
    program = shutil.which(name) or next(iter(glob.glob(f"/usr/local/cuda*/bin/{name}")), None)
    if program is None and not check.options.dry_run:
        raise Skip(f"{name} is not installed")
    return program or name


def sanitizer(tool, filters, limit_s):
    """@param filters (program, filter of its tests): short tests of odd lengths, where an access past an end would show"""
    def run(check):
        check.require_gpus(1)
        program = find_tool(check, "compute-sanitizer")
        present = {name for name, _ in check.tests()}
        for name, tests in filters:
            if name not in present:
                check.report.verdict(NOT_RUN, f"{name}: not in this build")
                continue
            # Statuses that a test provokes on purpose are no findings.
            words = (program, "--tool", tool, "--report-api-errors", "no", "--error-exitcode", "9", check.root / "tests" / name,
                     f"--gtest_filter={tests}")
            try:
                done = check.run(*words, limit_s=limit_s)
            except Late as late:
                found = re.search(r"^========= (?:Invalid|Misaligned|Error|Race).*", late.text, re.MULTILINE)
                if found:
                    check.report.verdict(FAIL, f"{name}: {found.group()}")
                else:
                    check.report.verdict(NOT_RUN, f"{name}: cut off after {limit_s} s, nothing found until then")
                continue
            if not check.options.dry_run:
                check.report.verdict(PASS if done.code == 0 else FAIL, f"{name} {tests}", f"exit code {done.code}")
        return {}
    return run


def deterministic(check):
    check.require_gpus(1)
    digests = []
    for turn in ("first", "second"):
        check.train(f"deterministic-{turn}", 1, "train.steps=10", "parallel.device=cuda", "train.deterministic=true")
        digests.append(check.digest(f"deterministic-{turn}"))
    assert digests[0] == digests[1], "two runs left different bytes"
    return {"digest": digests[0]}


def largest_difference(curve, reference):
    steps = sorted(reference)
    assert steps and sorted(curve) == steps, "the curves have different steps"
    return max(abs(curve[step] - reference[step]) for step in steps)


def reference_of(check, name, settings):
    """The losses on CPUs: carried along, or made here where none are."""
    carried = references.read(check, settings)
    return carried if carried is not None else check.train(f"{name}-cpu", 1, *settings, "parallel.device=cpu")


def curve(name, settings, all_ranks):
    """Losses of the same training on CPUs and on so many ranks of one GPU."""
    def run(check):
        check.require_gpus(1)
        reference = reference_of(check, name, settings)
        assert check.options.dry_run or reference[1] - reference[50] > 1, "the loss falls by less than 1 nat: nothing is shown"
        figures = {}
        for ranks in all_ranks:
            losses = check.train(f"{name}-{ranks}", ranks, *settings, "parallel.device=cuda", "parallel.transport=mpi")
            if check.options.dry_run:
                continue
            difference = largest_difference(losses, reference)
            figures[f"difference_{ranks}"] = difference
            check.report.verdict(PASS if difference <= CURVE_BOUND else FAIL, f"50 steps, ranks of one GPU: {ranks}",
                                 f"largest difference of the loss {difference:.3g}", f"<= {CURVE_BOUND}")
        return figures
    return run


def exchange(check):
    """A checkpoint of GPUs goes on on CPUs, and the other way round."""
    check.require_gpus(1)
    for first, second in (("cuda", "cpu"), ("cpu", "cuda")):
        run = f"exchange-{first}"
        check.train(run, 1, "train.steps=5", f"parallel.device={first}")
        losses = check.go_on(run, 1, "train.steps=10", f"parallel.device={second}")
        assert check.options.dry_run or max(losses) == 10, f"{run} did not go on to step 10"
    return {}


NASTY = "*NastyLengths*:*OnlyKey*:*WithoutKeys*"
SMALL_TESTS = (("fused_attention_gpu_test", NASTY + ":*UnequalLengths*"), ("cuda_attention_gpu_test", "*Nasty*:*Small*"),
               ("cuda_operations_gpu_test", "*RmsNorm*:*Swiglu*:*CrossEntropy*:*Unaligned*"), ("cuda_memory_gpu_test", "*Small*:*Nasty*"))
FIRST = [
    Step("machine", "base", 1, "GPUs, driver", machine),
    Step("versions", "base", 10, "the program and the libraries that answer", versions),
    Step("operations", "right", 45, "every operation against the reference backend", operations),
]
CURVE_STEPS = [
    Step("curve", "right", 35, "50 steps on 1 and 2 ranks of one GPU against CPUs", curve("curve", FIFTY_STEPS, (1, 2))),
    Step("deterministic", "right", 20, "two runs with train.deterministic leave the same bytes", deterministic),
]
SHORT_SANITIZER = [Step("memcheck-fused", "sanitizer", 55, "compute-sanitizer memcheck on fused attention of odd lengths, for a minute",
                        sanitizer("memcheck", (("fused_attention_gpu_test", NASTY),), 50))]
LATER = [
    Step("curve-infini", "right", 60, "50 steps with Infini-attention, delta rule, on 1, 2 and 4 ranks of one GPU against CPUs",
         curve("curve-infini", FIFTY_STEPS + INFINI, (1, 2, 4))),
    Step("curve-4", "right", 30, "50 steps on 4 ranks of one GPU against CPUs", curve("curve-4", FIFTY_STEPS, (4,))),
    Step("exchange", "right", 20, "checkpoints of GPUs go on on CPUs, and back", exchange),
]
LAST = [
    Step("memcheck", "sanitizer", 240, "compute-sanitizer memcheck on the small tests", sanitizer("memcheck", SMALL_TESTS, 60)),
    Step("racecheck", "sanitizer", 240, "compute-sanitizer racecheck on the small tests", sanitizer("racecheck", SMALL_TESTS, 60)),
]
