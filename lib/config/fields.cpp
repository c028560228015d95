// SPDX-License-Identifier: Apache-2.0
// Every key of the configuration, listed once.
#include <algorithm>

#include "config/field.hpp"
#include "config/rule.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;
constexpr std::int64_t kMostDim = 1 << 20;

void list_model(std::vector<Field>& fields) {
  using M = ModelConfig;
  FieldList<M>(fields, "model", &RunConfig::model, Change::Never)
      .add("layers", &M::layers, Integers{1, 10000}, "Transformer blocks.")
      .required()
      .add("d_model", &M::d_model, Integers{1, kMostDim}, "Width of the residual stream.")
      .required()
      .add("heads", &M::heads, Integers{1, 65536}, "Query heads.")
      .required()
      .add("kv_heads", &M::kv_heads, Integers{0, 65536},
           "Key/value heads, a divisor of `heads` (grouped-query attention). 0: as `heads`.")
      .add("head_dim", &M::head_dim, Integers{0, 65536},
           "Width of one head, even; independent of `d_model`. 0: `d_model / heads`.")
      .add("d_ff", &M::d_ff, Integers{0, kMostDim},
           "Width of the SwiGLU feed-forward network. 0: LLaMA's rule, 8/3 `d_model`, rounded up to a "
           "multiple of 64.")
      .add("rope_theta", &M::rope_theta, Numbers{.least = 1.0, .above_least = true},
           "Base of the rotary position embeddings. Longer sequences want a larger one: 1e6 for 32K tokens, "
           "5e7 for 1M.")
      .add("rope_scaling", &M::rope_scaling, WordOf<RopeScaling>{},
           "How a model made for `rope_original_tokens` is stretched: `linear` divides every angle by "
           "`rope_scaling_factor`, `llama3` only those of low frequency.")
      .add("rope_scaling_factor", &M::rope_scaling_factor, Numbers{.least = 1.0},
           "By how much positions are stretched. With `linear` and `llama3` only.")
      .add("rope_low_frequency_factor", &M::rope_low_frequency_factor, Numbers{.least = 0.0, .above_least = true},
           "`llama3`: wavelengths above `rope_original_tokens` / this are stretched in full.")
      .add("rope_high_frequency_factor", &M::rope_high_frequency_factor, Numbers{.least = 0.0, .above_least = true},
           "`llama3`: wavelengths below `rope_original_tokens` / this are left alone.")
      .add("rope_original_tokens", &M::rope_original_tokens, Integers{1, kMostTokens},
           "`llama3`: the sequence length that the model was first trained with.")
      .add("norm_epsilon", &M::norm_epsilon, Numbers{.least = 0.0, .most = 1.0, .above_least = true},
           "Added to the mean square in RMSNorm.")
      .add("tie_embeddings", &M::tie_embeddings, Flag{}, "One matrix for the token embedding and the output head.")
      .add("vocabulary_size", &M::vocabulary_size, Integers{0}, "Tokens of the vocabulary. 0: the corpus's.")
      .add("attention", &M::attention, WordsOf<AttentionKind>{},
           "Kind of attention, or a list of kinds that is repeated over the layers. `exact`: every token sees all "
           "before "
           "it. `infini`: those of the last segments, and the rest through a compressive memory (Infini-attention).")
      .add("window", &M::window, Integers{0, kMostTokens},
           "Sliding window: a token sees itself and the `window - 1` tokens before it. 0: none. Not with `infini`.")
      .add("segment_tokens", &M::segment_tokens, Integers{1, kMostTokens},
           "`infini`: documents are cut into segments of so many tokens, which enter the memory whole.")
      .add("window_segments", &M::window_segments, Integers{0, kMostTokens},
           "`infini`: a token sees exactly its own segment and so many before it; what is older it reads from the "
           "memory. "
           "0: the published model.")
      .add("memory_rule", &M::memory_rule, WordOf<MemoryRuleChoice>{},
           "`infini`: how a segment enters the memory. `linear`: added; `delta`: less what the memory says already; "
           "`delta_corrected`: the same without enlarging what is known.")
      .add("memory_gate", &M::memory_gate, Numbers{},
           "`infini`: the gate of every head at the start; its sigmoid is the share of what is read. In a model "
           "that `train.initialise_from` takes from exact attention it starts at -6 or below, which is nearly shut.");
}

