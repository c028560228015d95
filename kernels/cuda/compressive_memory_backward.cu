// SPDX-License-Identifier: Apache-2.0
// The gradients of the chain of M, groups of steps from last to first: the states of a group are found again, what its reads
// want of them goes through the chain backward, and then all tokens of the group get their gradients at once.
#include "kernels/cuda/memory_states.cuh"
#include "kernels/cuda/memory_vectors.cuh"
#include "kernels/cuda/operations.hpp"
#include "kernels/cuda/tile_product.cuh"
#include "kernels/dispatch.hpp"

namespace rondo::cuda {

namespace {

/// Of a read: d_r = inverse d_read with inverse = 1 / n, and d_n = -d_r . read.
template <typename Sum> struct ReadGradient { Sum inverse, d_n; };
/// Of a written token: d_c and d_e.
template <typename Sum> struct WriteGradient { Sum overlap, within; };

/// Beside the tensors of the memory: all that the kernels of some steps read and write.
template <typename Sum> struct BackwardArrays {
  const Sum* d_read;                // [T, N, D]
  const ReadGradient<Sum>* reads;   // [T, N]
  const Sum* states;                // [steps, G, D, D]: M before each step
  const Sum* behind;                // [steps, G, D, D]: the gradient of M behind each step
  const WriteWeight<Sum>* weights;  // [steps, L, G]
  WriteGradient<Sum>* writes;       // [steps, L, G]
  Sum* target;                      // [steps, L, G, D]: x = phi M, then v - w x
  Sum* d_retrieved;                 // [steps, L, G, D]: d_v = phi d_m, then -w d_v
  double* d_z;                      // [steps, G, D]
  double* d_segment;                // [steps, G, D]
  Sum* d_q;
  Sum* d_k;
  Sum* d_v;
};

// --- reads ---

template <typename Sum>
__global__ void read_gradients_kernel(const Sum* out, const Sum* normaliser, const Sum* d_read,
                                      ReadGradient<Sum>* reads, std::int64_t num_queries, int heads, int dim) {
  const std::int64_t row = row_of_warp();
  if (row >= num_queries * heads) return;
  const Sum inverse = reciprocal_or_zero(normaliser[row % heads * num_queries + row / heads]);
  const Sum product = sum_over_dims<Sum>(dim, [&](int d) { return d_read[row * dim + d] * out[row * dim + d]; });
  if (lane() == 0) reads[row] = {inverse, -inverse * product};
}

/// wanted [steps, G, D, D] = Psi^T d_r over the queries of a step and the heads of a group.
template <typename E, typename Sum>
__global__ void __launch_bounds__(kProductThreads)
    wanted_kernel(const MemoryTensors<E, Sum> memory, const BackwardArrays<Sum> arrays, Sum* wanted,
                  const ProductGrid grid) {
  __shared__ ProductStage<Sum> stage;
  const ProductTile tile(grid);
  const DeviceStep step = memory.steps[tile.step];
  const int dim = memory.dim, queries = step.num_queries;
  if (queries == 0) return;
  ProductSums<Sum> sums(dim - tile.first_row, dim - tile.first_column);
  for (int i = 0; i < memory.heads_of_group(); ++i) {
    const int head = tile.head * memory.heads_of_group() + i;
    const auto row_of = [&](int query) { return memory.query_row(step.first_query + query, head); };
    const auto left = [&](int query, int row) {
      const E* q = query < queries ? memory.q + row_of(query) : nullptr;
      return load_features<Sum>(q, tile.first_row + row, dim, memory.wide);
    };
    const auto right = [&](int query, int column) {
      if (query >= queries) return ProductPack<Sum>{};
      const Sum inverse = arrays.reads[(step.first_query + query) * memory.heads + head].inverse;
      return scaled(inverse,
                    load_row<Sum>(arrays.d_read + row_of(query), tile.first_column + column, dim, memory.wide));
    };
    add_product<Along::Width, Along::Width>(sums, stage, queries, left, right);
  }
  Sum* matrix = wanted + memory.matrix(tile.step, tile.head);
  sums.for_each_row([&](int row, int column, const ProductPack<Sum>& x) {
    const int d = tile.first_column + column;
    store_pack(matrix + (tile.first_row + row) * dim + d, x, dim - d, memory.wide);
  });
}

/// A matrix [D, D] transposed, as right operand: packs lie along the depth.
template <typename Sum> struct TransposedMatrix {
  const Sum* matrix;
  int first_column, dim;
  bool wide;

  __device__ ProductPack<Sum> operator()(int c, int column) const {
    const int d = first_column + column;
    return load_row<Sum>(d < dim ? matrix + d * dim : nullptr, c, dim, wide);
  }
};

/// to += d_phi sigma'(x), where d_phi are the elements of a row from d on and x those that the features are of.
template <typename E, typename Sum>
__device__ void add_through_slope(Sum* to, const E* x, ProductPack<Sum> d_phi, int d, int dim, bool wide) {
  const ProductPack<Sum> values = load_row<Sum>(x, d, dim, wide);
  ProductPack<Sum> sums = load_pack<4>(to + d, dim - d, wide);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sums.values[i] += d_phi.values[i] * feature_slope(values.values[i], feature(values.values[i]));
  }
  store_pack(to + d, sums, dim - d, wide);
}

/// pack += factor times elements of a vector [D] from d on.
template <typename Sum>
__device__ void add_vector(ProductPack<Sum>& pack, Sum factor, const double* vector, int d, int dim) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (d + i < dim) pack.values[i] += factor * static_cast<Sum>(vector[d + i]);
  }
}

