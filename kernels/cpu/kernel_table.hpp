// SPDX-License-Identifier: Apache-2.0
// The inner kernels, one table per instruction set: pure arithmetic on memory in cache, no threads, no allocation.
// Plain data only, so that files compiled for an instruction set can include it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rondo::cpu {

using Bf16Bits = std::uint16_t;
enum class Storage : std::uint8_t { Fp32, Bf16 };

/// Dimensions of attention tiles, whose rows are each one query token of one head. The layout of the packed arrays is private
/// to the kernels; their sizes are given by AttentionKernels::sizes.
struct AttentionDims {
  int head_dim;
  int padded_dim;  // head_dim rounded up to AttentionKernels::dim_multiple
};

/// Bytes of the packed arrays, for one tile each.
struct AttentionSizesBytes {
  std::size_t queries;          // packed for the forward pass
  std::size_t query_gradients;  // q and d_out packed for the backward pass
  std::size_t keys;             // packed keys and values, forward
  std::size_t key_gradients;    // packed keys and values with the sums of d_k and d_v, backward
  std::size_t out;              // running output of a query tile
  std::size_t work;             // scores and similar, one per thread
};

/// Visible keys of each row: indices [begin[i], end[i]), counted as first_key is. Null: every row sees every key.
struct LaneIntervals {
  const std::int32_t* begin = nullptr;
  const std::int32_t* end = nullptr;
};

struct ForwardTile {
  AttentionDims dims;
  const void* queries;
  const void* keys;         // packed by pack_keys
  int capacity;             // with which the keys were packed
  int first_row, num_keys;  // the part of the packed tile that is used; first_row is a multiple of key_multiple
  std::int32_t first_key;   // index of the key in first_row, for the intervals
  LaneIntervals visible;
  float scale;     // of the scores
  float* out;      // running output, not normalised
  float* maximum;  // [query_tile] of the scaled scores; -inf: no key seen
  float* sum;      // [query_tile] of exp(scale * score - maximum)
  void* work;
};

struct BackwardTile {
  AttentionDims dims;
  const void* queries;  // packed by pack_query_gradients
  void* keys;           // packed by pack_key_gradients; its sums of d_k and d_v are added to
  int capacity;
  int first_row, num_keys;
  std::int32_t first_key;
  LaneIntervals visible;
  float scale;
  const float* lse;    // [query_tile] log of the sum of exponentials of the scaled scores
  const float* delta;  // [query_tile]
  float* d_queries;    // [query_tile, padded_dim] overwritten: the contribution of this tile
  void* work;
};

/// Rows are given by their addresses, so that only the caller knows the layout of heads and tokens.
struct AttentionKernels {
  int query_tile;    // rows per tile
  int key_tile;      // keys per tile, forward
  int key_multiple;  // granularity of first_row
  int dim_multiple;

  AttentionSizesBytes (*sizes)(AttentionDims dims, int forward_keys, int backward_keys);
  void (*pack_queries)(AttentionDims, Storage, const void* const* rows, int count, void* packed);
  void (*pack_keys)(AttentionDims, Storage, const void* k, const void* v, std::ptrdiff_t row_elements, int count,
                    void* packed, int capacity);
  void (*load_out)(AttentionDims, const float* const* rows, int count, float* out);
  void (*store_out)(AttentionDims, float* const* rows, int count, const float* out, const float* factor);
  void (*forward)(const ForwardTile&);

  void (*pack_query_gradients)(AttentionDims, Storage, const void* const* q, const void* const* d_out, int count,
                               void* packed);
  void (*pack_key_gradients)(AttentionDims, Storage, const void* k, const void* v, std::ptrdiff_t row_elements,
                             int count, void* packed, int capacity);
  void (*backward)(const BackwardTile&);
  void (*add_queries)(AttentionDims, float* const* rows, int count, const float* d_queries);
  void (*add_keys)(AttentionDims, const void* packed, int capacity, float* d_k, float* d_v, std::ptrdiff_t row_elements,
                   int count);
};

/// A tile of tokens of the compressive memory. phi, psi: features packed by MemoryKernels::features; matrices [D, P]; all have
/// `slack` additional rows. work: 4 tiles.
struct MemoryReadTile {
  AttentionDims dims;
  int count;
  const float* psi;
  const float *m, *z;
  float* const* out;  // row of each token
  float* normaliser;  // [count]
  float* work;
};

struct MemoryWriteTile {
  AttentionDims dims;
  int count;
  bool is_delta;
  Storage type;  // of v
  const float* phi;
  const void* const* v;  // row of each token
  const float *m, *z;
  const float* segment;               // u of the corrected rule, else null
  const float* decay;                 // null: not requested
  float *added, *decay_added, *work;  // what is added to M and to the decay
};

