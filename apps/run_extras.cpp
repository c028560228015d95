// SPDX-License-Identifier: Apache-2.0
#include "apps/run_extras.hpp"

#include "comm/mpi_session.hpp"
#include "core/log.hpp"
#include "model/ring_check.hpp"
#include "model/shape_of.hpp"

namespace rondo {

void self_check(Runtime& runtime, const RunConfig& config) {
  const TransformerShape shape = shape_of(config);
  Runtime one(Communicator::self(), {.device = DeviceChoice::Reference, .threads = 1});
  check_ring(runtime.world(), runtime.execution(), one.execution(),
             {.dtype = dtype_of_compute(config.precision.compute),
              .layout = *config.parallel.layout,
              .heads = shape.heads,
              .kv_heads = shape.kv_heads,
              .head_dim = shape.head_dim,
              .window = config.model.window});
  log::info("self-check: ring attention over these ranks is right");
}

}  // namespace rondo
