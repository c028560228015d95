// SPDX-License-Identifier: Apache-2.0
#include "tests/support/guarded_device.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <execinfo.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "kernels/cpu/backend.hpp"
#include "kernels/reference/backend.hpp"

namespace rondo::test {

namespace {

constexpr std::size_t kGuardedAlignment = 256;

// Bounds of the newest region, which are enough to tell such a fault from any other.
const std::byte* guarded_first = nullptr;
std::size_t guarded_bytes = 0;

void say_where(int, siginfo_t* info, void*) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  if (address >= guarded_first && address < guarded_first + guarded_bytes) {
    constexpr char kText[] = "\nhost code touched device memory, called from:\n";
    static_cast<void>(!write(STDERR_FILENO, kText, sizeof(kText) - 1));
    std::array<void*, 32> frames{};
    backtrace_symbols_fd(frames.data(), backtrace(frames.data(), static_cast<int>(frames.size())), STDERR_FILENO);
  }
  std::signal(SIGSEGV, SIG_DFL);  // the access is repeated and ends the process
}

void report_faults() {
  struct sigaction action {};
  action.sa_sigaction = say_where;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
}

/// Marks of one event; work enqueued on a stream may outlive the event.
struct Marks {
  std::uint64_t recorded = 0, done = 0;
  std::uint64_t order = 0;  // rank among all completed events
  GuardedStream* stream = nullptr;
};

struct GuardedEvent final : Event {
  std::shared_ptr<Marks> marks = std::make_shared<Marks>();
};

GuardedStream& guarded(Stream& stream) { return dynamic_cast<GuardedStream&>(stream); }
Marks& marks_of(Event& event) { return *dynamic_cast<GuardedEvent&>(event).marks; }

}  // namespace

GuardedMemory::GuardedMemory(std::size_t bytes) : bytes_(bytes) {
  void* region = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ensure(region != MAP_FAILED, "addresses for the guarded memory");
  first_ = static_cast<std::byte*>(region);
  guarded_first = first_;
  guarded_bytes = bytes;
  report_faults();
}

GuardedMemory::~GuardedMemory() { munmap(first_, bytes_); }

void* GuardedMemory::allocate(std::size_t bytes) {
  const std::size_t rounded =
      (std::max<std::size_t>(bytes, 1) + kGuardedAlignment - 1) / kGuardedAlignment * kGuardedAlignment;
  const Open open(*this);
  void* memory = nullptr;
  if (const auto reused = free_.find(rounded); reused != free_.end()) {
    memory = reused->second;
    free_.erase(reused);
  } else {
    if (used_bytes_ + rounded > bytes_) throw DeviceError("the guarded memory is full");
    memory = first_ + used_bytes_;
    used_bytes_ += rounded;
    protect(true);
  }
  sizes_[memory] = rounded;
  std::memset(memory, 0xff, rounded);
  return memory;
}

void GuardedMemory::free(void* memory) {
  const std::size_t bytes = sizes_.at(memory);
  if (static_cast<std::byte*>(memory) + bytes == first_ + used_bytes_) {
    used_bytes_ -= bytes;
  } else {
    free_.emplace(bytes, memory);
  }
}

bool GuardedMemory::holds(const void* address) const { return address >= first_ && address < first_ + bytes_; }

void GuardedMemory::protect(bool is_open) const {
  if (used_bytes_ == 0) return;
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t length = std::min(bytes_, (used_bytes_ + page - 1) / page * page);
  ensure(mprotect(first_, length, is_open ? PROT_READ | PROT_WRITE : PROT_NONE) == 0, "the guard of the memory turns");
}

bool GuardedStream::step() {
  if (queue_.empty()) return false;
  const std::function<void()> work = std::move(queue_.front());
  queue_.pop_front();
  work();
  return true;
}

namespace {
GuardedDevice* current_device = nullptr;
}  // namespace

GuardedDevice::GuardedDevice(std::size_t memory_bytes) : memory_(memory_bytes) { current_device = this; }
GuardedDevice& GuardedDevice::current() { return *current_device; }

