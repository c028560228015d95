// SPDX-License-Identifier: Apache-2.0
// The ring of ranks that a sequence is sharded over: its transport and the stream of its transfers.
#pragma once

#include "comm/transport.hpp"

namespace rondo {

struct Ring {
  Transport& transport;
  Stream& stream;

  int rank() const { return transport.rank(); }
  int size() const { return transport.size(); }
};

}  // namespace rondo
