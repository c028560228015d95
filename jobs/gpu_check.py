# SPDX-License-Identifier: Apache-2.0
"""The steps of jobs/gpu-check.sh: finds libraries and programs, runs every step with a limit, and writes what came out.

A step is a command, or several, and a judgement of what they left: ok, failed, or skipped with its reason. Nothing is
skipped silently: what could not be tried is in the table too. OUTPUT/gpu-check.json has all figures, OUTPUT/NAME.log the
text of every step."""
import argparse
import dataclasses
import glob
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import time
from typing import Callable

HERE = pathlib.Path(__file__).resolve().parent.parent
SMALL = ["model.d_model=128", "model.layers=2", "data.sequence_length=1024", "evaluate.sequences=2", "precision.compute=bf16"]
# Loss of a step on GPUs against CPUs over 50 steps in bf16: docs/numerics.md
CURVE_BOUND = 0.02


class Skip(Exception):
    """The step cannot be tried here."""


@dataclasses.dataclass
class Step:
    name: str
    what: str
    run: Callable  # (Check) -> dict of figures; raises Skip, AssertionError or CalledProcessError
    multi: bool = False


class Check:
    def __init__(self, options):
        self.options = options
        self.output = pathlib.Path(options.output).resolve()
        self.bundled = (HERE / "runtime").is_dir()
        self.root = HERE if self.bundled else pathlib.Path(options.build).resolve()
        self.rondo = self.root / "bin/rondo"
        self.environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                                OMPI_MCA_rmaps_base_oversubscribe="1", CUDA_DEVICE_MAX_CONNECTIONS="32")
        self.mpirun = "mpirun"
        self.log = None
        self.find_libraries()

    # --- what is where ---------------------------------------------------------------------------------------------

    def find_libraries(self):
        """Own libraries first, then CUDA's, wherever a toolkit or Python's wheels have put them."""
        folders = [self.root / "lib"]
        if self.bundled:
            runtime = self.root / "runtime"
            folders.append(runtime / "lib")
            self.mpirun = str(runtime / "bin/mpirun")
            self.environment.update(OPAL_PREFIX=str(runtime), OPAL_LIBDIR=str(runtime / "lib"),
                                    OPAL_PKGLIBDIR=str(next((runtime / "openmpi").iterdir())),
                                    OPAL_PKGDATADIR=str(runtime / "share/openmpi"), OPAL_BINDIR=str(runtime / "bin"),
                                    OPAL_SYSCONFDIR=str(runtime / "etc"), PMIX_INSTALL_PREFIX=str(runtime / "pmix"),
                                    PATH=f"{runtime / 'bin'}:{os.environ.get('PATH', '')}")
            if not shutil.which("ssh") and not self.options.hosts:
                self.environment["OMPI_MCA_plm"] = "isolated"  # mpirun looks for ssh even on one machine
        self.cuda_folders = sorted({pathlib.Path(path).parent for pattern in self.library_patterns()
                                    for path in glob.glob(pattern)})
        folders += self.cuda_folders
        kept = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
        self.environment["LD_LIBRARY_PATH"] = ":".join([*map(str, folders), *kept])
        if self.bundled and not self.starts():
            self.environment["LD_LIBRARY_PATH"] += f":{self.root / 'runtime/fallback'}"

    @staticmethod
    def library_patterns():
        roots = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH", "NVHPC_ROOT")] + ["/usr/local/cuda"]
        names = ("libcublasLt.so*", "libcudnn.so*", "libnccl.so*", "libcudart.so*", "libnvrtc.so*")
        sites = [path for path in {*sys.path, *glob.glob("/usr/lib/python3*/dist-packages"),
                                   *glob.glob("/usr/local/lib/python3*/*-packages"),
                                   *glob.glob("/opt/*/lib/python3*/site-packages")} if path]
        for name in names:
            for root in filter(None, roots):
                yield f"{root}/lib64/{name}"
                yield f"{root}/lib/{name}"
                yield f"{root}/**/lib/{name}"
            for site in sites:
                yield f"{site}/nvidia/*/lib/{name}"

    def starts(self):
        return subprocess.run([self.rondo, "--version"], env=self.environment, capture_output=True, check=False).returncode == 0

    def tests(self):
        """(program, ranks) of every GPU test."""
        listed = self.root / ("tests/list" if self.bundled else "tests/gpu_tests")
        if not listed.exists():
            raise Skip(f"{listed} is missing: build the target bundle")
        for line in listed.read_text().splitlines():
            name, ranks = line.split()
            yield name, int(ranks)

    # --- running ---------------------------------------------------------------------------------------------------

    def call(self, *command, limit_s=300, ranks=0, codes=(0,), **environment):
        """Runs and logs; stdout as text. With --dry-run only prints."""
        words = [str(word) for word in command]
        if ranks:
            hosts = ["--host", self.options.hosts] if self.options.hosts else []
            words = [self.mpirun, "-n", str(ranks), "--bind-to", "none", *hosts, *words]
        self.log.write(f"$ {' '.join(map(shlex.quote, words))}\n")
        if self.options.dry_run:
            print("      $ " + " ".join(map(shlex.quote, words)))
            return ""
        self.log.flush()
        done = subprocess.run(words, env={**self.environment, **environment}, stdout=subprocess.PIPE, stderr=self.log,
                              timeout=limit_s, text=True, errors="replace", cwd=self.output, check=False)
        self.log.write(done.stdout)
        assert done.returncode in codes, f"{words[0]} ended with {done.returncode}, see {self.log.name}"
        return done.stdout

    def train(self, run, ranks, *settings, **environment):
        """A run of configs/tiny.toml; its losses by step."""
        words = [word for setting in (f"data.corpus={self.output / 'text.h5'}", *SMALL, *settings) for word in ("--set", setting)]
        folder = self.output / "runs" / run
        if not self.options.dry_run:
            shutil.rmtree(folder, ignore_errors=True)
        return self.go_on(folder, ranks, words, **environment)

    def go_on(self, folder, ranks, words, **environment):
        self.call(self.rondo, "train", HERE / "configs/tiny.toml", "--run", folder, *words, ranks=ranks, **environment)
        if self.options.dry_run:
            return {}
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return {record["step"]: record["loss"] for record in records if "loss" in record}

    def digests(self, run):
        checkpoint = sorted((self.output / "runs" / run / "checkpoints").glob("step-*"),
                            key=lambda path: int(path.name.split("-")[1]))
        return self.call(self.rondo, "checkpoint", "info", checkpoint[-1] if checkpoint else f"runs/{run}", "--json")

    def num_gpus(self):
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False) if shutil.which("nvidia-smi") else None
        return len(found.stdout.splitlines()) if found and found.returncode == 0 else 0

    def require_gpus(self, count):
        if not self.options.dry_run and self.num_gpus() < count:
            raise Skip(f"needs {count} GPU{'s' if count > 1 else ''}, nvidia-smi shows {self.num_gpus()}")


