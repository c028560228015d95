// SPDX-License-Identifier: Apache-2.0
#include "model/compressive_memory.hpp"

#include "core/trace.hpp"

namespace rondo {

CompressiveMemory::CompressiveMemory(Execution& execution, MemoryRule rule, const MemoryTokens& tokens,
                                     const MemoryBefore& before)
    : execution_(execution),
      rule_(rule),
      tokens_(tokens),
      before_(before),
      shape_{tokens.k.shape[1], tokens.k.shape[2], tokens.k.shape[2]},
      normalisers_(execution, rule, tokens_, before.z) {}

// --- forward ---

void CompressiveMemory::start(const MemoryState& initial, const MemoryState& after) {
  TraceScope trace("compressive_memory.start");
  after_ = after;
  normalisers_.start(initial.z, after.z);
  if (has_decays(rule_)) normalisers_.finish();  // what equation (9) writes depends on z
  const ScanMap map = has_decays(rule_) ? ScanMap::Affine : ScanMap::Sum;
  scan_.emplace(execution_, tokens_.chain.scan_elements(), ScanDirection::Forward, map, shape_);
  for (std::size_t own = 0; num_rounds() > 0 && own < scan_->num_own(); ++own) {
    // equation (8), M_s = M_(s-1) + sigma(K)^T V, and equation (9), which first removes from M_(s-1) what the keys retrieve,
    // over all segments of the run: M after = (1 - decay) M before + added
    const AffineMap& of_run = scan_->map(own);
    execution_.device.fill_zero(execution_.compute, of_run.added.data, of_run.added.size_bytes());
    run_forward(own, of_run, {});
    if (of_run.decay) execution_.backend.convert(execution_.compute, {of_run.decay, row_of(before_.decays, own)});
  }
  scan_->start(initial.m);
}

// Rounds of both scans alternate on all ranks, so that any two ranks post their messages in the same order.
void CompressiveMemory::advance() {
  normalisers_.advance();
  scan_->advance();
}

void CompressiveMemory::finish(const MemoryRead& read) {
  TraceScope trace("compressive_memory.finish");
  const std::vector<MemoryRun>& runs = tokens_.chain.runs();
  while (!scan_->is_done()) advance();
  if (!has_decays(rule_)) normalisers_.finish();
  for (std::size_t own = 0; own < scan_->num_own(); ++own) {
    const TensorView &m = scan_->state(own), before = row_of(before_.m, own);
    execution_.device.copy(execution_.compute, before.data, m.data, m.size_bytes());
    // equation (7), A_mem = sigma(Q) M_(s-1) / (sigma(Q) z_(s-1)), and then (8) or (9), segment by segment
    run_forward(own, {m, {}}, read);
    const bool is_last = tokens_.chain.mine()[own] + 1 == runs.size();
    if (is_last && after_.m) execution_.device.copy(execution_.compute, after_.m.data, m.data, m.size_bytes());
  }
  if (after_.m && execution_.ring.size() > 1) {
    execution_.ring.transport.broadcast(execution_.compute, after_.m, runs.back().rank);
  }
}

void CompressiveMemory::read_again(const MemoryRead& read) {
  TraceScope trace("compressive_memory.read_again");
  Arena::Scope scope(execution_.scratch);
  normalisers_.recompute();
  for (std::size_t own = 0; own < tokens_.chain.mine().size(); ++own) {
    run_forward(own, {copy_of(row_of(before_.m, own)), {}}, read);
  }
}

// --- backward ---

void CompressiveMemory::start_backward(const MemoryRead& read, const TensorView& d_read, const MemoryState& d_state) {
  TraceScope trace("compressive_memory.start_backward");
  read_ = read;
  d_read_ = d_read;
  d_state_ = d_state;
  normalisers_.recompute();
  const ScanMap map = has_decays(rule_) ? ScanMap::Affine : ScanMap::Sum;
  scan_.emplace(execution_, tokens_.chain.scan_elements(), ScanDirection::Reverse, map, shape_);
  for (std::size_t own = 0; num_rounds() > 0 && own < scan_->num_own(); ++own) {
    // dM before = (1 - decay)^T dM after + added, where added is the gradient from the run's own reads
    const AffineMap& of_run = scan_->map(own);
    execution_.device.fill_zero(execution_.compute, of_run.added.data, of_run.added.size_bytes());
    run_backward(own, of_run.added, {}, {});
    if (of_run.decay) execution_.backend.convert(execution_.compute, {row_of(before_.decays, own), of_run.decay});
  }
  scan_->start(d_state.m);
}

void CompressiveMemory::finish_backward(const MemoryTokenGradients& gradients) {
  TraceScope trace("compressive_memory.finish_backward");
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  scan_->finish();
  std::vector<MemoryNormalisers> d_normalisers;
  for (std::size_t own = 0; own < scan_->num_own(); ++own) {
    const Shape& steps = normalisers_.of(own).z.shape;
    d_normalisers.push_back({scratch.take(DType::Fp64, steps), scratch.take(DType::Fp64, steps)});
    const TensorView& d_m = scan_->state(own);  // in: after the run; out: before it
    run_backward(own, d_m, d_normalisers.back(), gradients);
    if (d_state_.m && tokens_.chain.mine()[own] == 0) {
      device.copy(compute, d_state_.m.data, d_m.data, d_m.size_bytes());
    }
  }
  if (d_state_.m && ring.size() > 1) {
    ring.transport.broadcast(compute, d_state_.m, tokens_.chain.runs().front().rank);
  }
  normalisers_.backward(d_normalisers, d_state_.z, gradients.d_k);
}

// --- one run ---

// m.added: in, M before the run; out, M after it. Reads nothing if `read` is empty.
void CompressiveMemory::run_forward(std::size_t own, const AffineMap& m, const MemoryRead& read) {
  execution_.backend.compressive_memory_forward(execution_.compute, {.rule = rule_,
                                                                     .q = read.out ? tokens_.q : TensorView{},
                                                                     .k = tokens_.k,
                                                                     .v = tokens_.v,
                                                                     .schedule = tokens_.chain.schedules()[own],
                                                                     .normalisers = normalisers_.of(own),
                                                                     .m = m.added,
                                                                     .decay = m.decay,
                                                                     .read = read,
                                                                     .scratch = execution_.scratch});
}

// d_m: in, the gradient of M after the run; out, of M before it. With empty `gradients` it is all that is computed.
void CompressiveMemory::run_backward(std::size_t own, const TensorView& d_m, const MemoryNormalisers& d_normalisers,
                                     const MemoryTokenGradients& gradients) {
  execution_.backend.compressive_memory_backward(execution_.compute, {.rule = rule_,
                                                                      .q = tokens_.q,
                                                                      .k = tokens_.k,
                                                                      .v = tokens_.v,
                                                                      .schedule = tokens_.chain.schedules()[own],
                                                                      .normalisers = normalisers_.of(own),
                                                                      .m = row_of(before_.m, own),
                                                                      .read = read_,
                                                                      .d_read = d_read_,
                                                                      .d_m = d_m,
                                                                      .d_normalisers = d_normalisers,
                                                                      .d_q = gradients.d_q,
                                                                      .d_k = gradients.d_k,
                                                                      .d_v = gradients.d_v,
                                                                      .scratch = execution_.scratch});
}

TensorView CompressiveMemory::copy_of(const TensorView& state) {
  const TensorView copy = execution_.scratch.take(state.dtype, state.shape);
  execution_.device.copy(execution_.compute, copy.data, state.data, state.size_bytes());
  return copy;
}

}  // namespace rondo
