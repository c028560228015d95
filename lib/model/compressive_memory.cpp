// SPDX-License-Identifier: Apache-2.0
#include "model/compressive_memory.hpp"

#include <utility>

#include "core/trace.hpp"

namespace rondo {

namespace {

/// One run's [G, ...] of [runs, G, ...].
TensorView row_of(const TensorView& all, std::size_t run) {
  const TensorView row = all.rows(static_cast<std::int64_t>(run), 1);
  if (all.shape.rank() == 4) return row.reshaped({all.shape[1], all.shape[2], all.shape[3]});
  return row.reshaped({all.shape[1], all.shape[2]});
}

Shape with_runs(std::size_t runs, const Shape& shape) {
  const auto count = static_cast<std::int64_t>(runs);
  return shape.rank() == 3 ? Shape{count, shape[0], shape[1], shape[2]} : Shape{count, shape[0], shape[1]};
}

}  // namespace

// --- forward ---

CompressiveMemory::Scan CompressiveMemory::start(const MemoryTokens& tokens, const MemoryState& initial,
                                                 const MemoryBefore& before, const MemoryState& after) {
  TraceScope trace("compressive_memory.start");
  const MemoryChain& chain = tokens.chain;
  begin_with(before.z, initial.z);
  Scan scan;
  for (std::size_t i = 0; i < chain.mine().size(); ++i) scan.normalisers.push_back(take_normalisers(tokens, i));
  rule_ == MemoryRule::DeltaCorrected ? find_z_in_turn(tokens, scan, before.z) : start_z(tokens, scan);
  if (has_decays()) finish_z(tokens, scan, before.z, after.z);  // what is written depends on z
  if (chain.runs().size() == 1) return scan;
  // M behind = (1 - decay) M before + summary
  const std::int64_t G = tokens.k.shape[1], D = tokens.k.shape[2];
  const DType sum = accumulator_of(tokens.k.dtype);
  scan.summaries = execution_.scratch.take(sum, with_runs(chain.runs().size(), {G, D, D}));
  for (std::size_t i = 0; i < chain.mine().size(); ++i) {
    Arena::Scope scope(execution_.scratch);
    const TensorView m = take_zeros(DType::Fp64, {G, D, D});
    const TensorView decay = has_decays() ? execution_.scratch.take(DType::Fp64, {G, D, D}) : TensorView{};
    forward(tokens, i, scan.normalisers[i], m, decay, {});
    execution_.backend.convert(execution_.compute, {m, row_of(scan.summaries, chain.mine()[i])});
    if (has_decays()) execution_.backend.convert(execution_.compute, {decay, row_of(before.decays, chain.mine()[i])});
  }
  scan.summaries_arrive = exchange(chain, scan.summaries, Direction::ToLaterRuns);
  if (has_decays()) scan.decays_arrive = exchange(chain, before.decays, Direction::ToAll);  // backward needs them too
  return scan;
}

void CompressiveMemory::finish(const MemoryTokens& tokens, Scan& scan, const MemoryState& initial,
                               const MemoryBefore& before, const MemoryRead& read, const MemoryState& after) {
  TraceScope trace("compressive_memory.finish");
  auto& [device, backend, compute, scratch, ring] = execution_;
  const MemoryChain& chain = tokens.chain;
  if (!has_decays()) finish_z(tokens, scan, before.z, after.z);
  scan.summaries_arrive.wait(compute);
  scan.decays_arrive.wait(compute);
  begin_with(before.m, initial.m);
  for (std::size_t i = 0; i < chain.mine().size(); ++i) {
    for (std::size_t run = 0; run < chain.mine()[i]; ++run) {
      backend.memory_fold(compute, {.state = row_of(before.m, i),
                                    .decay = has_decays() ? row_of(before.decays, run) : TensorView{},
                                    .added = row_of(scan.summaries, run),
                                    .is_reset = chain.runs()[run].is_reset});
    }
    Arena::Scope scope(scratch);
    const TensorView m = take_zeros(DType::Fp64, row_of(before.m, i).shape);
    device.copy(compute, m.data, row_of(before.m, i).data, m.size_bytes());
    forward(tokens, i, scan.normalisers[i], m, {}, read);
    const bool is_last = chain.mine()[i] + 1 == chain.runs().size();
    if (is_last && after.m) device.copy(compute, after.m.data, m.data, m.size_bytes());
  }
  if (after.m) share(chain, chain.runs().size() - 1, after.m);
}

void CompressiveMemory::begin_with(const TensorView& rows, const TensorView& state) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  if (!state) return device.fill_zero(compute, rows.data, rows.size_bytes());
  for (std::int64_t i = 0; i < rows.shape[0]; ++i) {
    device.copy(compute, row_of(rows, static_cast<std::size_t>(i)).data, state.data, state.size_bytes());
  }
}