# --- the steps -------------------------------------------------------------------------------------------------------


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


def corpus(check):
    text = HERE / "data/text.txt" if check.bundled else HERE / "README.md"
    source = [text] if check.bundled else [HERE / "docs", text]
    check.call(check.rondo, "prepare", *source, "--output", check.output / "text.h5", "--tokenizer", "bytes")
    return {}


def deterministic(check):
    check.require_gpus(1)
    digests = []
    for turn in ("first", "second"):
        check.train(f"deterministic-{turn}", 1, "train.steps=10", "parallel.device=cuda", "train.deterministic=true")
        digests.append(check.digests(f"deterministic-{turn}"))
    if not check.options.dry_run:
        states = [json.loads(text) for text in digests]
        for state in states:
            state.pop("path", None)
        assert states[0] == states[1], "two runs left different bytes"
    return {}


def largest_difference(curves, reference):
    steps = sorted(reference)
    assert steps and all(sorted(curve) == steps for curve in curves), "the curves have different steps"
    return max(abs(curve[step] - reference[step]) for curve in curves for step in steps)


def curve(check):
    check.require_gpus(1)
    settings = ("train.steps=50", "log.every_steps=1")
    reference = check.train("curve-cpu", 1, *settings, "parallel.device=cpu")
    curves = [check.train(f"curve-{ranks}", ranks, *settings, "parallel.device=cuda", "parallel.transport=mpi")
              for ranks in (1, 2, 4)]
    if check.options.dry_run:
        return {}
    difference = largest_difference(curves, reference)
    assert reference[1] - reference[50] > 1, "the loss falls by less than 1 nat: the comparison shows nothing"
    assert difference <= CURVE_BOUND, f"the loss differs by {difference:.3g} from that on CPUs, more than {CURVE_BOUND}"
    return {"largest_difference": difference}


def exchange(check):
    """A checkpoint of GPUs goes on on CPUs, and the other way round."""
    check.require_gpus(1)
    for first, second in (("cuda", "cpu"), ("cpu", "cuda")):
        run = f"exchange-{first}"
        check.train(run, 1, "train.steps=5", f"parallel.device={first}")
        words = [word for setting in (f"data.corpus={check.output / 'text.h5'}", *SMALL, "train.steps=10",
                                      f"parallel.device={second}") for word in ("--set", setting)]
        losses = check.go_on(check.output / "runs" / run, 1, words)
        assert check.options.dry_run or max(losses) == 10, f"{run} did not go on to step 10"
    return {}


def speed_of_step(layers, d_model, heads, kv_heads, d_ff, tokens):
    """Tokens a second and share of the matmul peak of a model of this shape."""
    def run(check):
        check.require_gpus(1)
        shape = [f"model.layers={layers}", f"model.d_model={d_model}", f"model.heads={heads}", f"model.kv_heads={kv_heads}",
                 f"model.d_ff={d_ff}", f"data.sequence_length={tokens}", "precision.compute=bf16", "parallel.device=cuda",
                 f"data.corpus={check.output / 'text.h5'}"]
        text = check.call(check.rondo, "bench", "step", HERE / "configs/tiny.toml",
                          *[word for setting in shape for word in ("--set", setting)], "--warm-ups", "2", "--runs", "5", "--json",
                          ranks=1, limit_s=900)
        return json.loads(text)["results"][0] if text else {}
    return run


