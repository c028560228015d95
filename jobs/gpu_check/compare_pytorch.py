# SPDX-License-Identifier: Apache-2.0
"""Attention through PyTorch's cuDNN and FlashAttention backends, forward and backward, with the shapes and the count of
FLOP of `rondo bench attention`, timed between CUDA events. Needs PyTorch and a GPU, and nothing of Rondo."""
import argparse
import json
import statistics

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}


def median_s(body, warm_ups, runs):
    seconds = []
    for run in range(-warm_ups, runs):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        body()
        end.record()
        torch.cuda.synchronize()
        if run >= 0:
            seconds.append(1e-3 * begin.elapsed_time(end))
    return statistics.median(seconds)


def rows_of(backend, tokens, heads, head_dim, mask, options):
    """Both passes, or one row that says why there is none."""
    shape = {"backend": backend, "head_dim": head_dim, "heads": heads, "tokens": tokens, "mask": mask}
    flop = 4 * tokens * tokens * heads * head_dim / (2 if mask == "causal" else 1)
    try:
        # Tokens outermost in memory, as Rondo has them.
        q, k, v, d_out = (torch.randn(1, tokens, heads, head_dim, device="cuda", dtype=torch.bfloat16).transpose(1, 2)
                          for _ in range(4))
        for x in (q, k, v):
            x.requires_grad_()
        with sdpa_kernel([BACKENDS[backend]]):
            attend = lambda: scaled_dot_product_attention(q, k, v, is_causal=mask == "causal")
            forward_s = median_s(attend, options.warm_ups, options.runs)
            out = attend()
            backward_s = median_s(lambda: torch.autograd.grad(out, (q, k, v), d_out, retain_graph=True), options.warm_ups, options.runs)
    except RuntimeError as error:  # the backend refuses, or the memory is full
        return [{**shape, "pass": which, "error": str(error).splitlines()[0]} for which in ("forward", "backward")]
    return [{**shape, "pass": "forward", "median_ms": 1e3 * forward_s, "tflops": 1e-12 * flop / forward_s},
            {**shape, "pass": "backward", "median_ms": 1e3 * backward_s, "tflops": 1e-12 * 2.5 * flop / backward_s}]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=2048, help="heads times their dimension")
    parser.add_argument("--head-dim", default="128,64")
    parser.add_argument("--tokens", default="8192,16384,32768,65536,131072")
    parser.add_argument("--warm-ups", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", required=True, help="a JSON file")
    options = parser.parse_args()
    versions = {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "device": torch.cuda.get_device_name()}
    rows = []
    for head_dim in map(int, options.head_dim.split(",")):
        for tokens in map(int, options.tokens.split(",")):
            for mask in ("causal", "full"):
                for backend in BACKENDS:
                    rows += rows_of(backend, tokens, options.columns // head_dim, head_dim, mask, options)
                    print(rows[-2], rows[-1], sep="\n", flush=True)
    with open(options.output, "w", encoding="utf-8") as file:
        json.dump({"versions": versions, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
