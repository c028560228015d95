# SPDX-License-Identifier: Apache-2.0
"""Steps that ask whether results are right: against the reference backend, against CPUs, against themselves."""
import glob
import shutil

from machine import Skip, Step

# Loss of a step on GPUs against CPUs over 50 steps in bf16: docs/numerics.md
CURVE_BOUND = 0.02
FIFTY_STEPS = ("train.steps=50", "log.every_steps=1")


def machine(check):
    check.require_gpus(1)
    text = check.call("nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv,noheader")
    return {"gpus": text.strip().splitlines()}


def versions(check):
    return {"versions": check.call(check.rondo, "--version").splitlines(),
            "libraries": [str(folder) for folder in check.cuda_folders]}


def operations(check):
    check.require_gpus(1)
    passed = 0
    for name, ranks in check.tests():
        text = check.call(check.root / "tests" / name, ranks=ranks, limit_s=600)
        passed += text.count("[       OK ]")
        skipped = text.count("[  SKIPPED ]")
        assert skipped == 0, f"{name}: {skipped} tests were skipped on a machine with a GPU"
    return {"tests_passed": passed}


def sanitizer(tool):
    def run(check):
        check.require_gpus(1)
        program = shutil.which("compute-sanitizer") or next(iter(glob.glob("/usr/local/cuda*/bin/compute-sanitizer")), None)
        if program is None and not check.options.dry_run:
            raise Skip("compute-sanitizer is not installed")
        for name, ranks in check.tests():
            if ranks == 0:
                check.call(program or "compute-sanitizer", "--tool", tool, "--error-exitcode", "9", check.root / "tests" / name,
                           "--gtest_filter=*Small*:*Nasty*", limit_s=900)
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


def largest_difference(curves, reference):
    steps = sorted(reference)
    assert steps and all(sorted(curve) == steps for curve in curves), "the curves have different steps"
    return max(abs(curve[step] - reference[step]) for curve in curves for step in steps)


def curve(name, *settings):
    """Losses of the same training on CPUs and on one GPU, with settings of the model."""
    def run(check):
        check.require_gpus(1)
        reference = check.train(f"{name}-cpu", 1, *FIFTY_STEPS, *settings, "parallel.device=cpu")
        curves = [check.train(f"{name}-{ranks}", ranks, *FIFTY_STEPS, *settings, "parallel.device=cuda", "parallel.transport=mpi")
                  for ranks in (1, 2, 4)]
        if check.options.dry_run:
            return {}
        difference = largest_difference(curves, reference)
        assert reference[1] - reference[50] > 1, "the loss falls by less than 1 nat: the comparison shows nothing"
        assert difference <= CURVE_BOUND, f"the loss differs by {difference:.3g} from that on CPUs, more than {CURVE_BOUND}"
        return {"largest_difference": difference}
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


FIRST = [
    Step("machine", "base", 1, "GPUs, driver", machine),
    Step("versions", "base", 2, "the program and the libraries that answer", versions),
    Step("operations", "right", 60, "every operation against the reference backend", operations),
    Step("curve", "right", 60, "50 steps on 1, 2 and 4 ranks of one GPU against CPUs", curve("curve")),
    Step("curve-infini", "right", 60, "the same with Infini-attention, delta rule",
         curve("curve-infini", "model.attention=infini", "model.segment_tokens=128", "model.memory_rule=delta")),
    Step("deterministic", "right", 20, "two runs with train.deterministic leave the same bytes", deterministic),
]
LATER = [Step("exchange", "right", 20, "checkpoints of GPUs go on on CPUs, and back", exchange)]
LAST = [
    Step("memcheck", "sanitizer", 300, "compute-sanitizer memcheck on the small tests", sanitizer("memcheck")),
    Step("racecheck", "sanitizer", 600, "compute-sanitizer racecheck on the small tests", sanitizer("racecheck")),
]