def several(ranks):
    def run(check):
        check.require_gpus(ranks)
        settings = ("train.steps=50", "log.every_steps=1", "parallel.device=cuda")
        one = check.train("several-1", 1, *settings)
        many = check.train(f"several-{ranks}", ranks, *settings, "parallel.transport=nccl")
        return {} if check.options.dry_run else {"largest_difference": largest_difference([many], one)}
    return run


STEPS = [
    Step("machine", "GPUs, driver", machine),
    Step("versions", "the program and the libraries that answer", versions),
    Step("operations", "every operation against the reference backend", operations),
    Step("memcheck", "compute-sanitizer memcheck on the small tests", sanitizer("memcheck")),
    Step("racecheck", "compute-sanitizer racecheck on the small tests", sanitizer("racecheck")),
    Step("corpus", "prepares the text that the next steps train on", corpus),
    Step("deterministic", "two runs with train.deterministic leave the same bytes", deterministic),
    Step("curve", "50 steps on 1, 2 and 4 ranks of one GPU against CPUs", curve),
    Step("exchange", "checkpoints of GPUs go on on CPUs, and back", exchange),
    Step("step-0.5b-32k", "training step, 0.5 B parameters, 32K tokens", speed_of_step(24, 896, 14, 2, 4864, 32768)),
    Step("step-0.5b-128k", "training step, 0.5 B parameters, 128K tokens", speed_of_step(24, 896, 14, 2, 4864, 131072)),
    Step("step-1.5b-32k", "training step, 1.5 B parameters, 32K tokens", speed_of_step(28, 1536, 12, 2, 8960, 32768)),
    Step("step-1.5b-128k", "training step, 1.5 B parameters, 128K tokens", speed_of_step(28, 1536, 12, 2, 8960, 131072)),
    *[Step(f"nccl-{ranks}", f"50 steps on {ranks} GPUs over NCCL against one", several(ranks), multi=True) for ranks in (2, 4, 8)],
]


def run_step(check, number, step):
    log_path = check.output / f"{number:02}-{step.name}.log"
    start = time.monotonic()
    print(f"  {step.name:<16} {step.what}", flush=True)
    with open(log_path, "w", encoding="utf-8") as check.log:
        figures, verdict, reason = {}, "ok", ""
        try:
            figures = step.run(check) or {}
        except Skip as skip:
            verdict, reason = "skipped", str(skip)
        except subprocess.TimeoutExpired as late:
            verdict, reason = "FAILED", f"no end within {late.timeout:.0f} s"
        except (AssertionError, OSError, KeyError, ValueError) as error:
            verdict, reason = "FAILED", f"{error}" or type(error).__name__
    if check.options.dry_run and verdict == "ok":
        figures, verdict = {}, "not run"
    return {"name": step.name, "verdict": verdict, "reason": reason, "seconds": round(time.monotonic() - start, 1),
            "figures": figures}


def main():
    parser = argparse.ArgumentParser(prog="jobs/gpu-check.sh", description="Checks and measures Rondo on GPUs.")
    parser.add_argument("--build", default="build/release", help="where not started from a bundle")
    parser.add_argument("--output", default="gpu-check", help="folder of logs, runs and gpu-check.json")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="steps whose name has this word; may be repeated")
    parser.add_argument("--multi", action="store_true", help="also what needs 2, 4 or 8 GPUs")
    parser.add_argument("--hosts", default="", help="for mpirun --host: two nodes")
    parser.add_argument("--dry-run", action="store_true", help="show the commands and run nothing")
    options = parser.parse_args()
    check = Check(options)
    if not check.rondo.exists():
        sys.exit(f"gpu-check: {check.rondo} is missing: build first, or start it from an unpacked bundle")
    check.output.mkdir(parents=True, exist_ok=True)
    chosen = [step for step in STEPS if (options.multi or not step.multi) and
              (not options.only or any(word in step.name for word in options.only))]
    if not chosen:
        sys.exit(f"gpu-check: no step has {' or '.join(options.only)} in its name; steps: {' '.join(step.name for step in STEPS)}")
    results = [run_step(check, number, step) for number, step in enumerate(chosen, 1)]
    (check.output / "gpu-check.json").write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "dry_run": options.dry_run,
                                                             "steps": results}, indent=2) + "\n")
    print(f"\n{'step':<16} {'verdict':<8} {'seconds':>8}  figures")
    for result in results:
        told = result["reason"] or ", ".join(f"{key} {value}" for key, value in result["figures"].items())
        print(f"{result['name']:<16} {result['verdict']:<8} {result['seconds']:>8}  {told[:150]}")
    failed = sum(result["verdict"] == "FAILED" for result in results)
    skipped = sum(result["verdict"] == "skipped" for result in results)
    print(f"{len(results) - failed - skipped} {'shown' if options.dry_run else 'ok'}, {skipped} skipped, {failed} failed; "
          f"all figures: {check.output / 'gpu-check.json'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
