# SPDX-License-Identifier: Apache-2.0
"""Steps that measure speed on one GPU. They never fail because something is slow: a goal is told beside its figure, and a missed
one is below goal. Goals are for an H100 (SXM)."""
import importlib.util
import json
import os
import re
import sys

from correctness import find_tool
from machine import HERE, Late, Skip, Step
from report import BELOW_GOAL, FAIL, PASS

ON_GPU = ("--device", "cuda", "--dtype", "bf16")
COLUMNS = 2048  # heads times their dimension, as published tables have it
LONG, OTHERS = (32768, 131072), (8192, 16384, 65536)
# TFLOP/s at head dimension 128 from 32K tokens on.
ATTENTION_GOALS = {("cudnn", "forward"): 690, ("cudnn", "backward"): 580, ("fused", "forward"): 330, ("fused", "backward"): 250}
SHARE_OF_DIRECT_CUDNN = 0.97
SPLIT_GOAL = 0.03
DATASHEET_PEAK = 989e12  # dense bf16 of an H100 or H200
# Share of the datasheet's peak that a step of the 1.5 B model reaches by what is known of its parts: (tokens, train.deterministic).
# With it attention's backward pass is the fused kernel's, without it cuDNN's.
STEP_GOALS = {(32768, False): 0.42, (131072, False): 0.47, (32768, True): 0.24, (131072, True): 0.21}
SPEED_RUNS = ("--warm-ups", "1", "--runs", "3")


def judge(check, what, figure, goal, form="{:.0f}", at_least=True):
    reached = figure >= goal if at_least else figure <= goal
    check.report.verdict(PASS if reached else BELOW_GOAL, what, form.format(figure), ("" if at_least else "<= ") + form.format(goal))


def tell(check, what, figure):
    check.report.show(f"    {'':<10} {what}  {figure}", flush=True)


def thousands(tokens):
    return f"{tokens // 1024}K"


def peak(check):
    check.require_gpus(1)
    document = check.bench("matmul", *ON_GPU, "-m", "8192", "-n", "8192", "-k", "8192", "--peak-size", "4096,8192,16384", *SPEED_RUNS)
    if document is None:
        return {}
    best = document["peaks"][0]
    return {"tflops": best["flops_per_s"] * 1e-12, "square_size": best["square_size"],
            "fp32_results_tflops": document["results"][0]["flops_per_s"] * 1e-12, "device": document["device"]}


def attention(kernel, head_dim, tokens, kv_share=1):
    """One call for each mask: a program takes seconds to load the libraries of a GPU."""
    def run(check):
        check.require_gpus(1)
        rows = []
        heads = COLUMNS // head_dim
        for mask in ("causal", "full"):
            document = check.bench("attention", *ON_GPU, "--attention-kernel", kernel, "--head-dim", head_dim, "--heads", heads,
                                   "--kv-heads", heads // kv_share, "--tokens", ",".join(map(str, tokens)), "--peak-size", "4096",
                                   *(["--full"] if mask == "full" else []), *SPEED_RUNS)
            for result in document["results"] if document else []:
                row = {"kernel": kernel, "mask": mask, **{key: result[key] for key in ("head_dim", "heads", "kv_heads", "tokens", "pass")},
                       "tflops": result["flops_per_s"] * 1e-12, "launch_ms": result.get("launch_ms")}
                rows.append(row)
                check.speeds[kernel, head_dim, kv_share, mask, row["tokens"], row["pass"]] = row["tflops"]
                tell_attention(check, row, kv_share)
        return {"rows": rows}
    return run


def tell_attention(check, row, kv_share):
    what = f"{row['kernel']} d {row['head_dim']} {row['mask']} {row['pass']} {thousands(row['tokens'])}, TFLOP/s"
    if row["head_dim"] == 128 and row["tokens"] >= 32768 and kv_share == 1:
        row["goal"] = ATTENTION_GOALS[row["kernel"], row["pass"]]
        judge(check, what, row["tflops"], row["goal"])
    else:
        tell(check, what, f"{row['tflops']:.0f}")


