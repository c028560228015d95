# SPDX-License-Identifier: Apache-2.0
"""Steps that measure speed on one GPU. They never fail because something is slow: a goal is told beside its figure, as ok
or short. Goals are for an H100 (SXM)."""
import importlib.util
import json
import os
import sys

from machine import HERE, Skip, Step

ON_GPU = ("--device", "cuda", "--dtype", "bf16")
COLUMNS = 2048  # heads times their dimension, as published tables have it
TOKENS = (8192, 16384, 32768, 65536, 131072)
# FLOP/s at head dimension 128 from 32K tokens on.
ATTENTION_GOALS = {("cudnn", "forward"): 690e12, ("cudnn", "backward"): 580e12,
                   ("fused", "forward"): 330e12, ("fused", "backward"): 250e12}
SHARE_OF_DIRECT_CUDNN = 0.97
SPLIT_GOAL = 0.03
DATASHEET_PEAK = 989e12  # dense bf16 of an H100 or H200
SPEED_RUNS = ("--warm-ups", "2", "--runs", "5")


def judged(row, key, goal, at_least=True):
    """The row with its goal, and whether the figure reaches it."""
    row["goal"] = goal
    row["verdict"] = "ok" if (row[key] >= goal if at_least else row[key] <= goal) else "short"
    return row


def shown(check, title, rows, key, form):
    """One line of figures over the numbers of tokens, below the step's name."""
    if not check.options.dry_run and rows:
        print(f"      {title:<38}" + "  ".join(
            f"{row['tokens'] // 1024}K {form.format(row[key])}{' (' + row['verdict'] + ')' if 'verdict' in row else ''}" for row in rows))


def summary(rows, **figures):
    """What the last table shows of a step: how many goals are reached, and the rest."""
    verdicts = [row["verdict"] for row in rows if "verdict" in row]
    told = {"goals": f"{verdicts.count('ok')} ok, {verdicts.count('short')} short"} if verdicts else {}
    return {**figures, **told, "rows": rows}


def peak(check):
    check.require_gpus(1)
    document = check.bench("matmul", *ON_GPU, "-m", "8192", "-n", "8192", "-k", "8192", "--peak-size", "4096,8192,16384", *SPEED_RUNS)
    if document is None:
        return {}
    best = document["peaks"][0]
    return {"tflops": best["flops_per_s"] * 1e-12, "square_size": best["square_size"],
            "fp32_results_tflops": document["results"][0]["flops_per_s"] * 1e-12, "device": document["device"]}


def attention(kernel, head_dim, tokens=TOKENS, kv_share=1):
    def run(check):
        check.require_gpus(1)
        rows = []
        heads = COLUMNS // head_dim
        for mask in ("causal", "full"):
            document = check.bench("attention", *ON_GPU, "--attention-kernel", kernel, "--head-dim", head_dim, "--heads", heads,
                                   "--kv-heads", heads // kv_share, "--tokens", ",".join(map(str, tokens)),
                                   *(["--full"] if mask == "full" else []), *SPEED_RUNS)
            for result in document["results"] if document else []:
                row = {"kernel": kernel, "mask": mask, **{key: result[key] for key in ("head_dim", "heads", "kv_heads", "tokens", "pass")},
                       "tflops": result["flops_per_s"] * 1e-12, "share_of_peak": result["share_of_peak"], "launch_ms": result.get("launch_ms")}
                if head_dim == 128 and row["tokens"] >= 32768 and kv_share == 1:
                    judged(row, "tflops", ATTENTION_GOALS[kernel, row["pass"]] * 1e-12)
                check.speeds[kernel, head_dim, kv_share, mask, row["tokens"], row["pass"]] = row["tflops"]
                rows.append(row)
        for mask in ("causal", "full"):
            for which in ("forward", "backward"):
                shown(check, f"{kernel} d {head_dim} {mask} {which}", [r for r in rows if (r["mask"], r["pass"]) == (mask, which)],
                      "tflops", "{:.0f}")
        return summary(rows)
    return run


