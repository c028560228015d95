// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/matmul.hpp"

#include <array>
#include <cstring>
#include <dnnl.hpp>
#include <map>
#include <set>
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

  /// Takes what run() of such a product works in.
  void reserve(const Product& product) { grow(scratchpad_, describe(product).scratchpad_desc().get_size()); }
  /// Is it asked about for the first time? Describing a product takes a millisecond, and a plan has the same ones a thousand times.
  bool is_new(const Product& product) { return reserved_.insert(product).second; }

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
    const dnnl::matmul::primitive_desc description = describe(p);
    grow(scratchpad_, description.scratchpad_desc().get_size());
    Entry entry{dnnl::matmul(description), description.src_desc(), description.weights_desc(), description.dst_desc(),
                description.scratchpad_desc()};
    return entries_.emplace(p, std::move(entry)).first->second;
  }

  dnnl::matmul::primitive_desc describe(const Product& p) const {
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
    return {{a, b, c}, attributes, engine_};
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
  std::set<Product> reserved_;
  Buffer scratchpad_, workspace_;
};

Matmul::Matmul(Device& device) : primitives_(std::make_unique<Primitives>(device)) {}
Matmul::~Matmul() = default;

namespace {

int threads_of(const Context& context, const MatmulSizes& sizes) {
  return threads_for(2 * static_cast<double>(sizes.m) * static_cast<double>(sizes.n) * static_cast<double>(sizes.k),
                     context.threads);
}

bool is_widened(const Context& context, const MatmulArgs& args) {
  return args.a.dtype == DType::Bf16 && !(has_bf16_units() && context.isa >= Isa::Avx512);
}

/// The product as oneDNN computes it without widening.
Product product_of(const MatmulArgs& args, const MatmulSizes& sizes, int threads) {
  return {.sizes = sizes,
          .type = type_of(args.a.dtype),
          .out_type = type_of(args.c.dtype),
          .transpose_a = args.transpose_a == Transpose::Yes,
          .transpose_b = args.transpose_b == Transpose::Yes,
          .accumulate = args.accumulate,
          .a_stride = args.a.shape[1],
          .b_stride = args.b.shape[1],
          .c_stride = args.c.shape[1],
          .threads = threads};
}

}  // namespace

void Matmul::operator()(const Context& context, Stream& stream, const MatmulArgs& args) {
  const MatmulSizes sizes = check(args);
  if (sizes.m == 0 || sizes.n == 0) return;
  if (sizes.k == 0) {
    if (!args.accumulate) std::memset(args.c.data, 0, args.c.size_bytes());
    return;
  }
  const int threads = threads_of(context, sizes);
  omp_set_num_threads(threads);  // oneDNN asks for it; holds for the calling thread
  stream.progress();
  if (is_widened(context, args)) {
    widened(context, stream, args, sizes);
  } else {
    primitives_->run(product_of(args, sizes, threads), args.a.data, args.b.data, args.c.data);
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

/// How a product is widened: block by block of these sizes.
struct Widening {
  Widening(const MatmulArgs& args, const MatmulSizes& all)
      : sizes(all),
        most{std::min(all.m, kBlockM), std::min(all.n, kBlockN), std::min(all.k, kBlockK)},
        narrow_out(args.c.dtype == DType::Bf16),
        turn_a(args.transpose_a == Transpose::Yes),
        turn_b(args.transpose_b == Transpose::Yes),
        accumulate(args.accumulate) {}

  std::size_t floats() const {
    return static_cast<std::size_t>(most.m * most.k + most.k * most.n + (narrow_out ? most.m * most.n : 0));
  }
  /// The fp32 product of the block that begins at (i, j) of c and at l of the sum.
  Product block(std::int64_t i, std::int64_t j, std::int64_t l, int threads) const {
    const MatmulSizes s{std::min(most.m, sizes.m - i), std::min(most.n, sizes.n - j), std::min(most.k, sizes.k - l)};
    return {.sizes = s,
            .type = Type::f32,
            .out_type = Type::f32,
            .transpose_a = turn_a,
            .transpose_b = turn_b,
            .accumulate = accumulate || l > 0,
            .a_stride = turn_a ? s.m : s.k,
            .b_stride = turn_b ? s.k : s.n,
            .c_stride = narrow_out ? s.n : sizes.n,
            .threads = threads};
  }

  MatmulSizes sizes, most;
  bool narrow_out, turn_a, turn_b, accumulate;
};

/// Where the first, the second and the last block of a dimension begin: all others are like one of them.
std::array<std::int64_t, 3> unlike_blocks(std::int64_t size, std::int64_t block) {
  const std::int64_t last = (size - 1) / block * block;
  return {0, std::min(block, last), last};
}

}  // namespace

void Matmul::reserve(const Context& context, const MatmulArgs& args) {
  const MatmulSizes sizes = check(args);
  if (sizes.m == 0 || sizes.n == 0 || sizes.k == 0) return;
  const int threads = threads_of(context, sizes), threads_before = omp_get_max_threads();
  if (!primitives_->is_new(product_of(args, sizes, threads))) return;
  omp_set_num_threads(threads);  // what a product works in depends on it
  if (is_widened(context, args)) {
    const Widening widening(args, sizes);
    primitives_->workspace(widening.floats());
    for (const std::int64_t i : unlike_blocks(sizes.m, widening.most.m)) {
      for (const std::int64_t j : unlike_blocks(sizes.n, widening.most.n)) {
        for (const std::int64_t l : unlike_blocks(sizes.k, widening.most.k)) {
          primitives_->reserve(widening.block(i, j, l, context.threads));
        }
      }
    }
  } else {
    primitives_->reserve(product_of(args, sizes, threads));
  }
  omp_set_num_threads(threads_before);
}

void Matmul::widened(const Context& context, Stream& stream, const MatmulArgs& args, const MatmulSizes& sizes) {
  const Widening widening(args, sizes);
  const auto [m, n, k] = widening.most;
  const bool narrow_out = widening.narrow_out, turn_a = widening.turn_a, turn_b = widening.turn_b;
  float* a = primitives_->workspace(widening.floats());
  float* b = a + m * k;
  float* sum = b + k * n;
  const auto multiply = [&](std::int64_t i, std::int64_t j, std::int64_t l) {
    const Product product = widening.block(i, j, l, context.threads);
    const MatmulSizes& block = product.sizes;
    if (turn_a) widen(context, stream, args.a, l, i, block.k, block.m, a);
    if (!turn_a) widen(context, stream, args.a, i, l, block.m, block.k, a);
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
