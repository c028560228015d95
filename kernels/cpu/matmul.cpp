// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/matmul.hpp"

#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <tuple>

#include "kernels/cpu/operations.hpp"

namespace rondo::cpu {

namespace {

using Type = dnnl::memory::data_type;

Type type_of(DType type) { return storage_of(type) == Storage::Fp32 ? Type::f32 : Type::bf16; }

/// A product of two strided matrices into a third with contiguous rows. Strides count elements.
struct Product {
  MatmulSizes sizes;
  Type type, out_type;
  bool transpose_a, transpose_b, accumulate;
  std::int64_t a_stride, b_stride, c_stride;
  int threads;

  auto key() const {
    return std::tuple(sizes.m, sizes.n, sizes.k, type, out_type, transpose_a, transpose_b, accumulate, a_stride,
                      b_stride, c_stride, threads);
  }
  bool operator<(const Product& other) const { return key() < other.key(); }
};

dnnl::memory::desc matrix(std::int64_t rows, std::int64_t columns, Type type, bool transposed, std::int64_t stride) {
  const dnnl::memory::dims strides = transposed ? dnnl::memory::dims{1, stride} : dnnl::memory::dims{stride, 1};
  return {{rows, columns}, type, strides};
}

}  // namespace

class Matmul::Primitives {
 public:
  explicit Primitives(Device& device) : device_(device), engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {}

  void run(const Product& product, const void* a, const void* b, void* c) {
    Entry& entry = find(product);
    const auto memory = [&](const dnnl::memory::desc& desc, const void* data) {
      return dnnl::memory(desc, engine_, const_cast<void*>(data));
    };
    entry.primitive.execute(stream_, {{DNNL_ARG_SRC, memory(entry.a, a)},
                                      {DNNL_ARG_WEIGHTS, memory(entry.b, b)},
                                      {DNNL_ARG_DST, memory(entry.c, c)},
                                      {DNNL_ARG_SCRATCHPAD, memory(entry.scratchpad, scratchpad_.data())}});
    stream_.wait();
  }

  /// At least that many floats for widened operands; never given back.
  float* workspace(std::size_t floats) {
    grow(workspace_, floats * sizeof(float));
    return static_cast<float*>(workspace_.data());
  }

 private:
  struct Entry {
    dnnl::matmul primitive;
    dnnl::memory::desc a, b, c, scratchpad;
  };

  Entry& find(const Product& p) {
    const auto found = entries_.find(p);
    if (found != entries_.end()) return found->second;
    if (entries_.size() >= kMaxEntries) entries_.clear();
    const auto a = matrix(p.sizes.m, p.sizes.k, p.type, p.transpose_a, p.a_stride);
    const auto b = matrix(p.sizes.k, p.sizes.n, p.type, p.transpose_b, p.b_stride);
    const auto c = matrix(p.sizes.m, p.sizes.n, p.out_type, false, p.c_stride);
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (p.accumulate) {
      dnnl::post_ops sum;
      sum.append_sum(1.0F);
      attributes.set_post_ops(sum);
    }
    const dnnl::matmul::primitive_desc description({a, b, c}, attributes, engine_);
    grow(scratchpad_, description.scratchpad_desc().get_size());
    Entry entry{dnnl::matmul(description), a, b, c, description.scratchpad_desc()};
    return entries_.emplace(p, std::move(entry)).first->second;
  }

  void grow(Buffer& buffer, std::size_t bytes) {
    if (buffer.size_bytes() >= bytes) return;
    buffer = {};
    buffer = Buffer(device_, bytes, MemoryUse::Workspace);
  }

  static constexpr std::size_t kMaxEntries = 1024;

