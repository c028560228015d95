// SPDX-License-Identifier: Apache-2.0
// The three functions of attention for host tensors, computed by the backend of a device.
#pragma once

#include "tests/kernels/cuda/cuda_world.hpp"

namespace rondo::test {

/// Copies host tensors to the memory of the device, and results back. Each tensor has a buffer of its own, so nothing outside
/// of it can be touched unseen where the device watches its memory.
class AttentionOnDevice {
 public:
  AttentionOnDevice(Device& device, Backend& backend) : device_(device), backend_(backend) {}

  void block_attention_forward(Stream&, const BlockAttentionForwardArgs& args) {
    Place place(device_, backend_);
    const Buffer q = upload(place, args.q), k = upload(place, args.k), v = upload(place, args.v),
                 out = upload(place, args.carry.out), lse = upload(place, args.carry.lse);
    backend_.block_attention_forward(*place.stream, {.q = q.view(),
                                                     .k = k.view(),
                                                     .v = v.view(),
                                                     .query_runs = args.query_runs,
                                                     .key_runs = args.key_runs,
                                                     .mask = args.mask,
                                                     .scale = args.scale,
                                                     .carry = {.out = out.view(), .lse = lse.view()},
                                                     .scratch = place.scratch});
    download(place, out, args.carry.out);
    download(place, lse, args.carry.lse);
  }

  void block_attention_backward(Stream&, const BlockAttentionBackwardArgs& args) {
    Place place(device_, backend_);
    const Buffer q = upload(place, args.q), k = upload(place, args.k), v = upload(place, args.v),
                 d_out = upload(place, args.d_out), lse = upload(place, args.lse), delta = upload(place, args.delta),
                 d_q = upload(place, args.d_q), d_k = upload(place, args.d_k), d_v = upload(place, args.d_v),
                 out = args.out ? upload(place, args.out) : Buffer();
    backend_.block_attention_backward(*place.stream, {.q = q.view(),
                                                      .k = k.view(),
                                                      .v = v.view(),
                                                      .d_out = d_out.view(),
                                                      .lse = lse.view(),
                                                      .delta = delta.view(),
                                                      .query_runs = args.query_runs,
                                                      .key_runs = args.key_runs,
                                                      .mask = args.mask,
                                                      .scale = args.scale,
                                                      .d_q = d_q.view(),
                                                      .d_k = d_k.view(),
                                                      .d_v = d_v.view(),
                                                      .scratch = place.scratch,
                                                      .out = args.out ? out.view() : TensorView()});
    download(place, d_q, args.d_q);
    download(place, d_k, args.d_k);
    download(place, d_v, args.d_v);
  }

  void attention_delta(Stream&, const AttentionDeltaArgs& args) {
    Place place(device_, backend_);
    const Buffer out = upload(place, args.out), d_out = upload(place, args.d_out), delta = upload(place, args.delta);
    backend_.attention_delta(*place.stream, {.out = out.view(), .d_out = d_out.view(), .delta = delta.view()});
    download(place, delta, args.delta);
  }

 private:
  Buffer upload(Place& place, const TensorView& from) {
    Buffer to(device_, from.dtype, from.shape, MemoryUse::Workspace);
    device_.copy(*place.stream, to.data(), from.data, from.size_bytes());
    return to;
  }
  void download(Place& place, const Buffer& from, const TensorView& to) {
    device_.copy(*place.stream, to.data, from.data(), to.size_bytes());
    device_.synchronize(*place.stream);
  }

  Device& device_;
  Backend& backend_;
};

}  // namespace rondo::test
