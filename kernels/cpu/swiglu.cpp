// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/context.hpp"
#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

void swiglu_forward(const Context& context, Stream& stream, const SwigluForwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.a.dtype);
  const std::int64_t columns = args.a.shape[1];
  parallel_chunks(stream, context.threads, args.a.shape[0], rows_per_chunk(columns),
                  [&](Worker&, std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = begin; t < end; ++t) {
                      const std::int64_t gate = 2 * t * columns;
                      context.kernels.rows.swiglu(storage, at(args.gate_up, gate), at(args.gate_up, gate + columns),
                                                  at(args.a, t * columns), columns);
                    }
                  });
}

void swiglu_backward(const Context& context, Stream& stream, const SwigluBackwardArgs& args) {
  check(args);
  const Storage storage = storage_of(args.d_a.dtype);
  const std::int64_t columns = args.d_a.shape[1];
  parallel_chunks(stream, context.threads, args.d_a.shape[0], rows_per_chunk(columns),
                  [&](Worker&, std::int64_t begin, std::int64_t end) {
                    for (std::int64_t t = begin; t < end; ++t) {
                      const std::int64_t gate = 2 * t * columns;
                      context.kernels.rows.swiglu_backward(
                          storage, at(args.gate_up, gate), at(args.gate_up, gate + columns), at(args.d_a, t * columns),
                          at(args.d_gate_up, gate), at(args.d_gate_up, gate + columns), columns);
                    }
                  });
}

}  // namespace rondo::cpu