def pytorch(head_dim, tokens):
    """The same shapes through PyTorch, and how our cuDNN path compares with its."""
    def run(check):
        check.require_gpus(1)
        if importlib.util.find_spec("torch") is None and not check.options.dry_run:
            raise Skip(f"{sys.executable} has no PyTorch")
        result_file = check.work / f"pytorch-{head_dim}.json"
        script = HERE / "jobs/gpu_check/compare_pytorch.py"
        check.call(sys.executable, script, "--columns", COLUMNS, "--head-dim", head_dim, "--tokens", ",".join(map(str, tokens)),
                   "--output", result_file, limit_s=300, LD_LIBRARY_PATH=os.environ.get("LD_LIBRARY_PATH", ""))
        if check.options.dry_run:
            return {}
        document = json.loads(result_file.read_text())
        for row in document["rows"]:
            compare(check, row)
        return document
    return run


def compare(check, row):
    what = f"PyTorch {row['backend']} d {row['head_dim']} {row['mask']} {row['pass']} {thousands(row['tokens'])}"
    ours = check.speeds.get(("cudnn", row["head_dim"], 1, row["mask"], row["tokens"], row["pass"]))
    if "tflops" not in row:
        tell(check, what, row["error"])
    elif row["backend"] == "cudnn" and ours is not None:
        row["our_share"] = ours / row["tflops"]
        told = f"our cuDNN path of {what}: {row['tflops']:.0f} TFLOP/s"
        if row["tokens"] >= 32768:
            judge(check, told, row["our_share"], SHARE_OF_DIRECT_CUDNN, "{:.3f}")
        else:
            tell(check, told, f"{row['our_share']:.3f}")
    else:
        tell(check, f"{what}, TFLOP/s", f"{row['tflops']:.0f}")


def feed_forward(check):
    check.require_gpus(1)
    rows = []
    for model, d_model, d_ff in (("0.5B", 896, 4864), ("1.5B", 1536, 8960), ("8B", 4096, 14336)):
        for tokens in LONG:
            document = check.bench("feed_forward", *ON_GPU, "--tokens", tokens, "--d-model", d_model, "--d-ff", d_ff,
                                   "--chunk-tokens", "4096", *SPEED_RUNS)
            for result in document["results"] if document else []:
                rows.append({"model": model, "tokens": tokens, "pass": result["pass"], "tflops": result["flops_per_s"] * 1e-12,
                             "share_of_peak": result["share_of_peak_with_recomputation"], "scratch_mb": result["scratch_bytes"] * 1e-6})
                tell(check, f"{model} {result['pass']} {thousands(tokens)}, share of the peak", f"{rows[-1]['share_of_peak']:.2f}")
    for row in rows:
        others = {other["scratch_mb"] for other in rows if (other["model"], other["pass"]) == (row["model"], row["pass"])}
        assert len(others) == 1, "the scratch memory of the feed-forward unit depends on the tokens"
    return {"rows": rows}


def memory(check):
    """The compressive memory of Infini-attention, beside what `attention-*` say of the attention to a segment."""
    check.require_gpus(1)
    rows = []
    for head_dim in (64, 128):
        document = check.bench("memory", *ON_GPU, "--head-dim", head_dim, "--heads", COLUMNS // head_dim, "--tokens", "32768,131072",
                               "--segment-tokens", "2048", *SPEED_RUNS)
        for result in document["results"] if document else []:
            rows.append({**{key: result[key] for key in ("rule", "head_dim", "heads", "tokens", "pass", "median_ms")},
                         "tflops": result["flops_per_s"] * 1e-12, "share_of_peak": result["share_of_peak"]})
            tell(check, f"{result['rule']} d {head_dim} {result['pass']} {thousands(result['tokens'])}, ms", f"{result['median_ms']:.2f}")
    return {"rows": rows}


