# SPDX-License-Identifier: Apache-2.0
"""jobs/gpu-check.sh: runs every step with a limit, and writes what came out.

A step is a command, or several, and a judgement of what they left: ok, failed, or skipped with its reason. Nothing is
skipped silently: what could not be tried is in the table too. OUTPUT/gpu-check.json has all figures, OUTPUT/NAME.log the
text of every step. The most important steps come first, so that a short time on a machine is well spent."""
import argparse
import json
import subprocess
import sys
import time

import correctness
import several
import speed
from machine import Check, Skip

STEPS = [*correctness.FIRST, *speed.STEPS, *correctness.LATER, *correctness.LAST, *several.STEPS]


def run_step(check, number, step):
    log_path = check.output / f"{number:02}-{step.name}.log"
    start = time.monotonic()
    told = f" (about {step.seconds} s)" if check.options.dry_run else ""
    print(f"  {step.name:<20} {step.what}{told}", flush=True)
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


def text_of(result):
    """One line for the table; what is a list or a table itself is in the JSON file."""
    if result["reason"]:
        return result["reason"]
    return ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in result["figures"].items()
                     if key not in ("rows", "result", "results"))


def options_of(arguments):
    parser = argparse.ArgumentParser(prog="jobs/gpu-check.sh", description="Checks and measures Rondo on GPUs.")
    parser.add_argument("--build", default="build/release", help="where not started from a bundle")
    parser.add_argument("--output", default="gpu-check", help="folder of logs, runs and gpu-check.json")
    parser.add_argument("--only", action="append", default=[], metavar="WORD",
                        help="steps whose name has this word, or of this group: base, right, speed, sanitizer, multi; may be repeated")
    parser.add_argument("--multi", action="store_true", help="also what needs 2, 4 or 8 GPUs, and with --hosts two machines")
    parser.add_argument("--hosts", default="", help="two machines, A,B, as mpirun --host takes them; they share the output folder")
    parser.add_argument("--dry-run", action="store_true", help="show the commands and run nothing")
    return parser.parse_args(arguments)


def main():
    options = options_of(sys.argv[1:])
    check = Check(options)
    if not check.rondo.exists():
        sys.exit(f"gpu-check: {check.rondo} is missing: build first, or start it from an unpacked bundle")
    check.output.mkdir(parents=True, exist_ok=True)
    chosen = [step for step in STEPS if (options.multi or not step.multi) and
              (not options.only or any(word in step.name or word == step.group for word in options.only))]
    if not chosen:
        sys.exit(f"gpu-check: no step has {' or '.join(options.only)} in its name; steps: {' '.join(step.name for step in STEPS)}")
    results = []
    for number, step in enumerate(chosen, 1):
        results.append(run_step(check, number, step))
        # After every step, so that what was found is there when the time on the machine ends.
        (check.output / "gpu-check.json").write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "dry_run": options.dry_run,
                                                                 "steps": results}, indent=1) + "\n")
    print(f"\n{'step':<20} {'verdict':<8} {'seconds':>8}  figures")
    for result in results:
        print(f"{result['name']:<20} {result['verdict']:<8} {result['seconds']:>8}  {text_of(result)[:150]}")
    failed = sum(result["verdict"] == "FAILED" for result in results)
    skipped = sum(result["verdict"] == "skipped" for result in results)
    if options.dry_run:
        print(f"about {sum(step.seconds for step in chosen) / 60:.0f} minutes on an H100")
    print(f"{len(results) - failed - skipped} {'shown' if options.dry_run else 'ok'}, {skipped} skipped, {failed} failed; "
          f"all figures: {check.output / 'gpu-check.json'}")
    sys.exit(1 if failed else 0)


main()