void* GuardedDevice::allocate(std::size_t bytes) {
  if (num_operations_ >= full_after_) throw DeviceError("the guarded memory is taken by others");
  return memory_.allocate(bytes);
}

// Like cudaFree, waits for the work in flight.
void GuardedDevice::free(void* memory) noexcept {
  for (GuardedStream* stream : streams_) stream->drain();
  memory_.free(memory);
}

void* GuardedDevice::allocate_pinned(std::size_t bytes) {
  void* memory = host_.allocate(bytes);
  std::memset(memory, 0xff, bytes);
  pinned_[static_cast<const std::byte*>(memory)] = bytes;
  return memory;
}

void GuardedDevice::free_pinned(void* memory) noexcept {
  pinned_.erase(static_cast<const std::byte*>(memory));
  host_.free(memory);
}

bool GuardedDevice::is_pinned(const void* address) const {
  const auto* byte = static_cast<const std::byte*>(address);
  const auto after = pinned_.upper_bound(byte);
  return after != pinned_.begin() && byte < std::prev(after)->first + std::prev(after)->second;
}

void GuardedDevice::copy(Stream& stream, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0 || to == from) return;
  const auto is_late = [this](const void* memory) { return memory_.holds(memory) || is_pinned(memory); };
  if (!is_late(to)) {  // pageable host memory is written when the call returns
    guarded(stream).drain();
    const GuardedMemory::Open open(memory_);
    std::memcpy(to, from, bytes);
    return;
  }
  std::vector<std::byte> kept;  // pageable host memory is read before the call returns
  if (!is_late(from)) {
    const auto* first = static_cast<const std::byte*>(from);
    kept.assign(first, first + bytes);
  }
  guarded(stream).push([this, to, from, bytes, kept = std::move(kept)] {
    const GuardedMemory::Open open(memory_);
    std::memcpy(to, kept.empty() ? from : kept.data(), bytes);
  });
}

void GuardedDevice::fill_zero(Stream& stream, void* to, std::size_t bytes) {
  if (bytes == 0) return;
  ensure(memory_.holds(to), "what is filled is memory of the device");
  guarded(stream).push([this, to, bytes] {
    const GuardedMemory::Open open(memory_);
    std::memset(to, 0, bytes);
  });
}

void GuardedDevice::fill(Stream& stream, const TensorView& to, double value) {
  ensure(memory_.holds(to.data), "what is filled is memory of the device");
  guarded(stream).push([this, &stream, to, value] {
    const GuardedMemory::Open open(memory_);
    host_.fill(stream, to, value);
  });
}

std::unique_ptr<Stream> GuardedDevice::make_stream(StreamRole role) {
  return std::make_unique<GuardedStream>(role, streams_);
}
std::unique_ptr<Event> GuardedDevice::make_event() { return std::make_unique<GuardedEvent>(); }

void GuardedDevice::record(Event& event, Stream& stream) {
  const std::shared_ptr<Marks> marks = dynamic_cast<GuardedEvent&>(event).marks;
  marks->stream = &guarded(stream);
  guarded(stream).push([marks, mark = ++marks->recorded] {
    static std::uint64_t num_done = 0;
    marks->done = std::max(marks->done, mark);
    marks->order = ++num_done;
  });
}

void GuardedDevice::wait(Stream& stream, Event& event) {
  const std::shared_ptr<Marks> marks = dynamic_cast<GuardedEvent&>(event).marks;
  guarded(stream).push([marks, mark = marks->recorded, source = marks->stream] {
    while (marks->done < mark) ensure(source->step(), "the event was recorded in the stream");
  });
}

double GuardedDevice::seconds_between(Event& from, Event& to) {
  return static_cast<double>(marks_of(to).order) - static_cast<double>(marks_of(from).order);
}

// A query takes time, in which the stream performs one piece of its work.
bool GuardedDevice::is_done(Event& event) {
  const Marks& marks = marks_of(event);
  if (marks.done < marks.recorded) marks.stream->step();
  return marks.done >= marks.recorded;
}