/// d_q += (d_r M^T + d_n z) sigma'(q)
template <typename E, typename Sum>
__global__ void __launch_bounds__(kProductThreads)
    memory_d_q_kernel(const MemoryTensors<E, Sum> memory, const BackwardArrays<Sum> arrays, const ProductGrid grid) {
  __shared__ ProductStage<Sum> stage;
  const ProductTile tile(grid);
  const DeviceStep step = memory.steps[tile.step];
  const int dim = memory.dim, count = step.num_queries - tile.first_row;
  if (count <= 0) return;
  const int group = tile.head / memory.heads_of_group();
  const std::int64_t first = step.first_query + tile.first_row;
  const auto row_of = [&](int row) { return memory.query_row(first + row, tile.head); };
  const auto read_of = [&](int row) { return arrays.reads[(first + row) * memory.heads + tile.head]; };
  const auto left = [&](int c, int row) {
    if (row >= count) return ProductPack<Sum>{};
    return scaled(read_of(row).inverse, load_row<Sum>(arrays.d_read + row_of(row), c, dim, memory.wide));
  };
  const TransposedMatrix<Sum> right{arrays.states + memory.matrix(tile.step, group), tile.first_column, dim,
                                    memory.wide};
  ProductSums<Sum> sums(count, dim - tile.first_column);
  add_product<Along::Depth, Along::Depth>(sums, stage, dim, left, right);
  const double* z = memory.z + memory.vector_row(tile.step, group);
  sums.for_each_row([&](int row, int column, ProductPack<Sum> d_psi) {
    const int d = tile.first_column + column;
    add_vector(d_psi, read_of(row).d_n, z, d, dim);
    add_through_slope(arrays.d_q + row_of(row), memory.q + row_of(row), d_psi, d, dim, memory.wide);
  });
}

// --- writes ---

/// A tile of the tokens that a step writes.
template <typename E, typename Sum> struct WrittenTile {
  const MemoryTensors<E, Sum>& memory;
  const ProductTile tile;
  const DeviceStep step;
  const int count;

  __device__ WrittenTile(const MemoryTensors<E, Sum>& of, const ProductGrid& grid)
      : memory(of),
        tile(grid),
        step(of.steps[tile.step]),
        count(step.writes() ? of.segment_tokens - tile.first_row : 0) {}
  /// First element of the row in tensors of keys, and in those of the written tokens.
  __device__ std::int64_t key_row(int row) const {
    return memory.key_row(step.first_key + tile.first_row + row, tile.head);
  }
  __device__ std::int64_t written(int row) const { return memory.written(tile.step, tile.first_row + row, tile.head); }
  __device__ std::int64_t written_row(int row) const { return written(row) * memory.dim; }
};

/// phi times a matrix of the step: for the linear rule d_v += phi d_m, else to the rows of the written tokens.
template <bool kAddsToValues, typename E, typename Sum>
__global__ void __launch_bounds__(kProductThreads)
    retrieved_kernel(const MemoryTensors<E, Sum> memory, const Sum* matrices, Sum* to, const ProductGrid grid) {
  __shared__ ProductStage<Sum> stage;
  const WrittenTile<E, Sum> rows(memory, grid);
  const int dim = memory.dim, first_column = rows.tile.first_column;
  if (rows.count <= 0) return;
  const Sum* matrix = matrices + memory.matrix(rows.tile.step, rows.tile.head);
  const auto left = [&](int d, int row) {
    return load_features<Sum>(row < rows.count ? memory.k + rows.key_row(row) : nullptr, d, dim, memory.wide);
  };
  const auto right = [&](int d, int column) {
    return load_row<Sum>(d < dim ? matrix + d * dim : nullptr, first_column + column, dim, memory.wide);
  };
  ProductSums<Sum> sums(rows.count, dim - first_column);
  add_product<Along::Depth, Along::Width>(sums, stage, dim, left, right);
  sums.for_each_row([&](int row, int column, ProductPack<Sum> x) {
    const int d = first_column + column;
    Sum* row_of_to = to + (kAddsToValues ? rows.key_row(row) : rows.written_row(row));
    if constexpr (kAddsToValues) {
      const ProductPack<Sum> before = load_pack<4>(row_of_to + d, dim - d, memory.wide);
#pragma unroll
      for (int i = 0; i < 4; ++i) x.values[i] += before.values[i];
    }
    store_pack(row_of_to + d, x, dim - d, memory.wide);
  });
}

