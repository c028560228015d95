// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/context.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

namespace {

// d_weight is summed in this many partial sums over fixed parts of the tokens, folded in order: results do not depend on
// the number of threads.
constexpr std::int64_t kParts = 32;

TensorView take_parts(const RmsNormBackwardArgs& args) {
  return args.scratch.take(DType::Fp32, {kParts, args.x.shape[1]});
}

}  // namespace

void rms_norm_forward(const Context& context, Stream& stream, const RmsNormForwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.x.dtype);
  const std::int64_t columns = args.x.shape[1];
  parallel_chunks(stream, context.threads, args.x.shape[0], rows_per_chunk(columns),
                  [&](Worker&, std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = begin; t < end; ++t) {
                      context.kernels.rows.rms_norm(storage, at(args.x, t * columns), args.weight.data,
                                                    at(args.y, t * columns), columns, static_cast<float>(args.epsilon));
                    }
                  });
}

void rms_norm_backward(const Context& context, Stream& stream, const RmsNormBackwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.x.dtype);
  const std::int64_t tokens = args.x.shape[0], columns = args.x.shape[1];
  const RowKernels& rows = context.kernels.rows;
  Arena::Scope scope(args.scratch);
  const std::int64_t tokens_per_part = (tokens + kParts - 1) / kParts;
  float* parts = take_parts(args).as<float>();
  parallel_items(stream, context.threads, kParts, [&](Worker& worker, std::int64_t part) {
    float* sum = parts + part * columns;
    std::fill_n(sum, columns, 0.0F);
    for (std::int64_t t = part * tokens_per_part; t < std::min(tokens, (part + 1) * tokens_per_part); ++t) {
      const std::int64_t first = t * columns;
      rows.rms_norm_backward(storage, at(args.d_y, first), at(args.x, first), args.weight.data, at(args.d_x, first),
                             sum, columns, static_cast<float>(args.epsilon));
      worker.tick();
    }
  });
  float* d_weight = args.d_weight.as<float>();
  for (std::int64_t part = 0; part < kParts && part * tokens_per_part < tokens; ++part) {
    rows.add(Storage::Fp32, parts + part * columns, Storage::Fp32, d_weight, columns);
  }
}

void take_scratch(const RmsNormBackwardArgs& args) {
  Arena::Scope scope(args.scratch);
  take_parts(args);
}

}  // namespace rondo::cpu
