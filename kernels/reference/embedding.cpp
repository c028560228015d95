// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

void embedding_forward(const EmbeddingForwardArgs& args) {
  check(args);
  const std::int64_t vocabulary = args.table.shape[0], dim = args.table.shape[1];
  const auto tokens = args.tokens.span<std::int32_t>();
  with_storage_type(args.table.dtype, [&]<typename T>() {
    const T* table = args.table.as<T>();
    T* out = args.out.as<T>();
    for (const std::int32_t token : tokens) {
      ensure(token >= 0 && token < vocabulary, "a token lies in the vocabulary");
      out = std::copy_n(table + token * dim, dim, out);
    }
  });
}

void embedding_backward(const EmbeddingBackwardArgs& args) {
  check(args);
  const std::int64_t vocabulary = args.d_table.shape[0], dim = args.d_table.shape[1];
  const auto tokens = args.tokens.span<std::int32_t>();
  with_storage_type(args.d_out.dtype, [&]<typename T>() {
    using Sum = Accumulator<T>;
    const T* d_out = args.d_out.as<T>();
    for (const std::int32_t token : tokens) {
      ensure(token >= 0 && token < vocabulary, "a token lies in the vocabulary");
      add_scaled(args.d_table.as<Sum>() + token * dim, Sum{1}, d_out, dim);
      d_out += dim;
    }
  });
}

}  // namespace rondo::reference