void CompressiveMemory::share(const MemoryChain& chain, std::size_t run, const TensorView& state) {
  if (execution_.ring.size() == 1) return;
  execution_.ring.transport.broadcast(execution_.compute, state, chain.runs()[run].rank);
}

void CompressiveMemory::read_again(const MemoryTokens& tokens, const MemoryBefore& before, const MemoryRead& read) {
  TraceScope trace("compressive_memory.read_again");
  Arena::Scope scope(execution_.scratch);
  const std::vector<MemoryNormalisers> normalisers = normalisers_from(tokens, before.z);
  for (std::size_t i = 0; i < tokens.chain.mine().size(); ++i) {
    const TensorView m = take_zeros(DType::Fp64, row_of(before.m, i).shape);
    execution_.device.copy(execution_.compute, m.data, row_of(before.m, i).data, m.size_bytes());
    forward(tokens, i, normalisers[i], m, {}, read);
  }
}

// --- the chain of the normaliser ---

// z grows by a sum that does not depend on z: every run's is found from nothing.
void CompressiveMemory::start_z(const MemoryTokens& tokens, Scan& scan) {
  const MemoryChain& chain = tokens.chain;
  if (chain.runs().size() == 1) return;
  const std::int64_t G = tokens.k.shape[1], D = tokens.k.shape[2];
  scan.growths = execution_.scratch.take(accumulator_of(tokens.k.dtype), with_runs(chain.runs().size(), {G, D}));
  for (std::size_t i = 0; i < chain.mine().size(); ++i) {
    Arena::Scope scope(execution_.scratch);
    const TensorView z = take_zeros(DType::Fp64, {G, D});
    run_normalisers(tokens, i, z, scan.normalisers[i]);
    execution_.backend.convert(execution_.compute, {z, row_of(scan.growths, chain.mine()[i])});
  }
  scan.growths_arrive = exchange(chain, scan.growths, Direction::ToLaterRuns);
}

void CompressiveMemory::finish_z(const MemoryTokens& tokens, Scan& scan, const TensorView& z_before,
                                 const TensorView& z_final) {
  const MemoryChain& chain = tokens.chain;
  scan.growths_arrive.wait(execution_.compute);
  for (std::size_t i = 0; scan.growths && i < chain.mine().size(); ++i) {
    for (std::size_t run = 0; run < chain.mine()[i]; ++run) {
      execution_.backend.memory_fold(execution_.compute, {.state = row_of(z_before, i),
                                                          .decay = {},
                                                          .added = row_of(scan.growths, run),
                                                          .is_reset = chain.runs()[run].is_reset});
    }
  }
  fill_normalisers(tokens, z_before, z_final, scan.normalisers);
  if (z_final) share(chain, chain.runs().size() - 1, z_final);
}

// What z grows by depends on z: run after run, each by its owner.
void CompressiveMemory::find_z_in_turn(const MemoryTokens& tokens, const Scan& scan, const TensorView& z_before) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  const MemoryChain& chain = tokens.chain;
  Arena::Scope scope(scratch);
  for (std::size_t i = 0; i < chain.mine().size(); ++i) {
    take_over(chain, chain.mine()[i], Direction::ToLaterRuns, row_of(z_before, i));
    const TensorView z = take_zeros(DType::Fp64, row_of(z_before, i).shape);
    device.copy(compute, z.data, row_of(z_before, i).data, z.size_bytes());
    run_normalisers(tokens, i, z, scan.normalisers[i]);
    hand_on(chain, chain.mine()[i], Direction::ToLaterRuns, z);
    // a run that follows on this rank gets it here
    if (i + 1 < chain.mine().size() && chain.mine()[i + 1] == chain.mine()[i] + 1) {
      device.copy(compute, row_of(z_before, i + 1).data, z.data, z.size_bytes());
    }
  }
}

