// SPDX-License-Identifier: Apache-2.0
#include "apps/mpi_program.hpp"

#include <new>

#include "core/log.hpp"

namespace rondo {

int run_over_mpi(const std::function<void(const MpiSession&)>& body) {
  const MpiSession session(nullptr, nullptr);
  if (session.world().size() == 1) {
    body(session);
    return 0;
  }
  try {
    body(session);
    return 0;
  } catch (const AgreedError& error) {
    if (session.world().rank() == 0) throw;
    return exit_code(error.kind());
  } catch (const Error& error) {
    log::error("{} error: {}", name_of(error.kind()), error.what());
    session.abort_all(exit_code(error.kind()));
  } catch (const std::bad_alloc&) {
    log::error("out of memory on {}", host_name());
    session.abort_all(exit_code(ErrorKind::Device));
  } catch (const std::exception& error) {
    log::error("internal error: {}", error.what());
    session.abort_all(exit_code(ErrorKind::Internal));
  }
}

}  // namespace rondo