def pytorch(check):
    """The same shapes through PyTorch, and how our cuDNN path compares with its."""
    check.require_gpus(1)
    if importlib.util.find_spec("torch") is None and not check.options.dry_run:
        raise Skip(f"{sys.executable} has no PyTorch")
    script = HERE / "jobs/gpu_check/compare_pytorch.py"
    result_file = check.output / "pytorch.json"
    check.call(sys.executable, script, "--columns", COLUMNS, "--tokens", ",".join(map(str, TOKENS)), "--output", result_file,
               limit_s=500, LD_LIBRARY_PATH=os.environ.get("LD_LIBRARY_PATH", ""))
    if check.options.dry_run:
        return {}
    document = json.loads(result_file.read_text())
    rows = document["rows"]
    for row in rows:
        ours = check.speeds.get(("cudnn", row["head_dim"], 1, row["mask"], row["tokens"], row["pass"]))
        if row["backend"] != "cudnn" or "tflops" not in row or ours is None:
            continue
        row["our_share"] = ours / row["tflops"]
        if row["tokens"] >= 32768:
            judged(row, "our_share", SHARE_OF_DIRECT_CUDNN)
    for backend in ("cudnn", "flash"):
        for head_dim in (128, 64):
            for mask in ("causal", "full"):
                for which in ("forward", "backward"):
                    of = [r for r in rows if (r["backend"], r["head_dim"], r["mask"], r["pass"]) == (backend, head_dim, mask, which)]
                    shown(check, f"PyTorch {backend} d {head_dim} {mask} {which}", [r for r in of if "tflops" in r], "tflops", "{:.0f}")
    return summary(rows, versions=document["versions"])


def feed_forward(check):
    check.require_gpus(1)
    rows = []
    for model, d_model, d_ff in (("0.5B", 896, 4864), ("1.5B", 1536, 8960), ("8B", 4096, 14336)):
        for tokens in (32768, 131072):
            document = check.bench("feed_forward", *ON_GPU, "--tokens", tokens, "--d-model", d_model, "--d-ff", d_ff,
                                   "--chunk-tokens", "4096", *SPEED_RUNS)
            rows += [{"model": model, "tokens": tokens, "pass": result["pass"], "tflops": result["flops_per_s"] * 1e-12,
                      "share_of_peak": result["share_of_peak_with_recomputation"], "scratch_mb": result["scratch_bytes"] * 1e-6}
                     for result in (document["results"] if document else [])]
        for which in ("forward", "backward"):
            shown(check, f"{model} {which}, share of the peak", [r for r in rows if (r["model"], r["pass"]) == (model, which)],
                  "share_of_peak", "{:.2f}")
    for row in rows:
        others = {other["scratch_mb"] for other in rows if (other["model"], other["pass"]) == (row["model"], row["pass"])}
        assert len(others) == 1, "the scratch memory of the feed-forward unit depends on the tokens"
    return summary(rows)


def memory(check):
    """The compressive memory of Infini-attention, beside what `attention-*` say of the attention to a segment."""
    check.require_gpus(1)
    rows = []
    for head_dim in (64, 128):
        document = check.bench("memory", *ON_GPU, "--head-dim", head_dim, "--heads", COLUMNS // head_dim, "--tokens", "32768,131072",
                               "--segment-tokens", "2048", *SPEED_RUNS)
        rows += [{**{key: result[key] for key in ("rule", "head_dim", "heads", "tokens", "pass", "median_ms")},
                  "tflops": result["flops_per_s"] * 1e-12, "share_of_peak": result["share_of_peak"]}
                 for result in (document["results"] if document else [])]
        for rule in ("linear", "delta", "delta_corrected"):
            for which in ("forward", "backward"):
                shown(check, f"{rule} d {head_dim} {which}, ms",
                      [r for r in rows if (r["rule"], r["head_dim"], r["pass"]) == (rule, head_dim, which)], "median_ms", "{:.2f}")
    return summary(rows)


