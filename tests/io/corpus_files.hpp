// SPDX-License-Identifier: Apache-2.0
// A folder of input files that goes away with the test, corpora made from them, and the text of the errors
// they cause.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <string>
#include <unistd.h>
#include <vector>

#include "core/error.hpp"
#include "io/corpus_writer.hpp"
#include "io/prepare_corpus.hpp"
#include "io/token_corpus.hpp"

namespace rondo::test {

class CorpusFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "rondo-corpus-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::string write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return path(name);
  }
  std::string read(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  /// Prepares `inputs` with `tokenizer` into corpus.h5.
  PrepareResult prepare(const std::vector<std::string>& inputs, const std::string& tokenizer, double validation,
                        std::optional<InputFormat> format = std::nullopt) const {
    const auto made = make_tokenizer(tokenizer, tokenizer == "ids" ? vocabulary_ : 0);
    return prepare_corpus(
        {.inputs = inputs, .output = path("corpus.h5"), .format = format, .validation = validation, .seed = 7}, *made,
        {});
  }
  /// JSON lines of these documents.
  std::string documents(const std::vector<std::string>& texts) const {
    std::string lines;
    for (const std::string& text : texts) lines += "{\"text\": \"" + text + "\"}\n";
    return write("documents.jsonl", lines);
  }

  /// Writes corpus.h5 with training documents of these lengths: their tokens count up through the whole stream, so a token
  /// tells its position. Of each document the tokens in its ranges, {first, count}, are targets.
  struct MarkedDocument {
    std::int64_t length;
    std::vector<std::pair<std::int64_t, std::int64_t>> targets;
  };
  void write_marked(const std::vector<MarkedDocument>& documents) const {
    CorpusWriter writer(path("corpus.h5"), *make_tokenizer("ids", 1000), TargetRecord::Ranges);
    std::uint32_t next = 0;
    for (const MarkedDocument& document : documents) {
      std::vector<std::uint32_t> tokens;
      for (std::int64_t i = 0; i < document.length; ++i) tokens.push_back(next++);
      std::vector<std::byte> narrow;
      narrow_tokens(tokens, writer.token_type(), narrow);
      writer.append(Split::Train, narrow);
      for (const auto& [first, count] : document.targets) writer.add_targets(Split::Train, first, count);
      writer.end_document(Split::Train, "document");
    }
    writer.commit({.split_rule = "by the test", .validation_fraction = 0, .seed = 0});
  }

  /// What an action complains about; "accepted" when it does not.
  template <typename Action> static std::string complaint(Action action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }

  static std::vector<std::int32_t> all_tokens(const TokenCorpus& corpus, Split split) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(corpus.num_tokens(split)));
    corpus.read_tokens(split, 0, tokens);
    return tokens;
  }
  static std::string all_text(const TokenCorpus& corpus, Split split) {
    return corpus.tokenizer().decode(all_tokens(corpus, split));
  }
  std::vector<std::string> files_left() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  std::filesystem::path folder_;
  std::int64_t vocabulary_ = 0;
};

}  // namespace rondo::test