  Device& device_;
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::map<Product, Entry> entries_;
  Buffer scratchpad_, workspace_;
};

Matmul::Matmul(Device& device) : primitives_(std::make_unique<Primitives>(device)) {}
Matmul::~Matmul() = default;

void Matmul::operator()(const Context& context, Stream& stream, const MatmulArgs& args) {
  const MatmulSizes sizes = check(args);
  if (sizes.m == 0 || sizes.n == 0) return;
  if (sizes.k == 0) {
    if (!args.accumulate) std::memset(args.c.data, 0, args.c.size_bytes());
    return;
  }
  const double flop = 2 * static_cast<double>(sizes.m) * static_cast<double>(sizes.n) * static_cast<double>(sizes.k);
  const int threads = threads_for(flop, context.threads);
  omp_set_num_threads(threads);  // oneDNN asks for it; holds for the calling thread
  stream.progress();
  if (args.a.dtype == DType::Bf16 && !(has_bf16_units() && context.isa >= Isa::Avx512)) {
    widened(context, stream, args, sizes);
  } else {
    primitives_->run({.sizes = sizes,
                      .type = type_of(args.a.dtype),
                      .out_type = type_of(args.c.dtype),
                      .transpose_a = args.transpose_a == Transpose::Yes,
                      .transpose_b = args.transpose_b == Transpose::Yes,
                      .accumulate = args.accumulate,
                      .a_stride = args.a.shape[1],
                      .b_stride = args.b.shape[1],
                      .c_stride = args.c.shape[1],
                      .threads = threads},
                     args.a.data, args.b.data, args.c.data);
  }
  stream.progress();
}

namespace {

/// Widens the block [row, row + rows) x [column, column + columns) of a bf16 matrix with row length `stride`.
void widen(const Context& context, Stream& stream, const TensorView& from, std::int64_t row, std::int64_t column,
           std::int64_t rows, std::int64_t columns, float* to) {
  const std::int64_t stride = from.shape[1];
  parallel_chunks(stream, context.threads, rows, rows_per_chunk(columns),
                  [&](Worker&, std::int64_t begin, std::int64_t end) {
                    for (std::int64_t r = begin; r < end; ++r) {
                      context.kernels.rows.convert(Storage::Bf16, at(from, (row + r) * stride + column), Storage::Fp32,
                                                   to + r * columns, columns);
                    }
                  });
}

// Blocks of the widened product: 8 + 16 + 8 MiB of fp32 at most.
constexpr std::int64_t kBlockM = 1024, kBlockN = 2048, kBlockK = 2048;

}  // namespace

void Matmul::widened(const Context& context, Stream& stream, const MatmulArgs& args, const MatmulSizes& sizes) {
  const std::int64_t m = std::min(sizes.m, kBlockM), n = std::min(sizes.n, kBlockN), k = std::min(sizes.k, kBlockK);
  const bool narrow_out = args.c.dtype == DType::Bf16;
  float* a = primitives_->workspace(static_cast<std::size_t>(m * k + k * n + (narrow_out ? m * n : 0)));
  float* b = a + m * k;
  float* sum = b + k * n;
  const bool turn_a = args.transpose_a == Transpose::Yes, turn_b = args.transpose_b == Transpose::Yes;
  Product product{.sizes = {},
                  .type = Type::f32,
                  .out_type = Type::f32,
                  .transpose_a = turn_a,
                  .transpose_b = turn_b,
                  .accumulate = false,
                  .a_stride = 0,
                  .b_stride = 0,
                  .c_stride = 0,
                  .threads = context.threads};
  const auto multiply = [&](std::int64_t i, std::int64_t j, std::int64_t l) {
    const MatmulSizes block{std::min(m, sizes.m - i), std::min(n, sizes.n - j), std::min(k, sizes.k - l)};
    if (turn_a) widen(context, stream, args.a, l, i, block.k, block.m, a);
    if (!turn_a) widen(context, stream, args.a, i, l, block.m, block.k, a);
    product.sizes = block;
    product.a_stride = turn_a ? block.m : block.k;
    product.b_stride = turn_b ? block.k : block.n;
    product.c_stride = narrow_out ? block.n : sizes.n;
    product.accumulate = args.accumulate || l > 0;
    float* c = narrow_out ? sum : args.c.as<float>() + i * sizes.n + j;
    primitives_->run(product, a, b, c);
  };
  const auto convert_out = [&](std::int64_t i, std::int64_t j, bool load) {
    const std::int64_t columns = std::min(n, sizes.n - j);
    for (std::int64_t r = 0; r < std::min(m, sizes.m - i); ++r) {
      char* c = at(args.c, (i + r) * sizes.n + j);
      if (load) context.kernels.rows.convert(Storage::Bf16, c, Storage::Fp32, sum + r * columns, columns);
      if (!load) context.kernels.rows.convert(Storage::Fp32, sum + r * columns, Storage::Bf16, c, columns);
    }
  };
  for (std::int64_t j = 0; j < sizes.n; j += n) {
    const bool one_k = sizes.k <= k;
    const auto widen_b = [&](std::int64_t l) {
      const std::int64_t rows = std::min(k, sizes.k - l), columns = std::min(n, sizes.n - j);
      if (turn_b) widen(context, stream, args.b, j, l, columns, rows, b);
      if (!turn_b) widen(context, stream, args.b, l, j, rows, columns, b);
    };
    if (one_k) widen_b(0);
    for (std::int64_t i = 0; i < sizes.m; i += m) {
      if (narrow_out && args.accumulate) convert_out(i, j, true);
      for (std::int64_t l = 0; l < sizes.k; l += k) {
        if (!one_k) widen_b(l);
        multiply(i, j, l);
        stream.progress();
      }
      if (narrow_out) convert_out(i, j, false);
    }
  }
}

}  // namespace rondo::cpu