def split(check):
    check.require_gpus(1)
    rows = []
    for kernel in ("auto", "fused"):
        for mask in ("causal", "full"):
            document = check.bench("split", *ON_GPU, "--attention-kernel", kernel, "--hops", "4", "--tokens", "32768", "--heads", "16",
                                   "--head-dim", "128", *(["--full"] if mask == "full" else []), "--warm-ups", "1", "--runs", "5")
            for result in document["results"] if document else []:
                rows.append({"kernel": kernel, "mask": mask, "tokens": 32768, "hops": 4, "pass": result["pass"],
                             "overhead": result["overhead"], "tflops": result["flops_per_s"] * 1e-12})
                judge(check, f"{kernel} {mask} {result['pass']}, 4 hops, overhead", result["overhead"], SPLIT_GOAL, "{:+.3f}", at_least=False)
    return {"rows": rows}


def step(shape, tokens, deterministic, runs):
    """Tokens a second of a model of this shape, and the model FLOP of it as a share of the datasheet's peak."""
    layers, d_model, heads, kv_heads, d_ff = shape

    def run(check):
        check.require_gpus(1)
        settings = [f"model.layers={layers}", f"model.d_model={d_model}", f"model.heads={heads}", f"model.kv_heads={kv_heads}",
                    f"model.d_ff={d_ff}", f"data.sequence_length={tokens}", "precision.compute=bf16", "parallel.device=cuda",
                    f"train.deterministic={'true' if deterministic else 'false'}", f"data.corpus={check.corpus()}"]
        document = check.bench("step", HERE / "configs/tiny.toml", *[word for setting in settings for word in ("--set", setting)],
                               "--warm-ups", "1", "--runs", runs, ranks=1, limit_s=240)
        if document is None:
            return {}
        result = document["results"][0]
        figures = {"tokens_per_s": result["tokens_per_s"], "mfu_of_989_tflops": result["flops_per_s"] / DATASHEET_PEAK,
                   "peak_gb": result["peak_bytes_of_a_rank"] * 1e-9, "deterministic": deterministic, "result": result}
        goal = STEP_GOALS.get((tokens, deterministic)) if shape == SHAPE_1_5B else None
        if goal is not None:
            judge(check, f"{thousands(tokens)} tokens, train.deterministic {str(deterministic).lower()}: {result['tokens_per_s']:.0f} "
                         "tokens/s, MFU", figures["mfu_of_989_tflops"], goal, "{:.3f}")
        return figures
    return run


# What is read of a kernel in Nsight Compute's page of details.
NCU_ROW = re.compile(r"^\s+(Duration|Compute \(SM\) Throughput|Memory Throughput|Registers Per Thread|Achieved Occupancy)\s+(\S+)\s+([\d.,]+)$")


def read_details(text):
    """[{"kernel": name, "Duration": "4.60 ms", ...}] of `ncu --page details`; of equal names in one kernel the first counts."""
    kernels = []
    for line in text.splitlines():
        head = re.match(r"^\s{2}\S.*?(fused_\w+_kernel).*Context \d+", line)
        row = NCU_ROW.match(line)
        if head:
            kernels.append({"kernel": head.group(1)})
        elif row and kernels:
            kernels[-1].setdefault(row.group(1), f"{row.group(3)} {row.group(2)}")
    return kernels


