// SPDX-License-Identifier: Apache-2.0
// Whole runs on mock devices: no host code touches device memory, every copy is waited for where it must be, and the
// results are those of the host, bit by bit.
#include <gtest/gtest.h>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "infer/generator.hpp"
#include "infer/stored_model.hpp"
#include "io/checkpoint_reader.hpp"
#include "model/ring_check.hpp"
#include "tests/support/guarded_device.hpp"
#include "tests/support/guarded_module.hpp"
#include "tests/train/training_world.hpp"
#include "train/run_trace.hpp"

namespace rondo::test {
namespace {

enum class Place { Host, Gpu };

RuntimeOptions runtime_options(Place place, const RunConfig& config, int ring) {
  if (place == Place::Host) return {.device = config.parallel.device, .ring = ring, .threads = 1};
  return {.device = DeviceChoice::Cuda,
          .transport = TransportChoice::Mpi,
          .ring = ring,
          .threads = 1,
          .module = &guarded_module()};
}

/// Corpus, runtime and trainer of one group on one place.
struct Training {
  Training(const Communicator& group, Place place, const std::filesystem::path& folder,
           const std::filesystem::path& checkpoints, const std::vector<std::string>& changes)
      : config(tiny_config(folder / "corpus.h5", group.size(), changes)),
        corpus(config.data.corpus),
        stop(group),
        runtime(group, runtime_options(place, config, config.parallel.ring)),
        trainer(runtime, config, corpus, stop, checkpoints) {
    trainer.restore_or_initialise();
  }

  std::vector<double> losses(int steps) {
    std::vector<double> list;
    for (int step = 0; step < steps; ++step) {
      const StepReport report = trainer.step();
      list.insert(list.end(), {report.loss, report.gradient_norm});
    }
    return list;
  }
  std::string state_bytes() {
    std::string bytes;
    HostAccess access(runtime.execution().device, runtime.execution().compute);
    for (const NamedTensor& tensor : trainer.state().tensors()) {
      const std::byte* memory = access.read(tensor.rows.data, tensor.rows.size_bytes());
      bytes.append(reinterpret_cast<const char*>(memory), tensor.rows.size_bytes());
    }
    return bytes;
  }

  RunConfig config;
  TokenCorpus corpus;
  StopSignal stop;
  Runtime runtime;
  Trainer trainer;
};

const std::vector<std::string> kFp32{"parallel.device=cpu", "precision.compute=fp32", "data.sequence_length=41"};
const std::vector<std::string> kBf16{"parallel.device=cpu", "precision.compute=bf16", "data.sequence_length=41"};
const std::vector<std::string> kFp64{"data.sequence_length=41"};

class GuardedRun : public testing::Test {
 protected:
  void SetUp() override {
    if (world_.rank() == 0) make_corpus(folder_.path());
    world_.barrier();
  }
  std::filesystem::path nowhere() const { return folder_.path() / "nowhere"; }
  std::filesystem::path checkpoints(const std::string& name) const { return folder_.path() / name; }

  void expect_same_steps(int ranks, const std::vector<std::string>& changes) {
    with_ranks(ranks, [&](const Communicator& group) {
      Training host(group, Place::Host, folder_.path(), nowhere(), changes);
      Training gpu(group, Place::Gpu, folder_.path(), nowhere(), changes);
      EXPECT_EQ(gpu.losses(3), host.losses(3)) << ranks << " ranks";
      EXPECT_EQ(gpu.state_bytes() == host.state_bytes(), true) << ranks << " ranks";
    });
  }

  void expect_one_wait_a_step(const std::vector<std::string>& changes) {
    with_ranks(2, [&](const Communicator& group) {
      Training gpu(group, Place::Gpu, folder_.path(), nowhere(), changes);
      gpu.losses(2);
      const auto& device = dynamic_cast<GuardedDevice&>(gpu.runtime.execution().device);
      const std::uint64_t before = device.num_synchronizations();
      gpu.losses(3);
      EXPECT_EQ(device.num_synchronizations() - before, 3U);
    });
  }

