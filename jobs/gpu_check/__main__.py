# SPDX-License-Identifier: Apache-2.0
"""jobs/gpu-check.sh: runs every step with a limit, and writes what came out.

A step is a command, or several, and a judgement of what they left: PASS, FAIL, below goal, or not run with its reason. Nothing is
left out silently, and nothing stops at a failure. The most important steps come first; with --minutes a step starts only when the
time that it takes, by estimate, is left. Every verdict is a line at once; OUTPUT gets two files, see report.py."""
import argparse
import pathlib
import shutil
import sys
import time

import correctness
import process
import references
import several
import speed
from machine import Check, Late, OutOfTime, Skip
from report import BELOW_GOAL, FAIL, NOT_RUN, PASS, Report, text_of

STEPS = [*correctness.FIRST, *speed.FIRST, *correctness.CURVE_STEPS, *speed.PROFILE, *correctness.SHORT_SANITIZER, *speed.GQA,
         *correctness.LATER, *speed.LATER, *correctness.LAST, *several.STEPS]


def run_step(check, number, step):
    report, budget = check.report, check.budget
    report.begin(step.name, step.what)
    if not budget.fits(step.seconds):
        report.end(0, {}, NOT_RUN, f"no time: about {step.seconds} s are needed, {max(0, budget.left()):.0f} s are left")
        return
    report.start()
    start = budget.used()
    figures, verdict, reason = {}, None, ""
    with open(check.logs / f"{number:02}-{step.name}.log", "w", encoding="utf-8") as check.log:
        try:
            figures = step.run(check) or {}
        except Skip as skip:
            verdict, reason = NOT_RUN, str(skip)
        except OutOfTime:
            verdict, reason = NOT_RUN, "cut off: the minutes are over"
        except (Late, AssertionError, OSError, KeyError, ValueError, references.Stale) as error:
            verdict, reason = FAIL, f"{error}" or type(error).__name__
    if check.options.dry_run:
        budget.pretend(step.seconds)
        if verdict is None:
            figures, verdict, reason = {}, NOT_RUN, f"only shown; about {step.seconds} s"
    report.end(budget.used() - start, figures, verdict, reason)


def options_of(arguments):
    parser = argparse.ArgumentParser(prog="jobs/gpu-check.sh", description="Checks and measures Rondo on GPUs.")
    parser.add_argument("--build", default="build/release", help="where not started from a bundle")
    parser.add_argument("--output", default="gpu-check", help="folder for gpu-check.json and gpu-check-logs.tar.gz")
    parser.add_argument("--minutes", type=float, metavar="M", help="end within so long: the most important steps that fit")
    parser.add_argument("--only", action="append", default=[], metavar="WORD",
                        help="steps whose name has this word, or of this group: base, right, speed, sanitizer, multi; may be repeated")
    parser.add_argument("--multi", action="store_true", help="also what needs 2, 4 or 8 GPUs, and with --hosts two machines")
    parser.add_argument("--hosts", default="", help="two machines, A,B, as mpirun --host takes them; they share the output folder")
    parser.add_argument("--dry-run", action="store_true", help="show the commands and run nothing")
    parser.add_argument("--write-references", metavar="FILE", type=pathlib.Path,
                        help="only train on CPUs what curves on GPUs are compared with, for a bundle")
    return parser.parse_args(arguments)


def write_references(check):
    with open(check.logs / "references.log", "w+", encoding="utf-8") as check.log:
        try:
            references.write(check, check.options.write_references.resolve(), correctness.CURVES)
        except (Late, AssertionError, OSError) as error:
            check.log.seek(0)
            sys.exit(f"gpu-check: the CPU losses could not be made: {error}\n{check.log.read()[-2000:]}")


def show_table(check):
    steps = check.report.steps
    print(f"\n{'verdict':<10} {'step':<24} {'seconds':>7}  figures or reason")
    for step in steps:
        print(f"{step['verdict']:<10} {step['name']:<24} {step['seconds']:>7}  {text_of(step)[:150]}")
    counts = ", ".join(f"{check.report.count(verdict)} {verdict}" for verdict in (PASS, BELOW_GOAL, FAIL, NOT_RUN))
    print(f"{counts} of {len(steps)} steps, {check.budget.used() / 60:.1f} minutes; all figures: {check.output / 'gpu-check.json'}", flush=True)


def main():
    options = options_of(sys.argv[1:])
    process.exit_on_sigterm()
    check = Check(options)
    try:
        if not check.rondo.exists():
            sys.exit(f"gpu-check: {check.rondo} is missing: build first, or start it from an unpacked bundle")
        if options.write_references:
            return write_references(check)
        chosen = [step for step in STEPS if (options.multi or not step.multi) and
                  (not options.only or any(word in step.name or word == step.group for word in options.only))]
        if not chosen:
            sys.exit(f"gpu-check: no step has {' or '.join(options.only)} in its name; steps: {' '.join(step.name for step in STEPS)}")
        check.report = Report(check.output, check.logs, {"date": time.strftime("%Y-%m-%d"), "dry_run": options.dry_run,
                                                         "minutes": options.minutes})
        for number, step in enumerate(chosen, 1):
            run_step(check, number, step)
        show_table(check)
        return sys.exit(1 if check.report.count(FAIL) else 0)
    finally:
        shutil.rmtree(check.work, ignore_errors=True)


main()