def ncu(check):
    """The first launches of the fused kernels at 32K tokens; the capture itself comes back in the archive."""
    check.require_gpus(1)
    program = find_tool(check, "ncu")
    capture = check.logs / "fused"
    try:
        done = check.run(program, "--set", "full", "--clock-control", "none", "--kernel-name", "regex:fused_", "--launch-count", "5",
                         "--force-overwrite", "--export", capture, check.rondo, "bench", "attention", *ON_GPU, "--attention-kernel",
                         "fused", "--head-dim", "128", "--heads", "16", "--tokens", "32768", "--peak-size", "512", "--warm-ups", "0",
                         "--runs", "1", limit_s=120)
    except Late as late:
        check.report.verdict(FAIL, f"ncu: {late}")
        return {}
    if "ERR_NVGPUCTRPERM" in done.text:
        raise Skip("this machine does not let its users read the GPU's counters")
    assert done.code == 0, f"ncu ended with {done.code}"
    kernels = read_details(check.call(program, "--import", f"{capture}.ncu-rep", "--page", "details"))
    assert kernels or check.options.dry_run, "ncu captured no fused kernel"
    for kernel in kernels:
        tell(check, kernel["kernel"], ", ".join(f"{key} {value}" for key, value in kernel.items() if key != "kernel"))
    return {"kernels": kernels}


SHAPE_0_5B, SHAPE_1_5B = (24, 896, 14, 2, 4864), (28, 1536, 12, 2, 8960)
FIRST = [
    Step("peak", "speed", 10, "square products: the matmul peak", peak),
    Step("attention-cudnn-128", "speed", 40, "attention by cuDNN, head dimension 128, 32K and 128K tokens", attention("cudnn", 128, LONG)),
    Step("attention-fused-128", "speed", 35, "attention by our kernel, the same", attention("fused", 128, LONG)),
    Step("pytorch-128", "speed", 25, "the same shapes through PyTorch: cuDNN and FlashAttention", pytorch(128, LONG)),
    *[Step(f"step-1.5b-32k-{'on' if on else 'off'}", "speed", seconds, "training step, 1.5 B parameters, 32K tokens, train.deterministic "
           f"{'on' if on else 'off'}", step(SHAPE_1_5B, 32768, on, 3)) for on, seconds in ((False, 20), (True, 25))],
    *[Step(f"step-1.5b-128k-{'on' if on else 'off'}", "speed", seconds, "training step, 1.5 B parameters, 128K tokens, train.deterministic "
           f"{'on' if on else 'off'}", step(SHAPE_1_5B, 131072, on, 1)) for on, seconds in ((False, 40), (True, 65))],
]
PROFILE = [Step("ncu", "speed", 40, "one capture of each fused kernel by Nsight Compute", ncu)]
GQA = [Step("attention-gqa", "speed", 15, "attention by cuDNN, 8 query heads per key head", attention("cudnn", 128, (32768,), 8))]
LATER = [
    Step("split", "speed", 60, "the blocks of a ring of 4 on one GPU against one call, 32K tokens per hop", split),
    Step("step-0.5b-32k", "speed", 20, "training step, 0.5 B parameters, 32K tokens", step(SHAPE_0_5B, 32768, False, 3)),
    Step("feed-forward", "speed", 30, "the blockwise feed-forward unit, chunks of 4K tokens as runs on GPUs have", feed_forward),
    Step("memory", "speed", 30, "the compressive memory, 32K and 128K tokens in segments of 2K", memory),
    Step("attention-cudnn-128-all", "speed", 30, "attention by cuDNN, head dimension 128, other lengths", attention("cudnn", 128, OTHERS)),
    Step("attention-fused-128-all", "speed", 40, "attention by our kernel, the same", attention("fused", 128, OTHERS)),
    Step("attention-cudnn-64", "speed", 60, "attention by cuDNN, head dimension 64", attention("cudnn", 64, LONG + OTHERS)),
    Step("attention-fused-64", "speed", 90, "attention by our kernel, the same", attention("fused", 64, LONG + OTHERS)),
    Step("pytorch-all", "speed", 90, "the other lengths through PyTorch, head dimension 128", pytorch(128, OTHERS)),
    Step("pytorch-64", "speed", 90, "all lengths through PyTorch, head dimension 64", pytorch(64, LONG + OTHERS)),
    Step("step-0.5b-128k", "speed", 40, "training step, 0.5 B parameters, 128K tokens", step(SHAPE_0_5B, 131072, False, 1)),
]