struct MemoryReadBackwardTile {
  AttentionDims dims;
  int count;
  const float* phi;  // of the queries
  const float *m_transposed, *z;
  const float* const* read;             // row of each token
  const float* normaliser;              // [count]
  const float* const* d_read;           // row of each token
  float* const* d_q;                    // row of each token, += or null
  float *d_m_added, *d_z_added, *work;  // += phi^T d_r [D, P], += d_n phi [P]
};

struct MemoryWriteBackwardTile {
  AttentionDims dims;
  int count;
  bool is_delta;
  Storage type;  // of v
  const float* phi;
  const void* const* v;
  const float *m, *m_transposed, *z;
  const float* segment;                     // u of the corrected rule, else null
  const float *behind, *behind_transposed;  // the gradient of M after the write
  float* const* d_k;                        // row of each token, += or null
  float* const* d_v;
  float *d_m_added, *d_z_added, *work;
  float* d_segment_added;  // if segment is given
};

/// w of MemoryRule for one token, and the values that its gradient needs.
struct MemoryWeight {
  float value;
  float overlap;    // c = phi z
  bool is_overlap;  // w = 1 / c, not 1 / e

  /// gamma of the corrected rule: exactly 0 for a key that is already stored.
  float new_part() const { return is_overlap && value > 0 ? 0 : 1 - overlap * value; }
};

struct MemoryKernels {
  int tile;   // maximum number of tokens
  int slack;  // rows that must exist after every packed array
  int dim_multiple;

  void (*features)(AttentionDims, Storage, const void* const* rows, int count, float* phi);
  void (*read)(const MemoryReadTile&);
  void (*write)(const MemoryWriteTile&);
  void (*read_backward)(const MemoryReadBackwardTile&);
  void (*write_backward)(const MemoryWriteBackwardTile&);
  float (*dot)(AttentionDims, const float* x, const float* y);
  MemoryWeight (*weight)(AttentionDims, const float* phi, const float* z, const float* segment);
  /// y += factor x
  void (*add_scaled)(AttentionDims, float* y, float factor, const float* x);
  /// to [D] += d_phi sigma'(x); d_phi is overwritten
  void (*add_through_slope)(AttentionDims, float* to, float* d_phi, const float* phi);
};

struct AdamWFactors {
  float gradient_scale, learning_rate, beta_1, beta_2, epsilon, weight_decay;
  float rest_1, rest_2;              // 1 - beta
  float correction_1, correction_2;  // 1 / (1 - beta^step)
};

/// Row and chunk kernels; storage is that of all void pointers.
struct RowKernels {
  void (*rms_norm)(Storage, const void* x, const void* weight, void* y, std::int64_t columns, float epsilon);
  /// d_x += ..., d_weight (fp32) += ...
  void (*rms_norm_backward)(Storage, const void* d_y, const void* x, const void* weight, void* d_x, float* d_weight,
                            std::int64_t columns, float epsilon);
  void (*swiglu)(Storage, const void* gate, const void* up, void* a, std::int64_t columns);
  void (*swiglu_backward)(Storage, const void* gate, const void* up, const void* d_a, void* d_gate, void* d_up,
                          std::int64_t columns);
  /// Rotates pairs (i, i + half): out = (x c - y s, y c + x s). For the transposed map the caller negates s.
  void (*rotate)(Storage from_type, const void* from, Storage to_type, void* to, const float* cosines,
                 const float* sines, std::int64_t half);
  /// @returns log of the sum of exponentials
  float (*log_sum_exp)(const float* x, std::int64_t columns);
  /// d[v] = factor * exp(x[v] - log_sum_exp)
  void (*softmax)(const float* x, std::int64_t columns, float log_sum_exp, float factor, Storage, void* d);
  /// dots[r] = x[r] . y[r] for `rows` contiguous rows, each summed in the order of its columns as in the score product, so
  /// that delta and d_out v^T cancel exactly where a query sees one key.
  void (*row_dots)(const float* x, Storage, const void* y, std::int64_t rows, std::int64_t columns, float* dots);
  void (*convert)(Storage from_type, const void* from, Storage to_type, void* to, std::int64_t count);
  void (*add)(Storage from_type, const void* from, Storage to_type, void* to, std::int64_t count);
  void (*adamw)(const AdamWFactors&, float* value, float* moment_1, float* moment_2, const float* gradient,
                Bf16Bits* copy, std::int64_t count);
};

struct KernelTable {
  const char* name;
  AttentionKernels attention;  // fp32, and bf16, which is converted when packed
  RowKernels rows;
  MemoryKernels memory;
};

const KernelTable& portable_kernels();
const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
/// bf16 attention on AMX tiles; needs AVX-512 and the permission, see isa.hpp.
const AttentionKernels& amx_attention();

}  // namespace rondo::cpu
