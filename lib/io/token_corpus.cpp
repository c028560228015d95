// SPDX-License-Identifier: Apache-2.0
#include "io/token_corpus.hpp"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/error.hpp"
#include "io/atomic_file.hpp"

namespace rondo {

namespace {

constexpr std::int64_t kTokensPerRead = 8 * 1024;  // 8 to 32 KiB of buffer, whatever the element type

constexpr const char* kMakeOne = "make a corpus with `rondo prepare INPUT --output corpus.h5 --tokenizer bytes`";

bool is_marked_as_corpus(const Hdf5File& file) {
  return file.has_attribute("/", "format") && file.read_text_attribute("/", "format") == kCorpusFormat;
}

Hdf5File open_corpus_file(const std::string& path) {
  if (path.ends_with(kPartialSuffix)) {
    throw DataError("is an unfinished corpus", path, "prepare it again: rondo prepare");
  }
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) throw DataError("there is no such corpus", path, kMakeOne);
  Hdf5File file = Hdf5File::open(path, {.advice = kMakeOne});
  if (!is_marked_as_corpus(file)) throw DataError("is no corpus of Rondo", path, kMakeOne);
  const auto version = file.read_integer_attribute("/", "format_version");
  if (version < kCorpusVersionWithoutTargets || version > kCorpusVersion) {
    throw DataError("is a corpus of version " + std::to_string(version) + "; this program reads versions " +
                        std::to_string(kCorpusVersionWithoutTargets) + " to " + std::to_string(kCorpusVersion),
                    path, "use the program that made it, or prepare it again with this one");
  }
  return file;
}

/// Throws DataError when offsets do not cut `length` into non-empty pieces.
void check_offsets(const std::vector<std::int64_t>& offsets, std::int64_t length, const std::string& where) {
  if (offsets.empty() || offsets.front() != 0) throw DataError("the first offset is not 0", where);
  const auto wrong = std::adjacent_find(offsets.begin(), offsets.end(), std::greater_equal<>());
  if (wrong != offsets.end()) {
    throw DataError("offset " + std::to_string(wrong - offsets.begin() + 1) + " is not above the one before it", where);
  }
  if (offsets.back() != length) {
    throw DataError(
        "the last offset is " + std::to_string(offsets.back()) + ", but there are " + std::to_string(length), where);
  }
}

/// Widens `from` to int32. @returns false when an id is not below the vocabulary's size
template <typename Narrow> bool widen(const std::byte* from, std::span<std::int32_t> to, std::int64_t vocabulary_size) {
  const auto* ids = reinterpret_cast<const Narrow*>(from);
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < to.size(); ++i) {
    largest = std::max<std::uint32_t>(largest, ids[i]);
    to[i] = static_cast<std::int32_t>(ids[i]);
  }
  return static_cast<std::int64_t>(largest) < vocabulary_size;
}

}  // namespace

OutputKind corpus_kind() { return hdf5_kind("a corpus of Rondo", std::string(kCorpusFormat)); }

TokenCorpus::TokenCorpus(const std::string& path)
    : path_(path),
      file_(open_corpus_file(path)),
      tokenizer_digest_(file_.read_text_attribute("/", "tokenizer_digest")),
      tokenizer_(tokenizer_from_json(read_tokenizer(), path + ":tokenizer")),
      split_rule_(file_.read_text_attribute("/", "split_rule")),
      task_(file_.has("task") ? file_.read_text("task") : ""),
      parts_{open_part(Split::Train), open_part(Split::Validation)},
      buffer_(static_cast<std::size_t>(kTokensPerRead) * sizeof(std::uint32_t)) {
  if (const auto recorded = file_.read_integer_attribute("/", "vocabulary_size"); recorded != vocabulary_size()) {
    throw DataError(
        "the tokenizer has " + std::to_string(vocabulary_size()) + " ids, the corpus says " + std::to_string(recorded),
        path);
  }
  if (num_tokens(Split::Train) == 0) throw DataError("there are no tokens to train on", path);
}

std::string TokenCorpus::read_tokenizer() {
  std::string json = file_.read_text("tokenizer");
  const std::string digest = tokenizer_from_json(json, path_ + ":tokenizer")->digest();
  if (digest != tokenizer_digest_) {
    throw DataError("the tokenizer has digest " + digest + ", recorded is " + tokenizer_digest_, path_ + ":tokenizer");
  }
  return json;
}

