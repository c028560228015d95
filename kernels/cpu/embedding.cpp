// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kernels/cpu/context.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

void embedding_forward(const Context& context, Stream& stream, const EmbeddingForwardArgs& args) {
  check(args);
  storage_of(args.table.dtype);
  const std::int64_t vocabulary = args.table.shape[0], columns = args.table.shape[1];
  const std::int32_t* tokens = args.tokens.as<std::int32_t>();
  parallel_chunks(stream, context.threads, args.tokens.shape[0], rows_per_chunk(columns),
                  [&](Worker&, std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = begin; t < end; ++t) {
                      ensure(tokens[t] >= 0 && tokens[t] < vocabulary, "a token lies in the vocabulary");
                      std::memcpy(at(args.out, t * columns), at(args.table, tokens[t] * columns),
                                  static_cast<std::size_t>(columns) * size_of(args.table.dtype));
                    }
                  });
}

// Each thread has columns, not tokens, so every row is summed in the order of t.
void embedding_backward(const Context& context, Stream& stream, const EmbeddingBackwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.d_out.dtype);
  const std::int64_t vocabulary = args.d_table.shape[0], columns = args.d_table.shape[1];
  const std::int32_t* tokens = args.tokens.as<std::int32_t>();
  constexpr std::int64_t kColumns = 128;
  parallel_chunks(stream, context.threads, columns, kColumns,
                  [&](Worker& worker, std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = 0; t < args.tokens.shape[0]; ++t) {
                      ensure(tokens[t] >= 0 && tokens[t] < vocabulary, "a token lies in the vocabulary");
                      context.kernels.rows.add(storage, at(args.d_out, t * columns + begin), Storage::Fp32,
                                               args.d_table.as<float>() + tokens[t] * columns + begin, end - begin);
                      if (t % 256 == 0) worker.tick();
                    }
                  });
}

}  // namespace rondo::cpu
