// SPDX-License-Identifier: Apache-2.0
#include "plan/dry_run.hpp"

#include <utility>

#include "core/trace.hpp"
#include "infer/evaluation_buffers.hpp"
#include "kernels/cpu/backend.hpp"
#include "model/shape_of.hpp"
#include "plan/cuda_workspace.hpp"
#include "plan/dry_device.hpp"
#include "plan/dry_transport.hpp"
#include "train/training_step.hpp"

namespace rondo {

namespace {

/// Keeps the regions of a dry run out of the times of the run.
class KeptRegions {
 public:
  KeptRegions() : regions_(trace_regions()) {}
  ~KeptRegions() { trace_regions() = std::move(regions_); }
  KeptRegions(const KeptRegions&) = delete;
  KeptRegions& operator=(const KeptRegions&) = delete;

 private:
  std::vector<TraceRegion> regions_;
};

DeviceKind kind_of(DeviceChoice choice) { return choice == DeviceChoice::Cuda ? DeviceKind::Cuda : DeviceKind::Cpu; }

// The workspace of the reference backend is negligible: a row of keys.
std::unique_ptr<KernelWorkspace> workspace_of(Device& device, const RunConfig& config, int threads) {
  switch (config.parallel.device) {
    case DeviceChoice::Cuda: return make_cuda_workspace(device, config.parallel.attention_kernel);
    case DeviceChoice::Reference: return std::make_unique<KernelWorkspace>();
    case DeviceChoice::Auto:
    case DeviceChoice::Cpu: break;
  }
  return make_cpu_workspace(device, {.threads = threads});
}

/// The execution of a rank as Runtime makes it, on a dry device.
class DryRank {
 public:
  DryRank(const RunConfig& config, const DryRunInput& input)
      : device_(kind_of(config.parallel.device)),
        backend_(workspace_of(device_, config, input.threads)),
        ring_(input.rank % config.parallel.ring, config.parallel.ring),
        world_(input.rank, input.world_size) {
    backend_.on_attention = input.on_attention;
  }

  Execution& execution() { return execution_; }
  Transport& world() { return world_; }

  /// The counts so far.
  RankCost cost() {
    RankCost cost;
    const MemoryLedger& memory = device_.memory();
    for (std::size_t use = 0; use < kNumMemoryUses; ++use) {
      cost.peak_bytes[use] = static_cast<std::int64_t>(memory.peak_bytes(static_cast<MemoryUse>(use)));
    }
    cost.peak_total_bytes = static_cast<std::int64_t>(memory.peak_total_bytes());
    cost.operations = backend_.counts();
    for (const OperationCount& operation : cost.operations) cost.flops += operation.flops;
    for (const DryTransport* transport : {&ring_, &world_}) {
      cost.sent_bytes += static_cast<double>(transport->sent_bytes());
      cost.broadcast_bytes += static_cast<double>(transport->broadcast_bytes());
      cost.num_messages += static_cast<double>(transport->num_messages());
    }
    return cost;
  }

 private:
  DryDevice device_;
  DryBackend backend_;
  std::unique_ptr<Stream> compute_ = device_.make_stream(StreamRole::Compute);
  std::unique_ptr<Stream> ring_stream_ = device_.make_stream(StreamRole::Ring);
  DryTransport ring_, world_;
  Arena scratch_{device_, MemoryUse::Workspace};
  Execution execution_{device_, backend_, *compute_, scratch_, Ring{ring_, *ring_stream_}};
};

/// cost += times * what was added from `before` to `after`; peaks are those of `after`.
void add_counts(RankCost& cost, const RankCost& before, const RankCost& after, double times) {
  cost.peak_bytes = after.peak_bytes;
  cost.peak_total_bytes = after.peak_total_bytes;
  for (std::size_t i = 0; i < kNumOperations; ++i) {
    OperationCount& sum = cost.operations[i];
    const OperationCount &first = before.operations[i], &last = after.operations[i];
    sum.calls += static_cast<std::uint64_t>(times * static_cast<double>(last.calls - first.calls));
    sum.bytes += times * (last.bytes - first.bytes);
    sum.flops += times * (last.flops - first.flops);
  }
  cost.flops += times * (after.flops - before.flops);
  cost.sent_bytes += times * (after.sent_bytes - before.sent_bytes);
  cost.broadcast_bytes += times * (after.broadcast_bytes - before.broadcast_bytes);
  cost.num_messages += times * (after.num_messages - before.num_messages);
}

/// The first span of an evaluation, which takes as much memory as any other.
void evaluate(Execution& execution, Transformer& model, EvaluationBuffers& buffers, const RunConfig& config,
              std::int64_t tokens) {
  const Ring& ring = execution.ring;
  if (tokens < ring.size()) return;
  const SequenceSpans spans(tokens, config.memory.span_tokens, ring.size(), *config.parallel.layout);
  const Span span(spans.layout(0), mask_rule_of(config.model), ring.rank(), {}, tokens);
  const auto rows = [&](const Buffer& buffer) { return buffer.view().rows(0, span.num_tokens()); };
  model.evaluate(span, {rows(buffers.tokens), rows(buffers.targets)}, rows(buffers.losses),
                 {nullptr, buffers.state ? &*buffers.state : nullptr});
}

}  // namespace

double attended_pairs_of_sequence(const RunConfig& config) {
  RunConfig alone = config;
  alone.parallel.ring = 1;
  DryRank rank(alone, {.world_size = 1});
  const TransformerShape shape = shape_of(config);
  ParameterSet parameters(rank.execution(), shape, dtype_of_compute(config.precision.compute));
  const Transformer model(rank.execution(), shape, parameters, ActivationPolicy::KeepAttention);
  const SequenceLayout whole(config.data.sequence_length, 1, LayoutKind::Contiguous);
  return model.attended_pairs(Span(whole, mask_rule_of(config.model), 0));
}

RankCost dry_run(const RunConfig& config, const DryRunInput& input) {
  ensure(config.parallel.ring > 0 && input.world_size % config.parallel.ring == 0, "the world is made of whole rings");
  const KeptRegions regions;
  DryRank rank(config, input);
  TrainingStep step(rank.execution(), rank.world(), config);
  std::optional<EvaluationBuffers> evaluation;
  if (input.evaluation_tokens > 0) {
    evaluation.emplace(rank.execution(), step.model(), input.evaluation_tokens, config.memory.span_tokens,
                       *config.parallel.layout);
  }
  const std::int64_t num_micro_batches = step.num_micro_batches();
  const SequenceInput sequence{.load = [&](const TokenRuns&) { return SpanInput{.document_offsets = input.documents}; },
                               .on_span = [](const Span&, SequenceInput::Pass) {}};

  const RankCost at_start = rank.cost();
  step.begin();
  const RankCost at_micro_batch = rank.cost();
  step.forward_backward(0, sequence);  // all micro-batches cost the same
  const RankCost at_sum = rank.cost();
  step.sum_gradients();
  step.update(1, 1.0);
  const RankCost at_end = rank.cost();
  RankCost cost;
  add_counts(cost, at_start, at_micro_batch, 1);
  add_counts(cost, at_micro_batch, at_sum, static_cast<double>(num_micro_batches));
  add_counts(cost, at_sum, at_end, 1);
  if (evaluation) {
    evaluate(rank.execution(), step.model(), *evaluation, config, input.evaluation_tokens);
    const RankCost evaluated = rank.cost();
    cost.peak_bytes = evaluated.peak_bytes;
    cost.peak_total_bytes = evaluated.peak_total_bytes;
  }
  return cost;
}

}  // namespace rondo
