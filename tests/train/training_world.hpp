// SPDX-License-Identifier: Apache-2.0
// A whole training run of a tiny model inside a test: corpus, runtime and trainer on any group of ranks.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

#include "config/load.hpp"
#include "config/resolve.hpp"
#include "core/random.hpp"
#include "infer/stored_model.hpp"
#include "io/prepare_corpus.hpp"
#include "tests/support/mpi_world.hpp"
#include "train/trainer.hpp"

namespace rondo::test {

/// A folder of this test program that all ranks of a world share, removed at the end.
class SharedFolder {
 public:
  explicit SharedFolder(const Communicator& world) : world_(world) {
    const std::string name = "rondo-train-test-" + std::to_string(::getpid());
    path_ = std::filesystem::temp_directory_path() / world.broadcast(name);
    if (world.rank() == 0) std::filesystem::create_directories(path_);
    world.barrier();
  }
  ~SharedFolder() {
    world_.barrier();
    if (world_.rank() == 0) std::filesystem::remove_all(path_);
  }
  SharedFolder(const SharedFolder&) = delete;
  SharedFolder& operator=(const SharedFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  const Communicator& world_;
  std::filesystem::path path_;
};

/// Documents of a few words in random order, which are easy to learn, so that the loss falls quickly.
inline void make_corpus(const std::filesystem::path& folder) {
  const std::vector<std::string> words{"ring ", "attention ", "keys ", "values ", "go ", "round ", "the "};
  const CounterRandom random(3, stream_of("words"));
  std::vector<std::string> inputs;
  std::uint64_t drawn = 0;
  for (int document = 0; document < 9; ++document) {
    const std::filesystem::path file = folder / ("text-" + std::to_string(document) + ".txt");
    std::ofstream out(file);
    for (int word = 0; word < 60 + 150 * document; ++word) out << words[random.bits(drawn++) % words.size()];
    inputs.push_back(file.string());
  }
  prepare_corpus({.inputs = inputs, .output = (folder / "corpus.h5").string(), .validation = 0.1},
                 *make_tokenizer("bytes", 0), {});
}

/// A configuration of about 30,000 parameters; `changes` are --set overrides.
inline RunConfig tiny_config(const std::filesystem::path& corpus, int world_size,
                             const std::vector<std::string>& changes) {
  const std::string text =
      "[model]\nlayers = 2\nd_model = 24\nheads = 4\nkv_heads = 2\nhead_dim = 6\nd_ff = 40\n"
      "[data]\ncorpus = \"" +
      corpus.string() +
      "\"\nsequence_length = 97\n"
      "[train]\nsteps = 50\nlearning_rate = 3e-3\nwarmup_steps = 5\n"
      "[memory]\nffn_chunk_tokens = 16\nhead_chunk_tokens = 20\n"
      "[parallel]\ndevice = \"reference\"\nthreads = 1\n[precision]\ncompute = \"fp64\"\n"
      "[evaluate]\nsequences = 1\n[checkpoint]\nevery_minutes = 0\n";
  return resolve(load_config_text(text, "tiny", changes, world_size),
                 {.world_size = world_size, .vocabulary_size = 256});
}

/// Runtime and trainer of one group.
class TrainingWorld {
 public:
  TrainingWorld(const Communicator& group, const std::filesystem::path& folder,
                const std::filesystem::path& checkpoints, const std::vector<std::string>& changes = {})
      : config_(tiny_config(folder / "corpus.h5", group.size(), changes)),
        corpus_(config_.data.corpus),
        stop_(group),
        runtime_(group, {.device = config_.parallel.device, .ring = config_.parallel.ring, .threads = 1}),
        trainer_(runtime_, config_, corpus_, stop_, checkpoints) {
    trainer_.restore_or_initialise();
  }

  Trainer& trainer() { return trainer_; }
  Runtime& runtime() { return runtime_; }
  const RunConfig& config() const { return config_; }
  /// The losses of the next steps.
  std::vector<double> losses(int steps) {
    std::vector<double> list;
    for (int step = 0; step < steps; ++step) list.push_back(trainer_.step().loss);
    return list;
  }
  /// All parameters and moments, as bytes.
  std::string state_bytes() { return bytes_of(trainer_.state().tensors()); }
  std::string parameter_bytes() { return bytes_of(stored_weights(trainer_.parameters())); }

 private:
  static std::string bytes_of(const std::vector<NamedTensor>& tensors) {
    std::string bytes;
    for (const NamedTensor& tensor : tensors) {
      bytes.append(static_cast<const char*>(tensor.rows.data), tensor.rows.size_bytes());
    }
    return bytes;
  }

  RunConfig config_;
  TokenCorpus corpus_;
  StopSignal stop_;
  Runtime runtime_;
  Trainer trainer_;
};

}  // namespace rondo::test
