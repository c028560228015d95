// SPDX-License-Identifier: Apache-2.0
// All that the model sees of the machine: where memory is, what computes, and the ring that the sequence is sharded over.
#pragma once

#include "comm/ring.hpp"
#include "core/arena.hpp"
#include "core/device.hpp"
#include "kernels/backend.hpp"

namespace rondo {

struct Execution {
  Device& device;
  Backend& backend;
  Stream& compute;
  Arena& scratch;
  Ring ring;
};

}  // namespace rondo
