# SPDX-License-Identifier: Apache-2.0
"""In the place of `rondo` for tests of jobs/gpu-check.sh: the program itself, which trains and times something small.
Token counts of benchmarks are divided by 1024 on the way in and multiplied on the way out; MPI takes the place of NCCL. usage: small_rondo.py PROGRAM ARGUMENT..."""
import json
import re
import subprocess
import sys

SMALL_SETTINGS = {"model.layers": 1, "model.d_model": 24, "model.heads": 2, "model.kv_heads": 1, "model.d_ff": 16,
                  "data.sequence_length": 32, "parallel.transport": "mpi"}
SMALL_OPTIONS = {**dict.fromkeys(("--peak-size", "-m", "-n", "-k", "--d-ff"), "16"), **dict.fromkeys(("--d-model", "--chunk-tokens"), "8"),
                 "--warm-ups": "0", "--runs": "1", "--transport": "mpi"}


def small(option, value):
    if option in ("--tokens", "--segment-tokens"):
        return re.sub(r"\d+", lambda number: str(int(number.group()) // 1024), value)
    if option in ("--heads", "--kv-heads"):
        return str(max(1, int(value) // 4))
    if option == "--set":
        name = value.split("=")[0]
        return f"{name}={SMALL_SETTINGS[name]}" if name in SMALL_SETTINGS else value
    return SMALL_OPTIONS.get(option, value)


def main():
    program, *words = sys.argv[1:]
    words = [word if i == 0 else small(words[i - 1], word) for i, word in enumerate(words)]
    if words[0] != "bench":
        sys.exit(subprocess.run([program, *words], check=False).returncode)
    if words[1] != "step" and "--peak-size" not in words:
        words += ["--peak-size", "16"]
    done = subprocess.run([program, *words], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0 or not done.stdout:  # rank 0 alone prints
        sys.exit(done.returncode)
    document = json.loads(done.stdout)
    for result in document["results"]:
        if "tokens" in result:
            result["tokens"] *= 1024
        result.setdefault("share_of_peak", 0.5)
    print(json.dumps(document))


main()