TokenCorpus::Part TokenCorpus::open_part(Split split) const {
  Part part{file_.open_dataset(dataset_name(split, "tokens")),
            {},
            file_.read_text_attribute(std::string(name_of(split)), "tokens_digest")};
  const Hdf5Dataset documents = file_.open_dataset(dataset_name(split, "documents"));
  const Hdf5Dataset names = file_.open_dataset(dataset_name(split, "name_offsets"));
  if (part.tokens.extents().size() != 1 || part.tokens.type() != token_type_of(vocabulary_size())) {
    throw DataError("must be one-dimensional and of type " + std::string(name_of(token_type_of(vocabulary_size()))),
                    part.tokens.where());
  }
  for (const Hdf5Dataset* offsets : {&documents, &names}) {
    if (offsets->extents().size() != 1 || offsets->type() != Hdf5Type::Int64) {
      throw DataError("must be one-dimensional and of type int64", offsets->where());
    }
  }
  part.offsets = documents.read_all<std::int64_t>();
  check_offsets(part.offsets, part.tokens.num_rows(), documents.where());
  if (names.num_rows() != documents.num_rows()) {
    throw DataError("there must be one name for each document", names.where());
  }
  if (file_.has(dataset_name(split, "target_ranges"))) read_targets(split, part);
  return part;
}

void TokenCorpus::read_targets(Split split, Part& part) const {
  const Hdf5Dataset dataset = file_.open_dataset(dataset_name(split, "target_ranges"));
  if (dataset.extents().size() != 1 || dataset.type() != Hdf5Type::Int64 || dataset.num_rows() % 2 != 0) {
    throw DataError("must be one-dimensional, of type int64, and a first and an end for each range", dataset.where());
  }
  const std::vector<std::int64_t> bounds = dataset.read_all<std::int64_t>();
  part.records_targets = true;
  part.target_ranges.reserve(bounds.size() / 2);
  std::int64_t end = -1;
  for (std::size_t i = 0; i < bounds.size(); i += 2) {
    const TargetRange range{bounds[i], bounds[i + 1]};
    if (range.first <= end || range.end <= range.first || range.first < 0 || range.end > part.offsets.back()) {
      throw DataError("range " + std::to_string(i / 2) + ", tokens " + std::to_string(range.first) + " to " +
                          std::to_string(range.end) + ", is empty, not behind the one before it, or not in the split",
                      dataset.where());
    }
    part.target_ranges.push_back(range);
    end = range.end;
  }
}

std::int64_t TokenCorpus::document_of(Split split, std::int64_t token) const {
  const auto& offsets = part(split).offsets;
  ensure(token >= 0 && token < offsets.back(), "the token lies in the split");
  return std::upper_bound(offsets.begin(), offsets.end(), token) - offsets.begin() - 1;
}

std::string TokenCorpus::document_name(Split split, std::int64_t document) const {
  ensure(document >= 0 && document < num_documents(split), "the document lies in the split");
  const Hdf5Dataset names = file_.open_dataset(dataset_name(split, "names"));
  const Hdf5Dataset name_offsets = file_.open_dataset(dataset_name(split, "name_offsets"));
  std::array<std::int64_t, 2> ends{};
  name_offsets.read<std::int64_t>({document, 2}, ends);
  if (ends[0] < 0 || ends[1] <= ends[0] || ends[1] > names.num_rows()) {
    throw DataError("offset " + std::to_string(document) + " points nowhere", name_offsets.where());
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(ends[1] - ends[0]));
  names.read<std::uint8_t>({ends[0], ends[1] - ends[0]}, bytes);
  return {bytes.begin(), bytes.end() - 1};  // without the newline
}

void TokenCorpus::read_tokens(Split split, std::int64_t first, std::span<std::int32_t> to) const {
  const Hdf5Dataset& tokens = part(split).tokens;
  while (!to.empty()) {
    const auto count = std::min<std::int64_t>(kTokensPerRead, static_cast<std::int64_t>(to.size()));
    const RowRange rows{first, count};
    tokens.read_rows(std::span(&rows, 1), buffer_.data(), count, tokens.type());
    const auto piece = to.first(static_cast<std::size_t>(count));
    bool is_valid = false;
    if (tokens.type() == Hdf5Type::UInt8) {
      is_valid = widen<std::uint8_t>(buffer_.data(), piece, vocabulary_size());
    } else if (tokens.type() == Hdf5Type::UInt16) {
      is_valid = widen<std::uint16_t>(buffer_.data(), piece, vocabulary_size());
    } else {
      is_valid = widen<std::uint32_t>(buffer_.data(), piece, vocabulary_size());
    }
    if (!is_valid) {
      throw DataError("an id among tokens " + std::to_string(first) + " to " + std::to_string(first + count) +
                          " is not below the vocabulary's size " + std::to_string(vocabulary_size()),
                      tokens.where());
    }
    first += count;
    to = to.subspan(static_cast<std::size_t>(count));
  }
}

}  // namespace rondo