void CompressiveMemory::fill_normalisers(const MemoryTokens& tokens, const TensorView& z_before,
                                         const TensorView& z_final, const std::vector<MemoryNormalisers>& normalisers) {
  for (std::size_t i = 0; i < tokens.chain.mine().size(); ++i) {
    Arena::Scope scope(execution_.scratch);
    const TensorView z = take_zeros(DType::Fp64, row_of(z_before, i).shape);
    execution_.device.copy(execution_.compute, z.data, row_of(z_before, i).data, z.size_bytes());
    run_normalisers(tokens, i, z, normalisers[i]);
    const bool is_last = tokens.chain.mine()[i] + 1 == tokens.chain.runs().size();
    if (is_last && z_final) execution_.device.copy(execution_.compute, z_final.data, z.data, z.size_bytes());
  }
}

std::vector<MemoryNormalisers> CompressiveMemory::normalisers_from(const MemoryTokens& tokens,
                                                                   const TensorView& z_before) {
  std::vector<MemoryNormalisers> all;
  for (std::size_t i = 0; i < tokens.chain.mine().size(); ++i) all.push_back(take_normalisers(tokens, i));
  fill_normalisers(tokens, z_before, {}, all);
  return all;
}

void CompressiveMemory::run_normalisers(const MemoryTokens& tokens, std::size_t mine, const TensorView& z,
                                        const MemoryNormalisers& normalisers) {
  execution_.backend.memory_normaliser_forward(
      execution_.compute, {rule_, tokens.k, tokens.chain.schedules()[mine], z, normalisers, execution_.scratch});
}

void CompressiveMemory::go_back_through_z(const MemoryTokens& tokens, const Scan& scan,
                                          const std::vector<MemoryNormalisers>& gradients, const TensorView& d_state,
                                          const TensorView& d_k) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  const MemoryChain& chain = tokens.chain;
  Arena::Scope scope(scratch);
  const Shape shape{tokens.k.shape[1], tokens.k.shape[2]};
  const auto through_run = [&](std::size_t i, const TensorView& d_z, const TensorView& sink) {
    backend.memory_normaliser_backward(
        compute, {rule_, tokens.k, chain.schedules()[i], scan.normalisers[i], gradients[i], d_z, sink, scratch});
  };
  const std::size_t num_mine = chain.mine().size();
  const TensorView d_behind = scratch.take(DType::Fp64, with_runs(num_mine, shape));
  begin_with(d_behind, d_state);
  const auto hand_out = [&] {
    if (!d_state) return;
    if (chain.mine().front() == 0) device.copy(compute, d_state.data, row_of(d_behind, 0).data, d_state.size_bytes());
    share(chain, 0, d_state);
  };
  if (rule_ == MemoryRule::DeltaCorrected) {
    for (std::size_t i = num_mine; i-- > 0;) {
      const std::size_t run = chain.mine()[i];
      const TensorView d_z = row_of(d_behind, i);
      take_over(chain, run, Direction::ToEarlierRuns, d_z);
      through_run(i, d_z, d_k);
      hand_on(chain, run, Direction::ToEarlierRuns, d_z);
      if (i > 0 && chain.mine()[i - 1] + 1 == run) {
        device.copy(compute, row_of(d_behind, i - 1).data, d_z.data, d_z.size_bytes());
      }
    }
    return hand_out();
  }
  if (chain.runs().size() > 1) {
    const TensorView sums = scratch.take(accumulator_of(tokens.k.dtype), with_runs(chain.runs().size(), shape));
    for (std::size_t i = 0; i < num_mine; ++i) {
      const TensorView d_z = take_zeros(DType::Fp64, shape);
      through_run(i, d_z, {});
      backend.convert(compute, {d_z, row_of(sums, chain.mine()[i])});
    }
    exchange(chain, sums, Direction::ToEarlierRuns).wait(compute);
    for (std::size_t i = 0; i < num_mine; ++i) {
      for (std::size_t run = chain.runs().size(); run-- > chain.mine()[i] + 1;) {
        backend.memory_fold(compute, {.state = row_of(d_behind, i),
                                      .decay = {},
                                      .added = row_of(sums, run),
                                      .is_reset = chain.runs()[run].is_reset});
      }
    }
  }
  for (std::size_t i = 0; i < num_mine; ++i) through_run(i, row_of(d_behind, i), d_k);
  hand_out();
}