  Communicator world_ = world();
  SharedFolder folder_{world_};
};

TEST_F(GuardedRun, TrainsAsOnTheHostInEveryPrecision) {
  for (const auto& changes : {kFp64, kFp32, kBf16}) {
    for (const int ranks : {1, 2, 4}) expect_same_steps(ranks, changes);
  }
}

TEST_F(GuardedRun, TrainsAsOnTheHostInTwoRingsWithRounds) {
  std::vector<std::string> changes = kFp32;
  changes.insert(changes.end(), {"parallel.ring=2", "train.batch_sequences=4"});
  expect_same_steps(4, changes);
}

std::vector<std::string> with_memory(std::vector<std::string> changes, const std::string& rule) {
  changes.insert(changes.end(), {"model.attention=infini", "model.segment_tokens=6", "model.memory_rule=" + rule});
  return changes;
}

TEST_F(GuardedRun, TrainsInfiniAttentionAsOnTheHost) {
  for (const std::string rule : {"linear", "delta", "delta_corrected"}) {
    for (const int ranks : {1, 2, 4}) expect_same_steps(ranks, with_memory(kFp32, rule));
  }
  std::vector<std::string> mixed = with_memory(kBf16, "delta");
  mixed.insert(mixed.end(), {"model.attention=[\"infini\", \"exact\"]", "model.window_segments=1"});
  expect_same_steps(2, mixed);
  expect_same_steps(3, with_memory(kFp64, "delta"));
}

TEST_F(GuardedRun, WaitsForTheDeviceOnceAStep) {
  for (std::vector<std::string> changes : {kFp32, with_memory(kFp32, "delta")}) {
    changes.push_back("train.batch_sequences=4");
    expect_one_wait_a_step(changes);
  }
}

/// Names of a track's events, in the order of their begins.
std::vector<std::string> names_of(std::vector<TraceEvent> events) {
  std::ranges::stable_sort(events, [](const TraceEvent& a, const TraceEvent& b) {
    return a.start != b.start ? a.start < b.start : a.duration_s > b.duration_s;
  });
  std::vector<std::string> names;
  for (const TraceEvent& event : events) names.emplace_back(event.name);
  return names;
}

// The guarded device counts what it did: an event's time is its place in that order, in seconds.
struct Interval {
  explicit Interval(const TraceEvent& event)
      : begin(std::chrono::duration<double>(event.start.time_since_epoch()).count()),
        end(begin + event.duration_s),
        name(event.name) {}
  bool holds(const Interval& other) const { return begin < other.begin && other.end < end; }
  double begin, end;
  std::string name;
};

std::vector<Interval> intervals_of(const TraceTrack& track) { return {track.events.begin(), track.events.end()}; }

TEST_F(GuardedRun, TracesItsStreamsWithoutAWaitOrANewEventInAStep) {
  with_ranks(2, [&](const Communicator& group) {
    Training plain(group, Place::Gpu, folder_.path(), nowhere(), kFp32);
    const std::vector<double> expected = plain.losses(4);
    EXPECT_EQ(dynamic_cast<GuardedDevice&>(plain.runtime.execution().device).num_timed_events(), 0U);

    Training gpu(group, Place::Gpu, folder_.path(), nowhere(), kFp32);
    auto& device = dynamic_cast<GuardedDevice&>(gpu.runtime.execution().device);
    keep_trace_events(true);
    DeviceTrace trace(device, gpu.runtime.streams());
    std::vector<double> losses = gpu.losses(1);
    const std::uint64_t waits = device.num_synchronizations(), events = device.num_timed_events();
    for (const double loss : gpu.losses(3)) losses.push_back(loss);
    EXPECT_EQ(device.num_synchronizations() - waits, 3U) << "one for each step, as without a trace";
    EXPECT_EQ(device.num_timed_events(), events) << "the first step's events are used again";
    std::vector<TraceEvent> on_host = take_trace_events();
    const std::vector<TraceTrack> tracks = trace.take();
    EXPECT_EQ(losses, expected);
    EXPECT_EQ(gpu.state_bytes() == plain.state_bytes(), true);

    ASSERT_EQ(tracks.size(), 3U);
    EXPECT_EQ(tracks[0].name, "GPU: compute");
    std::erase_if(on_host, [](const TraceEvent& event) { return std::string(event.name) == "communicator.wait"; });
    EXPECT_EQ(names_of(tracks[0].events), names_of(on_host));
    const std::vector<Interval> computed = intervals_of(tracks[0]);
    std::vector<Interval> open;
    for (const Interval& slice : computed) {
      while (!open.empty() && open.back().end < slice.begin) open.pop_back();
      EXPECT_TRUE(open.empty() ? slice.name == "trainer.step" : open.back().holds(slice)) << slice.name;
      open.push_back(slice);
    }
    // What the ring carries lies in the attention that asked for it, the sum of the gradients in no attention.
    for (std::size_t track = 1; track < tracks.size(); ++track) {
      const std::vector<Interval> carried = intervals_of(tracks[track]);
      EXPECT_FALSE(carried.empty());
      for (std::size_t i = 0; i < carried.size(); ++i) {
        EXPECT_LT(carried[i].begin, carried[i].end);
        EXPECT_TRUE(i == 0 || carried[i - 1].end < carried[i].begin) << "one after the other";
        const bool in_attention = std::ranges::any_of(computed, [&](const Interval& slice) {
          return slice.name.starts_with("ring_attention.") && slice.holds(carried[i]);
        });
        EXPECT_EQ(in_attention, tracks[track].name == "GPU: ring") << tracks[track].name << ", " << carried[i].name;
      }
    }
  });
}

TEST_F(GuardedRun, WritesATrackForEachStreamAndOnlyTheStepsAskedFor) {
  with_ranks(2, [&](const Communicator& group) {
    Training gpu(group, Place::Gpu, folder_.path(), nowhere(), kFp32);
    RunTrace trace(gpu.runtime, folder_.path(), 0, 2);
    for (std::int64_t step = 1; step <= 3; ++step) {
      gpu.losses(1);
      trace.at(step);
    }
    trace.write();  // finds nothing more
    std::ifstream file(folder_.path() / "trace" / ("rank-" + std::to_string(group.rank()) + ".json"));
    const auto json = nlohmann::json::parse(file)["traceEvents"];
    std::map<int, std::string> tracks;
    std::map<int, int> steps;
    for (const auto& event : json) {
      if (event["name"] == "thread_name") tracks[event["tid"]] = event["args"]["name"];
      if (event["name"] == "trainer.step") ++steps[event["tid"]];
    }
    EXPECT_EQ(tracks,
              (std::map<int, std::string>{{0, "host"}, {1, "GPU: compute"}, {2, "GPU: ring"}, {3, "GPU: reduce"}}));
    EXPECT_EQ(steps, (std::map<int, int>{{0, 2}, {1, 2}}));
  });
}

TEST_F(GuardedRun, StopsAtNumbersThatAreNone) {
  with_ranks(2, [&](const Communicator& group) {
    Training gpu(group, Place::Gpu, folder_.path(), nowhere(), kFp32);
    const Execution& e = gpu.runtime.execution();
    e.device.fill(e.compute, gpu.trainer.parameters().parameters().front().value,
                  std::numeric_limits<double>::quiet_NaN());
    try {
      gpu.trainer.step();
      FAIL() << "a step with such a weight must not be made";
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.kind(), ErrorKind::NonFinite);
      EXPECT_NE(error.message().find("layer 0"), std::string::npos) << error.message();
    }
  });
}

// What one place saves the other goes on with, with another number of ranks too; evaluations are made on the way.
TEST_F(GuardedRun, GoesOnFromTheHostsCheckpointAndTheOtherWayRound) {
  std::vector<std::string> half = kFp32;
  half.insert(half.end(), {"train.warmup_steps=0", "train.schedule=constant", "evaluate.every_steps=1"});
  std::vector<std::string> changes = half;
  half.emplace_back("train.steps=2");
  changes.emplace_back("train.steps=4");
  const auto train = [&](int ranks, Place place, const std::string& name, const std::vector<std::string>& settings) {
    std::string state;
    with_ranks(ranks, [&](const Communicator& group) {
      Training run(group, place, folder_.path(), checkpoints(name), settings);
      EXPECT_EQ(run.trainer.run(), TrainOutcome::Finished);
      state = run.state_bytes();
    });
    world_.barrier();
    return state;
  };
  if (world_.rank() == 0) {
    for (const char* name : {"host", "gpu-host", "host-gpu"}) std::filesystem::create_directories(checkpoints(name));
  }
  world_.barrier();
  const std::string expected = train(2, Place::Host, "host", changes);
  train(2, Place::Gpu, "gpu-host", half);
  train(2, Place::Host, "host-gpu", half);
  EXPECT_EQ(train(2, Place::Host, "gpu-host", changes) == expected, true);
  EXPECT_EQ(train(2, Place::Gpu, "host-gpu", changes) == expected, true);

  if (world_.rank() != 0) return;
  std::vector<std::vector<std::int32_t>> texts;
  for (const Place place : {Place::Host, Place::Gpu}) {
    const Communicator self = Communicator::self();
    const StoredModelInfo info = read_model_info(find_checkpoint(self, checkpoints("host-gpu")));
    Runtime runtime(self, runtime_options(place, info.config, 1));
    StoredModel model(runtime.execution(), self, info);
    Generator generator(runtime.execution(), model.transformer(), *info.tokenizer,
                        {.sampling = {}, .prefill_chunk_tokens = 3});
    std::vector<std::int32_t>& text = texts.emplace_back();
    const std::vector<std::int32_t> prompt{'r', 'i', 'n', 'g', ' '};
    generator.generate(prompt, 12, [&](std::int32_t token) {
      text.push_back(token);
      return true;
    });
  }
  EXPECT_EQ(texts[0], texts[1]);
}

TEST_F(GuardedRun, PassesTheSelfCheck) {
  with_ranks(4, [&](const Communicator& group) {
    Runtime ring(group, {.device = DeviceChoice::Cuda, .threads = 1, .module = &guarded_module()});
    Runtime one(Communicator::self(), {.device = DeviceChoice::Reference, .threads = 1});
    const RingCheck check{.dtype = DType::Bf16, .layout = LayoutKind::Zigzag, .heads = 4, .kv_heads = 2, .head_dim = 8};
    EXPECT_NO_THROW(check_ring(group, ring.execution(), one.execution(), check));
    EXPECT_NE(ring.description().find("MPI between GPUs"), std::string::npos) << ring.description();
    EXPECT_EQ(ring.gpu_map().size(), 1U);
  });
}

TEST_F(GuardedRun, IsWhatAutoMeansWhereEveryRankHasAGpu) {
  const RuntimeOptions options{.threads = 1, .module = &guarded_module()};
  const DeviceDecision decision = choose_device(world_, options);
  EXPECT_EQ(decision.device, DeviceChoice::Cuda);
  EXPECT_EQ(decision.reason, "auto: every rank has a GPU");
}

TEST(GuardedMemoryDeathTest, EndsAProcessThatTouchesItFromOutside) {
  if (world().rank() != 0) return;
  EXPECT_DEATH(
      {
        GuardedDevice device;
        const Buffer buffer(device, 64, MemoryUse::Workspace);
        *static_cast<volatile char*>(buffer.data()) = 1;
      },
      "host code touched device memory");
}

}  // namespace
}  // namespace rondo::test