void list_data(std::vector<Field>& fields) {
  using D = DataConfig;
  FieldList<D>(fields, "data", &RunConfig::data, Change::OnRequest)
      .add("corpus", &D::corpus, Path{}, "Token corpus, made by `rondo prepare`.")
      .required()
      .add("sequence_length", &D::sequence_length, Integers{2, kMostTokens},
           "Tokens of one whole sequence, over all ranks of its ring.")
      .required()
      .change(Change::Never)
      .add("isolate_documents", &D::isolate_documents, Flag{}, "Tokens attend within their own document only.")
      .add("whole_documents", &D::whole_documents, Flag{},
           "Every sequence begins with a document and ends with one, as samples of long-range tasks must; a corpus "
           "whose "
           "documents do not fill sequences of `sequence_length` is refused.");
}

void list_train(std::vector<Field>& fields) {
  using T = TrainConfig;
  constexpr Numbers kDecayRate{.least = 0.0, .most = 1.0, .below_most = true};
  constexpr Numbers kPositive{.least = 0.0, .above_least = true};
  FieldList<T>(fields, "train", &RunConfig::train, Change::OnRequest)
      .add("steps", &T::steps, Integers{1, kMostTokens}, "Optimizer steps of the whole run.")
      .required()
      .change(Change::Free)
      .add("batch_sequences", &T::batch_sequences, Integers{1}, "Sequences of one step, over all ranks.")
      .add("seed", &T::seed, Integers{0, std::numeric_limits<std::int64_t>::max()},
           "Decides the initial parameters and the order of the data, whatever the number of ranks.")
      .change(Change::Never)
      .add("learning_rate", &T::learning_rate, kPositive, "The largest learning rate, reached after `warmup_steps`.")
      .required()
      .add("gate_learning_rate", &T::gate_learning_rate, kPositive,
           "The largest learning rate of the gates of Infini-attention, with the schedule of all others. They move far "
           "too little at the others' rate.")
      .add("minimum_learning_rate_fraction", &T::minimum_learning_rate_fraction, Numbers{.least = 0.0, .most = 1.0},
           "Where `cosine` and `linear` end, as a part of `learning_rate`.")
      .add("warmup_steps", &T::warmup_steps, Integers{0, kMostTokens}, "Steps of linear growth from 0.")
      .add("schedule", &T::schedule, WordOf<ScheduleKind>{}, "How the learning rate falls after the warm-up.")
      .add("beta_1", &T::beta_1, kDecayRate, "AdamW: decay of the mean of gradients.")
      .add("beta_2", &T::beta_2, kDecayRate, "AdamW: decay of the mean of squared gradients.")
      .add("epsilon", &T::epsilon, kPositive, "AdamW: added to the root of the mean square.")
      .add("weight_decay", &T::weight_decay, Numbers{.least = 0.0},
           "AdamW: not applied to norms, embeddings and gates.")
      .add("clip_norm", &T::clip_norm, Numbers{.least = 0.0},
           "Gradients are scaled down to this global norm. 0: no clipping.")
      .add("deterministic", &T::deterministic, AutoOrFlag{},
           "The same program, ranks, threads and processor give the same bytes. Auto: true on CPUs, where it costs "
           "nothing; false on GPUs, where true takes a slower kernel for attention's backward pass, by estimate half "
           "the speed of a long step.")
      .change(Change::Free)
      .add("initialise_from", &T::initialise_from, Path{},
           "Run folder, or one `step-N` of it, whose weights start a new run at step 0: the same model, but for "
           "`rope_*`, `attention` and what comes with it, and the same tokenizer. Empty: random weights.")
      .change(Change::Free)
      .add("time_limit", &T::time_limit, Duration{},
           "Wall time after which the run saves and ends with exit code 75. \"0s\": none.")
      .change(Change::Free)
      .add("stall_timeout", &T::stall_timeout, Duration{},
           "A run that makes no step, or no pass over a span, for so long is ended with exit code 4, naming the rank. "
           "Evaluations and saves do not count. \"0s\": 5 times the longest such time of a median step, at least 30 s.")
      .change(Change::Free);
}