// --- backward ---

CompressiveMemory::Scan CompressiveMemory::start_backward(const MemoryTokens& tokens, const MemoryBefore& before,
                                                          const MemoryRead& read, const TensorView& d_read) {
  TraceScope trace("compressive_memory.start_backward");
  const MemoryChain& chain = tokens.chain;
  Scan scan;
  scan.normalisers = normalisers_from(tokens, before.z);
  if (chain.runs().size() == 1) return scan;
  const std::int64_t G = tokens.k.shape[1], D = tokens.k.shape[2];
  scan.summaries = execution_.scratch.take(accumulator_of(tokens.k.dtype), with_runs(chain.runs().size(), {G, D, D}));
  for (std::size_t i = 0; i < chain.mine().size(); ++i) {
    Arena::Scope scope(execution_.scratch);
    const TensorView d_m = take_zeros(DType::Fp64, {G, D, D});
    backward(tokens, i, scan, before, read, d_read, d_m, {}, {}, {}, {});
    execution_.backend.convert(execution_.compute, {d_m, row_of(scan.summaries, chain.mine()[i])});
  }
  scan.summaries_arrive = exchange(chain, scan.summaries, Direction::ToEarlierRuns);
  return scan;
}

void CompressiveMemory::finish_backward(const MemoryTokens& tokens, Scan& scan, const MemoryBefore& before,
                                        const MemoryRead& read, const TensorView& d_read, const MemoryState& d_state,
                                        const TensorView& d_q, const TensorView& d_k, const TensorView& d_v) {
  TraceScope trace("compressive_memory.finish_backward");
  auto& [device, backend, compute, scratch, ring] = execution_;
  const MemoryChain& chain = tokens.chain;
  scan.summaries_arrive.wait(compute);
  Arena::Scope scope(scratch);
  std::vector<MemoryNormalisers> gradients;
  TensorView d_initial;  // of M before the span, on the rank of its first run
  for (std::size_t i = 0; i < chain.mine().size(); ++i) {
    const TensorView d_m = take_zeros(DType::Fp64, row_of(before.m, i).shape);
    if (d_state.m) device.copy(compute, d_m.data, d_state.m.data, d_m.size_bytes());
    for (std::size_t run = chain.runs().size(); run-- > chain.mine()[i] + 1;) {
      backend.memory_fold(compute, {.state = d_m,
                                    .decay = has_decays() ? row_of(before.decays, run) : TensorView{},
                                    .added = row_of(scan.summaries, run),
                                    .is_reset = chain.runs()[run].is_reset,
                                    .is_transposed = true});
    }
    gradients.push_back(take_normalisers(tokens, i));
    backward(tokens, i, scan, before, read, d_read, d_m, gradients[i], d_q, d_k, d_v);
    if (chain.mine()[i] == 0) d_initial = d_m;
  }
  if (d_state.m) {
    if (d_initial) device.copy(compute, d_state.m.data, d_initial.data, d_initial.size_bytes());
    share(chain, 0, d_state.m);
  }
  go_back_through_z(tokens, scan, gradients, d_state.z, d_k);
}

// --- operations of one run ---

void CompressiveMemory::forward(const MemoryTokens& tokens, std::size_t mine, const MemoryNormalisers& normalisers,
                                const TensorView& m, const TensorView& decay, const MemoryRead& read) {
  execution_.backend.compressive_memory_forward(execution_.compute, {.rule = rule_,
                                                                     .q = read.out ? tokens.q : TensorView{},
                                                                     .k = tokens.k,
                                                                     .v = tokens.v,
                                                                     .schedule = tokens.chain.schedules()[mine],
                                                                     .normalisers = normalisers,
                                                                     .m = m,
                                                                     .decay = decay,
                                                                     .read = read,
                                                                     .scratch = execution_.scratch});
}

