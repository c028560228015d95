// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kernels/cpu/context.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

void cross_entropy(const Context& context, Stream& stream, const CrossEntropyArgs& args) {
  check(args);
  const std::int64_t columns = args.logits.shape[1];
  const RowKernels& rows = context.kernels.rows;
  storage_of(args.logits.dtype);
  const Storage gradient = args.d_logits ? storage_of(args.d_logits.dtype) : Storage::Fp32;
  const std::int32_t* targets = args.targets.as<std::int32_t>();
  float* losses = args.losses.as<float>();
  const auto scale = static_cast<float>(args.gradient_scale);
  const auto row = [&](std::int64_t t) {
    const float* x = args.logits.as<float>() + t * columns;
    const std::int32_t target = targets[t];
    if (target == CrossEntropyArgs::kNoTarget) {
      losses[t] = 0;
      if (args.d_logits) {
        std::memset(at(args.d_logits, t * columns), 0,
                    static_cast<std::size_t>(columns) * size_of(args.d_logits.dtype));
      }
      return;
    }
    ensure(target >= 0 && target < columns, "a target lies in the vocabulary");
    const float lse = rows.log_sum_exp(x, columns);
    losses[t] = lse - x[target];
    if (!args.d_logits) return;
    rows.softmax(x, columns, lse, scale, gradient, at(args.d_logits, t * columns));
    // Recompute the entry of the target: p - 1 is rounded once, from p in full precision.
    float p = 0;
    rows.softmax(x + target, 1, lse, 1, Storage::Fp32, &p);
    const float exact = scale * (p - 1);
    rows.convert(Storage::Fp32, &exact, gradient, at(args.d_logits, t * columns + target), 1);
  };
  parallel_chunks(stream, context.threads, args.logits.shape[0], rows_per_chunk(2 * columns),
                  [&](Worker& worker, std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = begin; t < end; ++t) {
                      row(t);
                      worker.tick();
                    }
                  });
}

}  // namespace rondo::cpu
