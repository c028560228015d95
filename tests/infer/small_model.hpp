// SPDX-License-Identifier: Apache-2.0
// A model that is small but has every part, and a corpus of a few short documents, for the tests of
// lib/infer.
#pragma once

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include "io/corpus_writer.hpp"
#include "io/token_corpus.hpp"
#include "io/tokenizers.hpp"
#include "model/transformer.hpp"

namespace rondo::test {

inline TransformerShape small_shape(std::int64_t vocabulary) {
  TransformerShape shape{};
  shape.layers = 2;
  shape.d_model = 8;
  shape.heads = 2;
  shape.kv_heads = 1;
  shape.head_dim = 4;
  shape.d_ff = 12;
  shape.vocabulary = vocabulary;
  shape.ffn_chunk_tokens = 5;
  shape.head_chunk_tokens = 3;
  return shape;
}

/// Weights large enough that every part of the model changes the logits.
struct SmallModel {
  SmallModel(Execution& execution, const TransformerShape& shape, DType compute = DType::Fp64)
      : parameters(execution, shape, compute, ParameterUse::Inference),
        transformer(execution, shape, parameters, ActivationPolicy::KeepInputs) {
    parameters.initialise(3);
    for (Parameter& parameter : parameters.parameters()) {
      for (std::int64_t i = 0; i < parameter.value.count(); ++i) {
        if (compute == DType::Fp64) {
          parameter.value.as<double>()[i] *= 15;
        } else {
          parameter.value.as<float>()[i] *= 15;
        }
      }
    }
    parameters.refresh_compute_copies();
  }

  ParameterSet parameters;
  Transformer transformer;
};

/// A corpus in a file of this process alone, removed at the end. All documents are in the validation part,
/// and the same text in the training part, which must not be empty.
class SmallCorpus {
 public:
  SmallCorpus(const Tokenizer& tokenizer, const std::vector<std::string>& documents) : path_(own_path()) {
    CorpusWriter writer(path_, tokenizer);
    for (const Split split : {Split::Train, Split::Validation}) {
      for (std::size_t d = 0; d < documents.size(); ++d) {
        const std::vector<std::int32_t> ids = tokenizer.encode(documents[d]);
        std::vector<std::byte> narrow;
        narrow_tokens(std::vector<std::uint32_t>(ids.begin(), ids.end()), writer.token_type(), narrow);
        writer.append(split, narrow);
        writer.end_document(split, "document " + std::to_string(d));
      }
    }
    writer.commit({.split_rule = "by the test", .validation_fraction = 0.5, .seed = 0});
  }
  ~SmallCorpus() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  SmallCorpus(const SmallCorpus&) = delete;
  SmallCorpus& operator=(const SmallCorpus&) = delete;

  std::string path() const { return path_.string(); }

 private:
  static std::filesystem::path own_path() {
    static int number = 0;
    return std::filesystem::temp_directory_path() /
           ("rondo_infer_test_" + std::to_string(getpid()) + "_" + std::to_string(number++) + ".h5");
  }

  std::filesystem::path path_;
};

}  // namespace rondo::test