def split(check):
    check.require_gpus(1)
    rows = []
    for kernel in ("auto", "fused"):
        for mask in ("causal", "full"):
            document = check.bench("split", *ON_GPU, "--attention-kernel", kernel, "--hops", "4", "--tokens", "32768", "--heads", "16",
                                   "--head-dim", "128", *(["--full"] if mask == "full" else []), "--warm-ups", "1", "--runs", "5")
            for result in document["results"] if document else []:
                row = {"kernel": kernel, "mask": mask, "tokens": 32768, "hops": 4, "pass": result["pass"],
                       "overhead": result["overhead"], "tflops": result["flops_per_s"] * 1e-12}
                rows.append(judged(row, "overhead", SPLIT_GOAL, at_least=False))
                shown(check, f"{kernel} {mask} {row['pass']}, 4 hops", [row], "overhead", "{:+.3f}")
    return summary(rows)


def step(layers, d_model, heads, kv_heads, d_ff, tokens, ceiling):
    """Tokens a second and share of the matmul peak of a model of this shape. The ceiling, in tokens a second, is what the
    published rates of attention and products leave when attention is computed again in the backward pass."""
    def run(check):
        check.require_gpus(1)
        settings = [f"model.layers={layers}", f"model.d_model={d_model}", f"model.heads={heads}", f"model.kv_heads={kv_heads}",
                    f"model.d_ff={d_ff}", f"data.sequence_length={tokens}", "precision.compute=bf16", "parallel.device=cuda",
                    f"data.corpus={check.corpus()}"]
        document = check.bench("step", HERE / "configs/tiny.toml", *[word for setting in settings for word in ("--set", setting)],
                               "--peak", "--warm-ups", "1", "--runs", "3", ranks=1, limit_s=500)
        if document is None:
            return {}
        result = document["results"][0]
        return {"tokens_per_s": result["tokens_per_s"], "share_of_ceiling": result["tokens_per_s"] / ceiling,
                "share_of_peak": result["share_of_peak"], "mfu_of_989_tflops": result["flops_per_s"] / DATASHEET_PEAK,
                "peak_gb": result["peak_bytes_of_a_rank"] * 1e-9, "result": result}
    return run


SHAPE_0_5B, SHAPE_1_5B = (24, 896, 14, 2, 4864), (28, 1536, 12, 2, 8960)
STEPS = [
    Step("peak", "speed", 10, "square products: the matmul peak", peak),
    Step("attention-cudnn-128", "speed", 35, "attention by cuDNN, head dimension 128, 8K to 128K tokens", attention("cudnn", 128)),
    Step("attention-fused-128", "speed", 60, "attention by our kernel, the same", attention("fused", 128)),
    Step("split", "speed", 60, "the blocks of a ring of 4 on one GPU against one call, 32K tokens a hop", split),
    Step("step-1.5b-32k", "speed", 30, "training step, 1.5 B parameters, 32K tokens", step(*SHAPE_1_5B, 32768, 25.8e3)),
    Step("step-0.5b-32k", "speed", 20, "training step, 0.5 B parameters, 32K tokens", step(*SHAPE_0_5B, 32768, 63e3)),
    Step("feed-forward", "speed", 30, "the blockwise feed-forward unit, chunks of 4K tokens as runs on GPUs have", feed_forward),
    Step("memory", "speed", 30, "the compressive memory, 32K and 128K tokens in segments of 2K", memory),
    Step("attention-cudnn-64", "speed", 40, "attention by cuDNN, head dimension 64", attention("cudnn", 64)),
    Step("attention-fused-64", "speed", 70, "attention by our kernel, the same", attention("fused", 64)),
    Step("attention-gqa", "speed", 15, "attention by cuDNN, 8 query heads a key head", attention("cudnn", 128, (16384, 32768), 8)),
    Step("pytorch", "speed", 120, "the same shapes through PyTorch: cuDNN and FlashAttention", pytorch),
    Step("step-1.5b-128k", "speed", 80, "training step, 1.5 B parameters, 128K tokens", step(*SHAPE_1_5B, 131072, 10e3)),
    Step("step-0.5b-128k", "speed", 40, "training step, 0.5 B parameters, 128K tokens", step(*SHAPE_0_5B, 131072, 21.5e3)),
]