void GuardedDevice::synchronize(Stream& stream) {
  ++num_synchronizations_;
  while (guarded(stream).step()) stream.progress();
}

namespace {

class GuardedBackend final : public Backend {
 public:
  GuardedBackend(GuardedDevice& device, const BackendOptions& options)
      : device_(device),
        options_(options),
        reference_(make_reference_backend(host_)),
        cpu_(make_cpu_backend(host_, {.threads = 1})) {}
  std::string name() const override { return "guarded " + cpu_->name(); }
  std::vector<std::string> attention_kernels(const BlockAttentionForwardArgs& a) override {
    check(a);
    if (options_.attention_kernel == AttentionKernel::Cudnn && a.mask.document_offsets != nullptr) {
      throw ConfigError("the tests' cuDNN knows no documents", "parallel.attention_kernel");
    }
    return {options_.attention_kernel == AttentionKernel::Fused ? "attention by fused: it is asked for"
                                                                : "attention by cudnn: the tests prefer it"};
  }

  void matmul(Stream& s, const MatmulArgs& a) override {
    run(s, {a.a, a.b, a.c}, [&](Backend& backend) { backend.matmul(s, a); });
  }
  void rms_norm_forward(Stream& s, const RmsNormForwardArgs& a) override {
    run(s, {a.x, a.weight, a.y}, [&](Backend& backend) { backend.rms_norm_forward(s, a); });
  }
  void rms_norm_backward(Stream& s, const RmsNormBackwardArgs& a) override {
    run(s, {a.x, a.d_y, a.weight, a.d_x, a.d_weight}, [&](Backend& backend) { backend.rms_norm_backward(s, a); });
  }
  void embedding_forward(Stream& s, const EmbeddingForwardArgs& a) override {
    run(s, {a.table, a.tokens, a.out}, [&](Backend& backend) { backend.embedding_forward(s, a); });
  }
  void embedding_backward(Stream& s, const EmbeddingBackwardArgs& a) override {
    run(s, {a.d_table, a.tokens, a.d_out}, [&](Backend& backend) { backend.embedding_backward(s, a); });
  }
  void qkv_split_forward(Stream& s, const QkvSplitForwardArgs& a) override {
    run(s, {a.qkv, a.q, a.k, a.v}, [&](Backend& backend) { backend.qkv_split_forward(s, a); });
  }
  void qkv_split_backward(Stream& s, const QkvSplitBackwardArgs& a) override {
    run(s, {a.d_q, a.d_k, a.d_v, a.d_qkv}, [&](Backend& backend) { backend.qkv_split_backward(s, a); });
  }
  void block_attention_forward(Stream& s, const BlockAttentionForwardArgs& a) override {
    run(s, {a.q, a.k, a.v, a.carry.out, a.carry.lse}, [&](Backend& backend) { backend.block_attention_forward(s, a); });
  }
  void block_attention_backward(Stream& s, const BlockAttentionBackwardArgs& a) override {
    run(s, {a.q, a.k, a.v, a.d_out, a.lse, a.delta, a.d_q, a.d_k, a.d_v, a.out},
        [&](Backend& backend) { backend.block_attention_backward(s, a); });
  }
  void attention_delta(Stream& s, const AttentionDeltaArgs& a) override {
    run(s, {a.out, a.d_out, a.delta}, [&](Backend& backend) { backend.attention_delta(s, a); });
  }
  void memory_normaliser_forward(Stream& s, const MemoryNormaliserForwardArgs& a) override {
    run(s, {a.k, a.z, a.normalisers.z, a.normalisers.segment},
        [&](Backend& backend) { backend.memory_normaliser_forward(s, a); });
  }
  void memory_normaliser_backward(Stream& s, const MemoryNormaliserBackwardArgs& a) override {
    run(s, {a.k, a.normalisers.z, a.normalisers.segment, a.d_normalisers.z, a.d_normalisers.segment, a.d_z, a.d_k},
        [&](Backend& backend) { backend.memory_normaliser_backward(s, a); });
  }
  void compressive_memory_forward(Stream& s, const CompressiveMemoryForwardArgs& a) override {
    run(s, {a.k, a.v, a.q, a.normalisers.z, a.normalisers.segment, a.m, a.decay, a.read.out, a.read.normaliser},
        [&](Backend& backend) { backend.compressive_memory_forward(s, a); });
  }
  void compressive_memory_backward(Stream& s, const CompressiveMemoryBackwardArgs& a) override {
    run(s,
        {a.k, a.v, a.q, a.normalisers.z, a.normalisers.segment, a.m, a.read.out, a.read.normaliser, a.d_read, a.d_m,
         a.d_normalisers.z, a.d_normalisers.segment, a.d_q, a.d_k, a.d_v},
        [&](Backend& backend) { backend.compressive_memory_backward(s, a); });
  }
  void memory_fold(Stream& s, const MemoryFoldArgs& a) override {
    run(s, {a.added, a.state, a.decay}, [&](Backend& backend) { backend.memory_fold(s, a); });
  }
  void memory_gate_forward(Stream& s, const MemoryGateForwardArgs& a) override {
    run(s, {a.local, a.read.out, a.read.normaliser, a.gate, a.out},
        [&](Backend& backend) { backend.memory_gate_forward(s, a); });
  }
  void memory_gate_backward(Stream& s, const MemoryGateBackwardArgs& a) override {
    run(s, {a.local, a.read.out, a.read.normaliser, a.gate, a.d_out, a.d_local, a.d_read, a.d_gate},
        [&](Backend& backend) { backend.memory_gate_backward(s, a); });
  }
  void swiglu_forward(Stream& s, const SwigluForwardArgs& a) override {
    run(s, {a.gate_up, a.a}, [&](Backend& backend) { backend.swiglu_forward(s, a); });
  }
  void swiglu_backward(Stream& s, const SwigluBackwardArgs& a) override {
    run(s, {a.gate_up, a.d_a, a.d_gate_up}, [&](Backend& backend) { backend.swiglu_backward(s, a); });
  }
  void cross_entropy(Stream& s, const CrossEntropyArgs& a) override {
    run(s, {a.logits, a.targets, a.losses, a.d_logits}, [&](Backend& backend) { backend.cross_entropy(s, a); });
  }
  void convert(Stream& s, const ConvertArgs& a) override {
    run(s, {a.from, a.to}, [&](Backend& backend) { backend.convert(s, a); });
  }
  void add(Stream& s, const AddArgs& a) override {
    run(s, {a.from, a.to}, [&](Backend& backend) { backend.add(s, a); });
  }
  void sum(Stream& s, const SumArgs& a) override {
    run(s, {a.x, {a.result, DType::Fp64, {1}}}, [&](Backend& backend) { backend.sum(s, a); });
  }
  void adamw(Stream& s, const AdamWArgs& a) override {
    run(s, {a.value, a.moment_1, a.moment_2, a.gradient, a.compute_copy},
        [&](Backend& backend) { backend.adamw(s, a); });
  }

 private:
  /// @param tensors all that the operation reads or writes; the first has its type
  void run(Stream& stream, const std::vector<TensorView>& tensors, const std::function<void(Backend&)>& operation) {
    for (const TensorView& tensor : tensors) {
      ensure(!tensor || device_.guarded_memory().holds(tensor.data), "operations work on memory of the device");
    }
    guarded(stream).drain();
    device_.count_operation();
    const GuardedMemory::Open open(device_.guarded_memory());
    operation(tensors.front().dtype == DType::Fp64 ? *reference_ : *cpu_);
  }

  GuardedDevice& device_;
  BackendOptions options_;
  CpuDevice host_;
  std::unique_ptr<Backend> reference_, cpu_;
};

}  // namespace

std::unique_ptr<Backend> make_guarded_backend(Device& device, const BackendOptions& options) {
  return std::make_unique<GuardedBackend>(dynamic_cast<GuardedDevice&>(device), options);
}

}  // namespace rondo::test
