// SPDX-License-Identifier: Apache-2.0
// Matrix product, one tile of a row of c at a time. Every element of c is one sum in the order of k, so it does not depend on
// how the rows are divided into calls.
#include <algorithm>

#include "kernels/reference/loops.hpp"
#include "kernels/reference/operations.hpp"

namespace rondo::reference {

namespace {

constexpr std::int64_t kTileColumns = 16;

template <typename T, typename Out, Transpose kA, Transpose kB>
void product(Stream& stream, const MatmulArgs& args, const MatmulSizes& sizes) {
  using Sum = Accumulator<T>;
  const auto [m, n, k] = sizes;
  const T* a = args.a.as<T>();
  const T* b = args.b.as<T>();
  Out* c = args.c.as<Out>();
  Pace pace(stream);
  for (std::int64_t row = 0; row < m; ++row) {
    for (std::int64_t first = 0; first < n; first += kTileColumns) {
      const std::int64_t columns = std::min(kTileColumns, n - first);
      Sum sums[kTileColumns] = {};
      // c[row, :] = sum over i of op(a)[row, i] * op(b)[i, :]
      for (std::int64_t i = 0; i < k; ++i) {
        const Sum factor = static_cast<Sum>(kA == Transpose::Yes ? a[i * m + row] : a[row * k + i]);
        for (std::int64_t j = 0; j < columns; ++j) {
          sums[j] += factor * static_cast<Sum>(kB == Transpose::Yes ? b[(first + j) * k + i] : b[i * n + first + j]);
        }
      }
      for (std::int64_t j = 0; j < columns; ++j) {
        Out& out = c[row * n + first + j];
        out = static_cast<Out>(args.accumulate ? static_cast<Sum>(out) + sums[j] : sums[j]);
      }
      pace.advance(columns * k);
    }
  }
}

template <typename T, typename Out> void dispatch(Stream& stream, const MatmulArgs& args, const MatmulSizes& sizes) {
  constexpr auto kNo = Transpose::No, kYes = Transpose::Yes;
  const bool a_transposed = args.transpose_a == kYes, b_transposed = args.transpose_b == kYes;
  if (a_transposed && b_transposed) return product<T, Out, kYes, kYes>(stream, args, sizes);
  if (a_transposed) return product<T, Out, kYes, kNo>(stream, args, sizes);
  if (b_transposed) return product<T, Out, kNo, kYes>(stream, args, sizes);
  product<T, Out, kNo, kNo>(stream, args, sizes);
}

}  // namespace

void matmul(Stream& stream, const MatmulArgs& args) {
  const MatmulSizes sizes = check(args);
  with_storage_type(args.a.dtype, [&]<typename T>() {
    if (args.c.dtype == args.a.dtype) {
      dispatch<T, T>(stream, args, sizes);
    } else {
      dispatch<T, Accumulator<T>>(stream, args, sizes);
    }
  });
}

}  // namespace rondo::reference
