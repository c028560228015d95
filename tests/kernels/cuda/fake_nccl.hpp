// SPDX-License-Identifier: Apache-2.0
// NCCL's functions as the transport uses them, between MPI ranks and on guarded devices: groups run in the order of their
// streams and meet their peers, and every call is recorded. Stands in for the library at link time.
#pragma once

#include <string>
#include <vector>

#include "comm/communicator.hpp"

namespace rondo::test::fake_nccl {

/// The group of ranks that the next communicators are made of; it outlives them.
void use(const Communicator& group);

/// The calls of this rank since the last take_calls(), e.g. "group", "recv 1 64", "send 1 64", "end".
std::vector<std::string> take_calls();

/// From now on every communicator of this rank reports that a peer has failed, and waits for nobody.
void let_a_peer_fail();
/// From now on this rank's communicators are refused when they are made.
void refuse_to_start();
/// From now on whatever is asked of a communicator stays in progress for ever. One that is made now has no peers.
void be_stuck();
/// How many times a communicator says "in progress" before it goes on.
void be_slow(int times);
/// Communicators of this rank that were made and neither destroyed nor aborted, and those that were aborted.
int num_alive();
int num_aborted();

}  // namespace rondo::test::fake_nccl