/// Delta rules: from x = phi M and d_v = phi d_m to the target v - w x, the gradient -w d_v of x, and those of c and e: w^2 (d_v . x)
/// is that of whichever w is the reciprocal of. A row a warp.
template <typename E, typename Sum>
__global__ void write_gradients_kernel(const MemoryTensors<E, Sum> memory, const BackwardArrays<Sum> arrays) {
  const std::int64_t row = row_of_warp();
  const int group = static_cast<int>(row % memory.kv_heads), dim = memory.dim;
  const std::int64_t written = row / memory.kv_heads, step_index = written / memory.segment_tokens;
  if (step_index >= memory.num_steps) return;
  const DeviceStep step = memory.steps[step_index];
  if (!step.writes()) return;
  const std::int64_t key = memory.key_row(step.first_key + written % memory.segment_tokens, group);
  Sum* target = arrays.target + row * dim;
  Sum* d_retrieved = arrays.d_retrieved + row * dim;
  const WriteWeight<Sum> weight = arrays.weights[row];
  const Sum w = weight.value();
  const Sum product = sum_over_dims<Sum>(dim, [&](int d) { return d_retrieved[d] * target[d]; });
  for (int d = lane(); d < dim; d += 32) {
    const Sum x = target[d], d_v = d_retrieved[d];
    arrays.d_v[key + d] += d_v;
    target[d] = load(memory.v[key + d]) - w * x;
    d_retrieved[d] = -w * d_v;
  }
  if (lane() == 0) {
    arrays.writes[row] = {weight.overlap * weight.overlap * product, weight.within * weight.within * product};
  }
}

/// d_k += (target d_m^T + d_x M^T + d_c z + d_e u) sigma'(k); for the linear rule (v d_m^T) sigma'(k).
template <bool kIsDelta, typename E, typename Sum>
__global__ void __launch_bounds__(kProductThreads)
    memory_d_k_kernel(const MemoryTensors<E, Sum> memory, const BackwardArrays<Sum> arrays, const ProductGrid grid) {
  __shared__ ProductStage<Sum> stage;
  const WrittenTile<E, Sum> rows(memory, grid);
  const int dim = memory.dim, first_column = rows.tile.first_column;
  if (rows.count <= 0) return;
  const std::int64_t of_step = memory.matrix(rows.tile.step, rows.tile.head);
  const auto transposed = [&](const Sum* matrices) {
    return TransposedMatrix<Sum>{matrices + of_step, first_column, dim, memory.wide};
  };
  const auto row_of_written = [&](const Sum* tensor, int row) {
    return row < rows.count ? tensor + rows.written_row(row) : nullptr;
  };
  const auto target = [&](int c, int row) {
    if constexpr (kIsDelta) {
      return load_row<Sum>(row_of_written(arrays.target, row), c, dim, memory.wide);
    } else {
      return load_row<Sum>(row < rows.count ? memory.v + rows.key_row(row) : nullptr, c, dim, memory.wide);
    }
  };
  ProductSums<Sum> sums(rows.count, dim - first_column);
  add_product<Along::Depth, Along::Depth>(sums, stage, dim, target, transposed(arrays.behind));
  if constexpr (kIsDelta) {
    const auto d_retrieved = [&](int c, int row) {
      return load_row<Sum>(row_of_written(arrays.d_retrieved, row), c, dim, memory.wide);
    };
    add_product<Along::Depth, Along::Depth>(sums, stage, dim, d_retrieved, transposed(arrays.states));
  }
  const std::int64_t vector = memory.vector_row(rows.tile.step, rows.tile.head);
  sums.for_each_row([&](int row, int column, ProductPack<Sum> d_phi) {
    const int d = first_column + column;
    if constexpr (kIsDelta) {
      const WriteGradient<Sum> write = arrays.writes[rows.written(row)];
      add_vector(d_phi, write.overlap, memory.z + vector, d, dim);
      add_vector(d_phi, write.within, memory.segment + vector, d, dim);
    }
    add_through_slope(arrays.d_k + rows.key_row(row), memory.k + rows.key_row(row), d_phi, d, dim, memory.wide);
  });
}