void CompressiveMemory::backward(const MemoryTokens& tokens, std::size_t mine, const Scan& scan,
                                 const MemoryBefore& before, const MemoryRead& read, const TensorView& d_read,
                                 const TensorView& d_m, const MemoryNormalisers& d_normalisers, const TensorView& d_q,
                                 const TensorView& d_k, const TensorView& d_v) {
  execution_.backend.compressive_memory_backward(execution_.compute, {.rule = rule_,
                                                                      .q = tokens.q,
                                                                      .k = tokens.k,
                                                                      .v = tokens.v,
                                                                      .schedule = tokens.chain.schedules()[mine],
                                                                      .normalisers = scan.normalisers[mine],
                                                                      .m = row_of(before.m, mine),
                                                                      .read = read,
                                                                      .d_read = d_read,
                                                                      .d_m = d_m,
                                                                      .d_normalisers = d_normalisers,
                                                                      .d_q = d_q,
                                                                      .d_k = d_k,
                                                                      .d_v = d_v,
                                                                      .scratch = execution_.scratch});
}

MemoryNormalisers CompressiveMemory::take_normalisers(const MemoryTokens& tokens, std::size_t mine) {
  const Shape shape{tokens.chain.schedules()[mine].num_steps(), tokens.k.shape[1], tokens.k.shape[2]};
  return {execution_.scratch.take(DType::Fp64, shape), execution_.scratch.take(DType::Fp64, shape)};
}

TensorView CompressiveMemory::take_zeros(DType dtype, const Shape& shape) {
  const TensorView zeros = execution_.scratch.take(dtype, shape);
  execution_.device.fill_zero(execution_.compute, zeros.data, zeros.size_bytes());
  return zeros;
}

// --- between ranks ---

// Every run's row goes to each rank that has a run in the direction, in order of the runs: both ends list their messages alike.
Pending CompressiveMemory::exchange(const MemoryChain& chain, const TensorView& all, Direction direction) {
  const Ring& ring = execution_.ring;
  if (ring.size() == 1) return {};
  const std::vector<MemoryRun>& runs = chain.runs();
  const auto needs = [&](int rank, std::size_t run) {
    for (std::size_t other = 0; other < runs.size(); ++other) {
      const bool is_on_the_way = direction == Direction::ToLaterRuns     ? other > run
                                 : direction == Direction::ToEarlierRuns ? other < run
                                                                         : true;
      if (runs[other].rank == rank && is_on_the_way) return true;
    }
    return false;
  };
  std::vector<Message> sends, receives;
  for (std::size_t run = 0; run < runs.size(); ++run) {
    for (int rank = 0; rank < ring.size(); ++rank) {
      if (rank == runs[run].rank || !needs(rank, run)) continue;
      if (runs[run].rank == ring.rank()) sends.push_back({rank, row_of(all, run)});
      if (rank == ring.rank()) receives.push_back({runs[run].rank, row_of(all, run)});
    }
  }
  return ring.transport.send_recv(execution_.compute, sends, receives);
}

void CompressiveMemory::hand_on(const MemoryChain& chain, std::size_t run, Direction direction,
                                const TensorView& state) {
  const bool is_later = direction == Direction::ToLaterRuns;
  if (is_later ? run + 1 == chain.runs().size() : run == 0) return;
  const int peer = chain.runs()[is_later ? run + 1 : run - 1].rank;
  if (peer == execution_.ring.rank()) return;
  const Message message{peer, state};
  execution_.ring.transport.send_recv(execution_.compute, {&message, 1}, {}).wait(execution_.compute);
}

void CompressiveMemory::take_over(const MemoryChain& chain, std::size_t run, Direction direction,
                                  const TensorView& state) {
  const bool is_later = direction == Direction::ToLaterRuns;
  if (is_later ? run == 0 : run + 1 == chain.runs().size()) return;
  const int peer = chain.runs()[is_later ? run - 1 : run + 1].rank;
  if (peer == execution_.ring.rank()) return;
  const Message message{peer, state};
  execution_.ring.transport.send_recv(execution_.compute, {}, {&message, 1}).wait(execution_.compute);
}

}  // namespace rondo
