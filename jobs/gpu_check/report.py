# SPDX-License-Identifier: Apache-2.0
"""What a check found: every verdict as a line at once, and all of it in two files that are whole at any time."""
import json
import os
import tarfile
import time

PASS, FAIL, BELOW_GOAL, NOT_RUN = "PASS", "FAIL", "below goal", "not run"
# Of several verdicts the first that there is stands for the step.
ORDER = (FAIL, BELOW_GOAL, PASS, NOT_RUN)


class Report:
    """OUTPUT/gpu-check.json is written anew after every verdict, OUTPUT/gpu-check-logs.tar.gz after every step: a check that is cut
    off leaves what it has found. There is no other file, since a lent machine may bring back only a few."""

    def __init__(self, output, logs, head, show=print):
        self.output, self.logs, self.head, self.show = output, logs, head, show
        self.steps = []
        output.mkdir(parents=True, exist_ok=True)

    def begin(self, name, what):
        self.steps.append({"name": name, "what": what, "verdict": NOT_RUN, "reason": "", "seconds": 0, "verdicts": [], "figures": {}})
        self.write()

    def start(self):
        self.show(f"--- {self.steps[-1]['name']}: {self.steps[-1]['what']}", flush=True)

    def verdict(self, verdict, what, figure="", goal=""):
        """A finding within the current step, e.g. ("below goal", "cudnn d 128 causal forward, 32K", "612 TFLOP/s", "690")."""
        self.steps[-1]["verdicts"].append({"verdict": verdict, "what": what, "figure": figure, "goal": goal})
        told = f"  {figure}" + (f" (goal {goal})" if goal else "")
        self.show(f"    {verdict:<10} {what}{told if figure else ''}", flush=True)
        self.write()

    def end(self, seconds, figures, verdict=None, reason=""):
        """The verdict is that of the findings, unless one is given."""
        step = self.steps[-1]
        found = [one["verdict"] for one in step["verdicts"]]
        if verdict is None:
            verdict = next((one for one in ORDER if one in found), PASS)
        if verdict == NOT_RUN and FAIL in found:
            verdict = FAIL
        step.update(verdict=verdict, reason=reason, seconds=round(seconds, 1), figures=figures)
        if not reason and verdict in (FAIL, BELOW_GOAL):
            step["reason"] = "; ".join(one["what"] for one in step["verdicts"] if one["verdict"] == verdict)
        self.show(f"{verdict:<10} {step['name']}  {seconds:.0f} s  {text_of(step)}", flush=True)
        self.write()
        self.pack()

    def write(self):
        partial = self.output / "gpu-check.json.partial"
        partial.write_text(json.dumps({**self.head, "steps": self.steps}, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self.output / "gpu-check.json")

    def pack(self):
        partial = self.output / "gpu-check-logs.tar.gz.partial"
        with tarfile.open(partial, "w:gz") as archive:
            archive.add(self.logs, arcname="gpu-check-logs")
        os.replace(partial, self.output / "gpu-check-logs.tar.gz")

    def count(self, verdict):
        return sum(step["verdict"] == verdict for step in self.steps)


def text_of(step):
    """The reason, or the figures that fit in a line; what is a list or a table itself is in the JSON file."""
    if step["reason"]:
        return step["reason"]
    return ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in step["figures"].items()
                     if not isinstance(value, (list, dict)))


class Budget:
    """The time that is left of --minutes; without them, as much as one likes. Shown commands take as long as they would."""

    KEPT_S = 8  # to end what runs and to write the files

    def __init__(self, minutes, clock=time.monotonic):
        self.clock = clock
        self.start = clock()
        self.seconds = None if minutes is None else 60 * minutes
        self.pretended = 0

    def pretend(self, seconds):
        self.pretended += seconds

    def used(self):
        return self.clock() - self.start + self.pretended

    def left(self):
        return float("inf") if self.seconds is None else self.seconds - self.KEPT_S - self.used()

    def fits(self, estimate):
        return estimate <= self.left()
