// SPDX-License-Identifier: Apache-2.0
#include "model/normaliser_scan.hpp"

namespace rondo {

TensorView row_of(const TensorView& all, std::size_t own) {
  const TensorView row = all.rows(static_cast<std::int64_t>(own), 1);
  if (all.shape.rank() == 4) return row.reshaped({all.shape[1], all.shape[2], all.shape[3]});
  return row.reshaped({all.shape[1], all.shape[2]});
}

NormaliserScan::NormaliserScan(Execution& execution, MemoryRule rule, const MemoryTokens& tokens,
                               const TensorView& before)
    : execution_(execution),
      rule_(rule),
      tokens_(tokens),
      shape_{tokens.k.shape[1], tokens.k.shape[2]},
      before_(before) {
  for (const MemorySchedule& schedule : tokens.chain.schedules()) {
    const Shape steps{schedule.num_steps(), shape_[0], shape_[1]};
    normalisers_.push_back({execution.scratch.take(DType::Fp64, steps), execution.scratch.take(DType::Fp64, steps)});
  }
}

// --- forward ---

void NormaliserScan::start(const TensorView& initial, const TensorView& after) {
  after_ = after;
  if (rule_ == MemoryRule::DeltaCorrected) return run_in_turn(initial);
  scan_.emplace(execution_, tokens_.chain.scan_elements(), ScanDirection::Forward, ScanMap::Sum, shape_);
  for (std::size_t own = 0; scan_->num_rounds() > 0 && own < normalisers_.size(); ++own) {
    // z += sum_t sigma(k_t) (equation 8), from 0
    const TensorView& added = scan_->map(own).added;
    execution_.device.fill_zero(execution_.compute, added.data, added.size_bytes());
    run(own, added);
  }
  scan_->start(initial);
}

void NormaliserScan::advance() {
  if (scan_) scan_->advance();
}

void NormaliserScan::finish() {
  if (scan_) {
    scan_->finish();
    for (std::size_t own = 0; own < normalisers_.size(); ++own) {
      const TensorView &z = scan_->state(own), to = row_of(before_, own);
      execution_.device.copy(execution_.compute, to.data, z.data, z.size_bytes());
    }
    recompute();
  }
  const std::vector<MemoryRun>& runs = tokens_.chain.runs();
  if (after_ && execution_.ring.size() > 1) {
    execution_.ring.transport.broadcast(execution_.compute, after_, runs.back().rank);
  }
}

void NormaliserScan::recompute() {
  Arena::Scope scope(execution_.scratch);
  for (std::size_t own = 0; own < normalisers_.size(); ++own) {
    const TensorView z = execution_.scratch.take(DType::Fp64, shape_), from = row_of(before_, own);
    execution_.device.copy(execution_.compute, z.data, from.data, z.size_bytes());
    run(own, z);
    const bool is_last = tokens_.chain.mine()[own] + 1 == tokens_.chain.runs().size();
    if (is_last && after_) execution_.device.copy(execution_.compute, after_.data, z.data, z.size_bytes());
  }
}

// The growth of z depends on z, so the owners of the runs compute it one run after the other.
void NormaliserScan::run_in_turn(const TensorView& initial) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  Arena::Scope scope(scratch);
  TensorView z;
  for (std::size_t own = 0; own < normalisers_.size(); ++own) {
    const std::size_t index = tokens_.chain.mine()[own];
    const TensorView before = row_of(before_, own);
    const TensorView& known = index == 0 ? initial : z;  // z after the previous run, if this rank owns that too
    if (known) {
      device.copy(compute, before.data, known.data, known.size_bytes());
    } else {
      device.fill_zero(compute, before.data, before.size_bytes());
    }
    receive_from_previous(own, ScanDirection::Forward, before);
    z = scratch.take(DType::Fp64, shape_);
    device.copy(compute, z.data, before.data, before.size_bytes());
    run(own, z);
    send_to_next(own, ScanDirection::Forward, z);
    if (after_ && index + 1 == tokens_.chain.runs().size()) {
      device.copy(compute, after_.data, z.data, z.size_bytes());
    }
  }
}

// z: in, before the run; out, after it.
void NormaliserScan::run(std::size_t own, const TensorView& z) {
  execution_.backend.memory_normaliser_forward(
      execution_.compute, {rule_, tokens_.k, tokens_.chain.schedules()[own], z, normalisers_[own], execution_.scratch});
}

