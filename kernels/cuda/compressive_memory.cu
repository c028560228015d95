// SPDX-License-Identifier: Apache-2.0
// The chain of M: states of a group of steps, then all reads of the group at once.
#include "kernels/cuda/memory_states.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

template <typename Sum> struct ReadTensors {
  const Sum* states;  // [steps, G, D, D]
  Sum* out;           // [T, N, D]
  Sum* normaliser;    // [N, T]
  std::int64_t num_queries;
};

/// out = psi M / n with n = psi z, for a tile of the queries of a step and head.
template <typename E, typename Sum>
__global__ void __launch_bounds__(kProductThreads)
    read_kernel(const MemoryTensors<E, Sum> memory, const ReadTensors<Sum> read, const ProductGrid grid) {
  __shared__ ProductStage<Sum> stage;
  __shared__ Sum inverse[kProductTile];
  const ProductTile tile(grid);
  const DeviceStep step = memory.steps[tile.step];
  const int dim = memory.dim, count = step.num_queries - tile.first_row;
  if (count <= 0) return;
  const int group = tile.head / memory.heads_of_group();
  const std::int64_t first_query = step.first_query + tile.first_row;
  const auto row_of = [&](int row) { return memory.query_row(first_query + row, tile.head); };
  const double* z = memory.z + memory.vector_row(tile.step, group);
  for (int row = static_cast<int>(threadIdx.x) / 32; row < kProductTile && row < count; row += kProductThreads / 32) {
    const E* q = memory.q + row_of(row);
    const Sum n = sum_over_dims<Sum>(dim, [&](int d) { return feature(load(q[d])) * static_cast<Sum>(z[d]); });
    if (lane() != 0) continue;
    inverse[row] = reciprocal_or_zero(n);
    if (tile.first_column == 0) read.normaliser[tile.head * read.num_queries + first_query + row] = n;
  }
  const Sum* m = read.states + memory.matrix(tile.step, group);
  const auto left = [&](int d, int row) {
    return load_features<Sum>(row < count ? memory.q + row_of(row) : nullptr, d, dim, memory.wide);
  };
  const auto right = [&](int d, int column) {
    return load_row<Sum>(d < dim ? m + d * dim : nullptr, tile.first_column + column, dim, memory.wide);
  };
  ProductSums<Sum> sums(count, dim - tile.first_column);
  add_product<Along::Depth, Along::Width>(sums, stage, dim, left, right);
  sums.for_each_row([&](int row, int column, const ProductPack<Sum>& x) {
    const int d = tile.first_column + column;
    store_pack(read.out + row_of(row) + d, scaled(inverse[row], x), dim - d, memory.wide);
  });
}

bool moves_whole_packs(const CompressiveMemoryForwardArgs& args) {
  return args.k.shape[2] % 4 == 0 && are_aligned(args.q.data, args.k.data, args.v.data, args.read.out.data);
}

template <typename T> void forward(Stream& stream, const CompressiveMemoryForwardArgs& args) {
  using E = Element<T>;
  using Sum = Accumulator<T>;
  const auto kv_heads = static_cast<int>(args.k.shape[1]), dim = static_cast<int>(args.k.shape[2]);
  Arena::Scope scope(args.scratch);
  const MemoryTensors<E, Sum> memory = memory_tensors<T>(stream, args, moves_whole_packs(args));
  if (args.decay) args.scratch.device().fill_zero(stream, args.decay.data, args.decay.size_bytes());
  const MemoryGroups groups = MemoryGroups::of(args.schedule, kv_heads, dim, sizeof(Sum));
  for (std::int64_t i = 0; i < groups.count(); ++i) {
    Arena::Scope group_scope(args.scratch);
    const MemoryTensors<E, Sum> some = memory.of_steps(groups.first(i), groups.end(i));
    const auto group = GroupStates<Sum>::of(stream, some, args.scratch, args.m.as<double>());
    if (args.decay) {  // decay = decay - P decay + P
      run_chain<Sum>(stream, {.steps = some.steps,
                              .num_steps = some.num_steps,
                              .kv_heads = kv_heads,
                              .dim = dim,
                              .state = args.decay.as<double>(),
                              .added = group.decays,
                              .decays = group.decays,
                              .met = nullptr,
                              .is_decay = true});
    }
    if (!args.q) continue;
    const ReadTensors<Sum> read{.states = group.states,
                                .out = args.read.out.as<Sum>(),
                                .normaliser = args.read.normaliser.as<Sum>(),
                                .num_queries = args.q.shape[0]};
    const ProductGrid grid{.steps = some.num_steps, .heads = some.heads, .rows = some.max_queries, .columns = dim};
    launch(read_kernel<E, Sum>, stream, grid.launch_shape(), some, read, grid);
  }
}

}  // namespace

void compressive_memory_forward(Stream& stream, const CompressiveMemoryForwardArgs& args) {
  rondo::check(args);
  with_storage_type(args.k.dtype, [&]<typename T>() { forward<T>(stream, args); });
}

}  // namespace rondo::cuda