/// d_z = sum of d_n psi + sum of d_c phi and d_segment = sum of d_e phi, a block of threads per step and key head.
template <int kColumns, typename E, typename Sum>
__global__ void d_vectors_kernel(const MemoryTensors<E, Sum> memory, const BackwardArrays<Sum> arrays) {
  using Vector = LaneVector<kColumns, Sum>;
  __shared__ WarpVectors<kColumns, kRowWarps, Sum> shared;
  const std::int64_t step_index = std::int64_t{blockIdx.x} / memory.kv_heads;
  const int group = static_cast<int>(blockIdx.x) % memory.kv_heads, warp = static_cast<int>(threadIdx.x) / 32;
  const int dim = memory.dim, heads = memory.heads_of_group();
  const DeviceStep step = memory.steps[step_index];
  Vector d_z, d_segment;
  for (std::int64_t row = warp; row < std::int64_t{step.num_queries} * heads; row += kRowWarps) {
    const std::int64_t query = step.first_query + row / heads;
    const int head = group * heads + static_cast<int>(row % heads);
    const Vector psi = Vector::features(memory.q + memory.query_row(query, head), dim);
    d_z.add(arrays.reads[query * memory.heads + head].d_n, psi);
  }
  if (memory.rule != MemoryRule::Linear && step.writes()) {
    for (int token = warp; token < memory.segment_tokens; token += kRowWarps) {
      const Vector phi = Vector::features(memory.k + memory.key_row(step.first_key + token, group), dim);
      const WriteGradient<Sum> write = arrays.writes[memory.written(step_index, token, group)];
      d_z.add(write.overlap, phi);
      d_segment.add(write.within, phi);
    }
  }
  const std::int64_t row = memory.vector_row(step_index, group);
  fold_warps(shared, d_z, dim, [&](int d, Sum sum) { arrays.d_z[row + d] = static_cast<double>(sum); });
  fold_warps(shared, d_segment, dim, [&](int d, Sum sum) { arrays.d_segment[row + d] = static_cast<double>(sum); });
}

// --- the groups ---