// --- backward ---

void NormaliserScan::backward(const std::vector<MemoryNormalisers>& d_normalisers, const TensorView& d_z,
                              const TensorView& d_k) {
  Arena::Scope scope(execution_.scratch);
  d_normalisers_ = &d_normalisers;
  d_k_ = d_k;
  rule_ == MemoryRule::DeltaCorrected ? backward_in_turn(d_z) : backward_of_sums(d_z);
  if (d_z && execution_.ring.size() > 1) {
    execution_.ring.transport.broadcast(execution_.compute, d_z, tokens_.chain.runs().front().rank);
  }
}

void NormaliserScan::backward_of_sums(const TensorView& d_z) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  ExclusiveScan scan(execution_, tokens_.chain.scan_elements(), ScanDirection::Reverse, ScanMap::Sum, shape_);
  for (std::size_t own = 0; scan.num_rounds() > 0 && own < normalisers_.size(); ++own) {
    const TensorView& added = scan.map(own).added;
    device.fill_zero(compute, added.data, added.size_bytes());
    run_backward(own, added, {});
  }
  scan.start(d_z);
  scan.finish();
  for (std::size_t own = 0; own < normalisers_.size(); ++own) {
    const TensorView& d_before = scan.state(own);
    run_backward(own, d_before, d_k_);
    if (d_z && tokens_.chain.mine()[own] == 0) device.copy(compute, d_z.data, d_before.data, d_before.size_bytes());
  }
}

void NormaliserScan::backward_in_turn(const TensorView& d_z) {
  auto& [device, backend, compute, scratch, ring] = execution_;
  const std::size_t num_runs = tokens_.chain.runs().size();
  const TensorView d_run = take_zeros(shape_);
  for (std::size_t own = normalisers_.size(); own-- > 0;) {
    const std::size_t index = tokens_.chain.mine()[own];
    if (index + 1 == num_runs && d_z) device.copy(compute, d_run.data, d_z.data, d_z.size_bytes());
    receive_from_previous(own, ScanDirection::Reverse,
                          d_run);  // if this rank owns the next run too, d_run holds it already
    run_backward(own, d_run, d_k_);
    send_to_next(own, ScanDirection::Reverse, d_run);
    if (index == 0 && d_z) device.copy(compute, d_z.data, d_run.data, d_run.size_bytes());
  }
}

// d_z: in, the gradient of z after the run; out, of z before it.
void NormaliserScan::run_backward(std::size_t own, const TensorView& d_z, const TensorView& d_k) {
  execution_.backend.memory_normaliser_backward(
      execution_.compute, {rule_, tokens_.k, tokens_.chain.schedules()[own], normalisers_[own], (*d_normalisers_)[own],
                           d_z, d_k, execution_.scratch});
}

// --- from run to run ---

void NormaliserScan::send_to_next(std::size_t own, ScanDirection direction, const TensorView& state) {
  const std::vector<MemoryRun>& runs = tokens_.chain.runs();
  const std::size_t index = tokens_.chain.mine()[own];
  const bool is_forward = direction == ScanDirection::Forward;
  if (is_forward ? index + 1 == runs.size() : index == 0) return;
  const Message message{runs[is_forward ? index + 1 : index - 1].rank, state};
  if (message.peer == execution_.ring.rank()) return;
  execution_.ring.transport.send_recv(execution_.compute, {&message, 1}, {}).wait(execution_.compute);
}

void NormaliserScan::receive_from_previous(std::size_t own, ScanDirection direction, const TensorView& state) {
  const std::vector<MemoryRun>& runs = tokens_.chain.runs();
  const std::size_t index = tokens_.chain.mine()[own];
  const bool is_forward = direction == ScanDirection::Forward;
  if (is_forward ? index == 0 : index + 1 == runs.size()) return;
  const Message message{runs[is_forward ? index - 1 : index + 1].rank, state};
  if (message.peer == execution_.ring.rank()) return;
  execution_.ring.transport.send_recv(execution_.compute, {}, {&message, 1}).wait(execution_.compute);
}

TensorView NormaliserScan::take_zeros(const Shape& shape) {
  const TensorView zeros = execution_.scratch.take(DType::Fp64, shape);
  execution_.device.fill_zero(execution_.compute, zeros.data, zeros.size_bytes());
  return zeros;
}

}  // namespace rondo
