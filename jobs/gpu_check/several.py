# SPDX-License-Identifier: Apache-2.0
"""Steps of --multi: 2 to 8 GPUs of one machine over NCCL, and two machines."""
from correctness import CURVE_BOUND, FIFTY_STEPS, largest_difference
from machine import Skip, Step
from report import FAIL, PASS

RING = ("--device", "cuda", "--transport", "nccl", "--dtype", "bf16", "--heads", "16", "--kv-heads", "4", "--head-dim", "128", "--peak",
        "--warm-ups", "2", "--runs", "5")
TOKENS_A_RANK = 32768


def over_nccl(check, ranks, nodes):
    """50 steps against one GPU, then the ring operator and what of its transfers the arithmetic does not hide."""
    settings = (*FIFTY_STEPS, "parallel.device=cuda")
    one = check.train("several-1", 1, *settings)
    many = check.train(f"several-{nodes}x{ranks // nodes}", ranks, *settings, "parallel.transport=nccl", nodes=nodes)
    document = check.bench("ring", "--tokens", TOKENS_A_RANK * ranks, *RING, ranks=ranks, nodes=nodes)
    if document is None:
        return {}
    figures = {"largest_difference": largest_difference(many, one)}
    check.report.verdict(PASS if figures["largest_difference"] <= CURVE_BOUND else FAIL, f"50 steps on {ranks} GPUs against one",
                         f"largest difference of the loss {figures['largest_difference']:.3g}", f"<= {CURVE_BOUND}")
    for result in document["results"]:
        figures[f"{result['pass']}_tflops_a_rank"] = result["flops_per_s"] / ranks * 1e-12
        figures[f"{result['pass']}_exposed_share"] = result["exposed_communication_ms"] / result["median_ms"]
        figures[f"{result['pass']}_slower_than_arithmetic"] = result["median_ms"] / result["arithmetic_alone_ms"] - 1
    return {**figures, "results": document["results"]}


def one_machine(ranks):
    def run(check):
        check.require_gpus(ranks)
        return over_nccl(check, ranks, nodes=1)
    return run


def two_machines(gpus_each):
    """The output folder and the program must be at the same place on both."""
    def run(check):
        if len(check.hosts) < 2 and not check.options.dry_run:
            raise Skip("needs two machines: --hosts A,B")
        check.require_gpus(gpus_each)
        return over_nccl(check, 2 * gpus_each, nodes=2)
    return run


STEPS = [
    *[Step(f"nccl-{ranks}", "multi", 60, f"{ranks} GPUs over NCCL: 50 steps against one, and the ring alone", one_machine(ranks),
           multi=True) for ranks in (2, 4, 8)],
    *[Step(f"nodes-2x{gpus}", "multi", 90, f"two machines with {gpus} GPU{'s' if gpus > 1 else ''} each over NCCL: the same",
           two_machines(gpus), multi=True) for gpus in (1, 8)],
]