void list_parallel(std::vector<Field>& fields) {
  using P = ParallelConfig;
  FieldList<P>(fields, "parallel", &RunConfig::parallel, Change::Free)
      .add("ring", &P::ring, AllOrCount{}, "Ranks that share one sequence; the world is `data` x `ring` ranks.")
      .add("layout", &P::layout, AutoOrWordOf<LayoutKind>{},
           "Which tokens of a sequence a rank holds. Auto: zigzag, which balances causal attention; "
           "contiguous with a "
           "`window`, with `infini` alone or a ring of one. Striped does not go with `infini`.")
      .add("device", &P::device, WordOf<DeviceChoice>{},
           "Auto: a GPU where there is one, else the CPU. `reference`: plain loops, slow, also in fp64.")
      .add("transport", &P::transport, WordOf<TransportChoice>{}, "Auto: NCCL between GPUs, else MPI.")
      .add("nccl_max_ctas", &P::nccl_max_ctas, Integers{1, 32},
           "Thread blocks that NCCL takes at most, each a multiprocessor of the GPU that computes nothing meanwhile: "
           "more make a "
           "transfer faster and the arithmetic slower.")
      .add("shard", &P::shard, WordOf<ShardChoice>{}, "Sharding of parameters and optimizer. This version has none.")
      .add("threads", &P::threads, Integers{0, 4096},
           "Threads of one rank. 0: the cores that it may use, shared with the ranks that may use them too.")
      .add("attention_kernel", &P::attention_kernel, WordOf<AttentionKernel>{},
           "Kernel of the attention blocks on a GPU. Auto: a committed table decides. One that cannot serve the model "
           "is refused before the first step.")
      .add("self_check", &P::self_check, Flag{},
           "Before the first step, compares ring attention over these ranks with the reference.");
}

void list_resources(std::vector<Field>& fields) {
  using M = MemoryConfig;
  FieldList<M>(fields, "memory", &RunConfig::memory, Change::Free)
      .add("ffn_chunk_tokens", &M::ffn_chunk_tokens, Integers{0, kMostTokens},
           "Tokens for which the feed-forward network is computed at a time. 0: 4096 on GPUs, 1024 on CPUs.")
      .add("head_chunk_tokens", &M::head_chunk_tokens, Integers{0, kMostTokens},
           "Tokens for which logits exist at a time. 0: 4096 on GPUs, 1024 on CPUs.")
      .add("span_tokens", &M::span_tokens, Integers{0, kMostTokens},
           "Tokens of a sequence, of all ranks of a ring together, that are in memory at once; the next ones are "
           "computed with "
           "the state that these leave. Exact, and only for models of \"infini\" layers; whole segments. 0: the whole "
           "sequence.")
      .add("span_states_mib", &M::span_states_mib, Integers{1, std::int64_t{1} << 30},
           "MiB that a rank gives to the states between spans. Where they do not all fit, some are computed again.");
  FieldList<PrecisionConfig>(fields, "precision", &RunConfig::precision, Change::OnRequest)
      .add("compute", &PrecisionConfig::compute, WordOf<ComputePrecision>{},
           "Type of activations and matrix products; sums and master weights stay fp32 (fp64 with `fp64`). "
           "Auto: bf16 on "
           "GPUs and on CPUs with bf16 matrix units, else fp32; fp64 on the `reference` device.");
}

void list_output(std::vector<Field>& fields) {
  using C = CheckpointConfig;
  using E = EvaluateConfig;
  using L = LogConfig;
  FieldList<C>(fields, "checkpoint", &RunConfig::checkpoint, Change::Free)
      .add("every_steps", &C::every_steps, Integers{0, kMostTokens}, "0: by time only.")
      .add("every_minutes", &C::every_minutes, Numbers{.least = 0.0}, "0: by steps only.")
      .add("keep", &C::keep, Integers{1, 1000000}, "Checkpoints that stay; older ones are removed.");
  FieldList<E>(fields, "evaluate", &RunConfig::evaluate, Change::Free)
      .add("every_steps", &E::every_steps, Integers{0, kMostTokens},
           "Steps between two evaluations on the validation part. 0: at the end only.")
      .add("sequences", &E::sequences, Integers{0}, "Sequences of one evaluation. 0: the whole validation part.");
  FieldList<L>(fields, "log", &RunConfig::log, Change::Free)
      .add("every_steps", &L::every_steps, Integers{1, kMostTokens},
           "Steps between two lines of the log and of metrics.jsonl.")
      .add("trace_steps", &L::trace_steps, Integers{0, kMostTokens},
           "The first steps of a start whose phases every rank writes to trace/, for Perfetto. 0: none.");
}

std::vector<Field> list_all() {
  std::vector<Field> fields;
  list_model(fields);
  list_data(fields);
  list_train(fields);
  list_parallel(fields);
  list_resources(fields);
  list_output(fields);
  return fields;
}

}  // namespace

std::span<const Field> all_fields() {
  static const std::vector<Field> kFields = list_all();
  return kFields;
}

const Field* find_field(std::string_view table, std::string_view key) {
  const auto fields = all_fields();
  const auto found =
      std::ranges::find_if(fields, [&](const Field& field) { return field.table == table && field.key == key; });
  return found == fields.end() ? nullptr : &*found;
}

std::vector<std::string> all_tables() {
  std::vector<std::string> tables;
  for (const Field& field : all_fields()) {
    if (tables.empty() || tables.back() != field.table) tables.push_back(field.table);
  }
  return tables;
}

}  // namespace rondo
