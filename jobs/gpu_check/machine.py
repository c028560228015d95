# SPDX-License-Identifier: Apache-2.0
"""The machine that the steps of jobs/gpu-check.sh run on: where libraries and programs are, and how one is called."""
import dataclasses
import glob
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import Callable

import process
from report import Budget

HERE = pathlib.Path(__file__).resolve().parent.parent.parent
SMALL = ["model.d_model=128", "model.layers=2", "data.sequence_length=1024", "evaluate.sequences=2", "precision.compute=bf16"]


class Skip(Exception):
    """The step cannot be tried here."""


class Late(Exception):
    """A program had no end within its limit and was ended, with all that it had started."""

    def __init__(self, limit_s, text):
        super().__init__(f"no end within {limit_s:.0f} s")
        self.text = text  # stdout up to then


class OutOfTime(Exception):
    """The minutes that were given are over."""


@dataclasses.dataclass
class Step:
    name: str
    group: str  # what --only may also name
    seconds: int  # about so long on an H100; guessed until it has run on one
    what: str
    run: Callable  # (Check) -> dict of figures; tells its findings through check.report
    multi: bool = False


class Check:
    def __init__(self, options):
        self.options = options
        self.output = pathlib.Path(options.output).resolve()
        self.budget = Budget(options.minutes)
        self.report = None
        # Runs and logs: beside the output, since a lent machine may bring back few files. Two machines share the output folder.
        self.work = self.output / "work" if options.hosts else pathlib.Path(tempfile.mkdtemp(prefix="rondo-gpu-check-"))
        self.logs = self.work / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.bundled = (HERE / "runtime").is_dir()
        self.root = HERE if self.bundled else pathlib.Path(options.build).resolve()
        self.rondo = self.root / "bin/rondo"
        self.hosts = [host for host in options.hosts.split(",") if host]
        self.environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                                OMPI_MCA_rmaps_base_oversubscribe="1", CUDA_DEVICE_MAX_CONNECTIONS="32")
        self.mpirun = "mpirun"
        self.log = None
        self.has_corpus = False
        self.gpus = None  # how many, once asked
        self.speeds = {}  # attention measured so far: (kernel, head_dim, causal, tokens, pass) -> FLOP/s
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
            if not shutil.which("ssh") and not self.hosts:
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

    def num_gpus(self):
        if self.gpus is None:
            tool = shutil.which("nvidia-smi")
            found = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False) if tool else None
            self.gpus = len(found.stdout.splitlines()) if found and found.returncode == 0 else 0
        return self.gpus

    def require_gpus(self, count):
        if not self.options.dry_run and self.num_gpus() < count:
            raise Skip(f"needs {count} GPU{'s' if count > 1 else ''}, nvidia-smi shows {self.num_gpus()}")

    # --- running ---------------------------------------------------------------------------------------------------

    def launcher(self, ranks, nodes):
        """mpirun on this machine, or over the first so many of --hosts with equally many ranks on each."""
        words = [self.mpirun, "-n", str(ranks), "--bind-to", "none"]
        if nodes > 1:
            each = -(-ranks // nodes)
            carried = sorted(name for name, value in self.environment.items()
                             if os.environ.get(name) != value and not name.startswith("OMPI_"))
            words += ["--host", ",".join(f"{host}:{each}" for host in (self.hosts or ["A", "B"])[:nodes]), "--map-by", "slot",
                      *[word for name in carried for word in ("-x", name)]]
            if self.bundled:
                words += ["--prefix", str(self.root / "runtime")]
        return words

    def run(self, *command, limit_s=300, ranks=0, nodes=1, **environment):
        """Runs and logs. With --dry-run only prints. @returns process.Done  @raises Late, OutOfTime"""
        words = [*(self.launcher(ranks, nodes) if ranks else []), *(str(word) for word in command)]
        self.log.write(f"$ {' '.join(map(shlex.quote, words))}\n")
        if self.options.dry_run:
            print("      $ " + " ".join(map(shlex.quote, words)))
            return process.Done(0, "")
        self.log.flush()
        left = self.budget.left()
        end = self.budget.used() + min(limit_s, left)
        try:
            done = process.run(words, lambda: self.budget.used() >= end, self.log, env={**self.environment, **environment}, cwd=self.work)
        except process.Expired as expired:
            self.log.write(expired.text)
            if left < limit_s:
                raise OutOfTime from None
            raise Late(limit_s, expired.text) from None
        self.log.write(done.text)
        return done

    def call(self, *command, **how):
        """As run(), for a program that must not fail. @returns its stdout"""
        done = self.run(*command, **how)
        assert done.code == 0, f"{pathlib.Path(str(command[0])).name} ended with {done.code}, see {pathlib.Path(self.log.name).name}"
        return done.text

    def bench(self, case, *options, **how):
        """The document of `rondo bench CASE`; nothing with --dry-run."""
        text = self.call(self.rondo, "bench", case, *options, "--json", **how)
        return json.loads(text) if text else None

    def corpus_text(self):
        sources = [HERE / "data/text.txt"] if self.bundled else [*sorted(HERE.glob("docs/**/*.md")), HERE / "README.md"]
        text = "".join(source.read_text(encoding="utf-8") for source in sources)
        return text * (1 + 2_000_000 // len(text))

    def corpus(self):
        """Something to train on, made when it is first asked for: one document, as documents do not see each other, and long
        enough for the longest sequence."""
        path = self.work / "text.h5"
        if not self.has_corpus:
            if not self.options.dry_run:
                (self.work / "text.txt").write_text(self.corpus_text(), encoding="utf-8")
            self.call(self.rondo, "prepare", self.work / "text.txt", "--output", path, "--tokenizer", "bytes")
            self.has_corpus = True
        return path

    def train(self, run, ranks, *settings, **how):
        """A run of configs/tiny.toml from its start; its losses by step."""
        folder = self.work / "runs" / run
        if not self.options.dry_run:
            shutil.rmtree(folder, ignore_errors=True)
        return self.go_on(run, ranks, *settings, **how)

    def go_on(self, run, ranks, *settings, **how):
        folder = self.work / "runs" / run
        words = [word for setting in (f"data.corpus={self.corpus()}", *SMALL, *settings) for word in ("--set", setting)]
        self.call(self.rondo, "train", HERE / "configs/tiny.toml", "--run", folder, *words, ranks=ranks, **how)
        if self.options.dry_run:
            return {}
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return {record["step"]: record["loss"] for record in records if "loss" in record}

    def digest(self, run):
        """Of all tensors of a run's newest checkpoint; empty with --dry-run."""
        checkpoint = sorted((self.work / "runs" / run / "checkpoints").glob("step-*"),
                            key=lambda path: int(path.name.split("-")[1]))
        text = self.call(self.rondo, "checkpoint", "info", checkpoint[-1] if checkpoint else f"runs/{run}", "--json")
        return json.loads(text)["checkpoints"][0]["tensors_digest"] if text else ""
