// SPDX-License-Identifier: Apache-2.0
// What each query of a block sees, worked out once a call: the other attention kernels read it instead of the mask.
#include <algorithm>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"

namespace rondo::cuda {

namespace {

constexpr int kOffsets = 400;  // a launch; parameters of a kernel have 4 KiB

struct SomeDocuments {
  std::int64_t count;              // of offsets; 0: the mask has no documents
  std::int64_t offsets[kOffsets];  // the documents between them
};

struct VisibleKeysArgs {
  KeyInterval* visible;  // [T]
  std::int64_t num_queries;
  DeviceRuns query_runs;
  AttentionMaskView mask;
  SomeDocuments documents;
};
static_assert(sizeof(VisibleKeysArgs) <= 4096);

__global__ void visible_keys_kernel(const VisibleKeysArgs args) {
  __shared__ std::int64_t offsets[kOffsets];
  const std::int64_t count = args.documents.count;
  for (std::int64_t i = threadIdx.x; i < count; i += kBlockThreads) offsets[i] = args.documents.offsets[i];
  __syncthreads();
  const std::int64_t query = std::int64_t{blockIdx.x} * kBlockThreads + threadIdx.x;
  if (query >= args.num_queries) return;
  const std::int64_t position = args.query_runs.global_of(query);
  AttentionMaskView mask = args.mask;
  if (count > 0) {
    if (position < offsets[0] || position >= offsets[count - 1]) return;  // its document is in another launch
    mask.document_offsets = offsets;
    mask.num_documents = count - 1;
  }
  args.visible[query] = mask.keys_of(position);
}

}  // namespace

const KeyInterval* visible_keys(Stream& stream, const TokenRuns& query_runs, const AttentionMaskView& mask,
                                Arena& scratch) {
  VisibleKeysArgs args{.visible = nullptr,
                       .num_queries = query_runs.num_tokens(),
                       .query_runs = device_runs(query_runs),
                       .mask = mask,
                       .documents = {}};
  args.visible =
      static_cast<KeyInterval*>(scratch.take(static_cast<std::size_t>(args.num_queries) * sizeof(KeyInterval)));
  const LaunchShape shape{.blocks = (args.num_queries + kBlockThreads - 1) / kBlockThreads, .threads = kBlockThreads};
  args.mask.document_offsets = nullptr;
  if (mask.document_offsets == nullptr) {
    launch(visible_keys_kernel, stream, shape, args);
    return args.visible;
  }
  // Neighbouring launches share an offset: the end of one's last document is the begin of the next one's first.
  for (std::int64_t first = 0; first < mask.num_documents; first += kOffsets - 1) {
    args.documents.count = std::min<std::int64_t>(kOffsets, mask.num_documents + 1 - first);
    std::copy_n(mask.document_offsets + first, args.documents.count, args.documents.offsets);
    launch(visible_keys_kernel, stream, shape, args);
  }
  return args.visible;
}

}  // namespace rondo::cuda