template <typename T> class Backward {
  using E = Element<T>;
  using Sum = Accumulator<T>;
  using Memory = MemoryTensors<E, Sum>;

 public:
  Backward(Stream& stream, const CompressiveMemoryBackwardArgs& args)
      : stream_(stream),
        args_(args),
        scratch_(args.scratch),
        kv_heads_(static_cast<int>(args.k.shape[1])),
        dim_(static_cast<int>(args.k.shape[2])),
        memory_(memory_tensors<T>(stream, args,
                                  dim_ % 4 == 0 && are_aligned(args.q.data, args.k.data, args.v.data, args.d_read.data,
                                                               args.d_q.data, args.d_k.data, args.d_v.data))),
        groups_(MemoryGroups::of(args.schedule, kv_heads_, dim_, sizeof(Sum))) {}

  void run() {
    ReadGradient<Sum>* reads = find_read_gradients();
    double* starts = args_.d_q ? find_starts() : nullptr;
    for (std::int64_t group = groups_.count() - 1; group >= 0; --group) {
      Arena::Scope scope(scratch_);
      go_back(group, reads, starts);
    }
  }

 private:
  template <typename Item> Item* take(std::int64_t count) {
    return static_cast<Item*>(scratch_.take(static_cast<std::size_t>(count) * sizeof(Item)));
  }
  Memory memory_of(std::int64_t group) const { return memory_.of_steps(groups_.first(group), groups_.end(group)); }
  bool is_delta() const { return args_.rule != MemoryRule::Linear; }

  ReadGradient<Sum>* find_read_gradients() {
    const std::int64_t num_queries = args_.q.shape[0], rows = num_queries * memory_.heads;
    auto* reads = take<ReadGradient<Sum>>(rows);
    launch(read_gradients_kernel<Sum>, stream_, shape_of_warps(rows), args_.read.out.template as<Sum>(),
           args_.read.normaliser.template as<Sum>(), args_.d_read.template as<Sum>(), reads, num_queries, memory_.heads,
           dim_);
    return reads;
  }

  /// M before each group, [groups, G, D, D], by writing once more.
  double* find_starts() {
    const std::int64_t size = memory_.matrix_elements();
    auto* starts = take<double>(groups_.count() * size);
    Device& device = scratch_.device();
    const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(double);
    if (groups_.count() > 0) device.copy(stream_, starts, args_.m.data, bytes);
    for (std::int64_t group = 0; group + 1 < groups_.count(); ++group) {
      Arena::Scope scope(scratch_);
      double* next = starts + (group + 1) * size;
      device.copy(stream_, next, next - size, bytes);
      GroupStates<Sum>::of(stream_, memory_of(group), scratch_, next);
    }
    return starts;
  }

  void go_back(std::int64_t index, const ReadGradient<Sum>* reads, double* starts) {
    const Memory memory = memory_of(index);
    const bool has_sinks = starts != nullptr;
    const auto group = has_sinks
                           ? GroupStates<Sum>::of(stream_, memory, scratch_, starts + index * memory.matrix_elements())
                           : GroupStates<Sum>::without_states(stream_, memory, scratch_);
    BackwardArrays<Sum> arrays{};
    arrays.d_read = args_.d_read.template as<Sum>();
    arrays.reads = reads;
    arrays.states = group.states;
    arrays.weights = group.weights;
    Sum* behind = GroupStates<Sum>::take_matrices(memory, scratch_);
    const ProductGrid square{.steps = memory.num_steps, .heads = kv_heads_, .rows = dim_, .columns = dim_};
    launch(wanted_kernel<E, Sum>, stream_, square.launch_shape(), memory, arrays, behind, square);
    run_chain<Sum>(stream_, {.steps = memory.steps,
                             .num_steps = memory.num_steps,
                             .kv_heads = kv_heads_,
                             .dim = dim_,
                             .state = args_.d_m.template as<double>(),
                             .added = behind,
                             .decays = group.decays,
                             .met = behind,
                             .is_backward = true});
    if (!has_sinks) return;
    arrays.behind = behind;
    const std::int64_t vectors = groups_.first(index) * kv_heads_ * dim_;
    arrays.d_z = args_.d_normalisers.z.template as<double>() + vectors;
    arrays.d_segment = args_.d_normalisers.segment.template as<double>() + vectors;
    arrays.d_q = args_.d_q.template as<Sum>();
    arrays.d_k = args_.d_k.template as<Sum>();
    arrays.d_v = args_.d_v.template as<Sum>();
    give_gradients(memory, arrays);
  }

  void give_gradients(const Memory& memory, BackwardArrays<Sum>& arrays) {
    const ProductGrid queries{
        .steps = memory.num_steps, .heads = memory.heads, .rows = memory.max_queries, .columns = dim_};
    launch(memory_d_q_kernel<E, Sum>, stream_, queries.launch_shape(), memory, arrays, queries);
    const ProductGrid keys{
        .steps = memory.num_steps, .heads = kv_heads_, .rows = memory.segment_tokens, .columns = dim_};
    const LaunchShape key_blocks = keys.launch_shape();
    if (is_delta()) {
      const std::int64_t rows = memory.num_written() * kv_heads_;
      arrays.writes = take<WriteGradient<Sum>>(rows);
      arrays.target = take<Sum>(rows * dim_);
      arrays.d_retrieved = take<Sum>(rows * dim_);
      launch(retrieved_kernel<false, E, Sum>, stream_, key_blocks, memory, arrays.states, arrays.target, keys);
      launch(retrieved_kernel<false, E, Sum>, stream_, key_blocks, memory, arrays.behind, arrays.d_retrieved, keys);
      launch(write_gradients_kernel<E, Sum>, stream_, shape_of_warps(rows), memory, arrays);
      launch(memory_d_k_kernel<true, E, Sum>, stream_, key_blocks, memory, arrays, keys);
    } else {
      launch(retrieved_kernel<true, E, Sum>, stream_, key_blocks, memory, arrays.behind, arrays.d_v, keys);
      launch(memory_d_k_kernel<false, E, Sum>, stream_, key_blocks, memory, arrays, keys);
    }
    with_lane_columns(dim_, [&](auto columns) {
      launch(d_vectors_kernel<columns, E, Sum>, stream_,
             {.blocks = memory.num_steps * kv_heads_, .threads = 32 * kRowWarps}, memory, arrays);
    });
  }

  Stream& stream_;
  const CompressiveMemoryBackwardArgs& args_;
  Arena& scratch_;
  int kv_heads_, dim_;
  Memory memory_;
  MemoryGroups groups_;
};

}  // namespace

void compressive_memory_backward(Stream& stream, const CompressiveMemoryBackwardArgs& args) {
  rondo::check(args);
  Arena::Scope scope(args.scratch);
  with_storage_type(args.k.dtype, [&]<typename T>() { Backward<T>(stream, args).run(); });
}

}  // namespace rondo::cuda
