// SPDX-License-Identifier: Apache-2.0
// The ring of ranks that one sequence is spread over: its transport and the stream that its transfers belong
// to.
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
