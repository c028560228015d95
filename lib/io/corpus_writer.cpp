// SPDX-License-Identifier: Apache-2.0
#include "io/corpus_writer.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "io/digest.hpp"
#include "io/hdf5_file.hpp"
#include "io/target_ranges.hpp"
#include "io/token_corpus.hpp"

namespace rondo {

namespace {

namespace fs = std::filesystem;

// Whole chunks are written at a time, so no chunk is written twice.
constexpr std::size_t kBytesPerWrite = 32 * kCorpusChunkBytes;

/// The shortest text that reads back as the same number.
std::string shortest(double value) {
  std::array<char, 32> digits{};
  return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr};
}

/// An append-only dataset with the digest of its content.
class Column {
 public:
  Column(Hdf5File& file, const std::string& name, Hdf5Type type)
      : type_(type),
        dataset_(file.create_dataset(
            name, type, {0},
            {.chunk_rows = kCorpusChunkBytes / static_cast<std::int64_t>(size_of(type)), .unlimited_rows = true})) {
    buffer_.reserve(kBytesPerWrite);
  }

  void append(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::size_t count = std::min(bytes.size(), kBytesPerWrite - buffer_.size());
      buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
      bytes = bytes.subspan(count);
      if (buffer_.size() == kBytesPerWrite) write();
    }
  }
  void append(std::int64_t value) { append(std::as_bytes(std::span(&value, 1))); }

  std::string finish() {
    write();
    dataset_.flush();
    dataset_.close();
    return digest_.hex();
  }
  void abandon() noexcept { dataset_.abandon(); }

 private:
  void write() {
    digest_.update(buffer_);
    const RowRange rows{dataset_.num_rows(), static_cast<std::int64_t>(buffer_.size() / size_of(type_))};
    dataset_.resize_rows(rows.first + rows.count);
    dataset_.write_rows(std::span(&rows, 1), buffer_.data(), rows.count, type_);
    buffer_.clear();
  }

  Hdf5Type type_;
  Hdf5Dataset dataset_;
  std::vector<std::byte> buffer_;
  StreamingDigest digest_;
};

}  // namespace

/// The datasets of one split.
class CorpusWriter::SplitWriter {
 public:
  SplitWriter(Hdf5File& file, Split split, Hdf5Type token_type, TargetRecord targets)
      : split_(split),
        token_bytes_(size_of(token_type)),
        tokens_(file, dataset_name(split, "tokens"), token_type),
        documents_(file, dataset_name(split, "documents"), Hdf5Type::Int64),
        names_(file, dataset_name(split, "names"), Hdf5Type::UInt8),
        name_offsets_(file, dataset_name(split, "name_offsets"), Hdf5Type::Int64) {
    documents_.append(std::int64_t{0});
    name_offsets_.append(std::int64_t{0});
    if (targets == TargetRecord::Ranges) {
      target_ranges_.emplace(file, dataset_name(split, "target_ranges"), Hdf5Type::Int64);
    }
  }

  void append(std::span<const std::byte> narrow) {
    tokens_.append(narrow);
    num_tokens_ += static_cast<std::int64_t>(narrow.size() / token_bytes_);
  }
  void add_targets(std::int64_t first, std::int64_t count) {
    ensure(target_ranges_.has_value(), "the corpus records targets");
    const TargetRange range{last_end_ + first, last_end_ + first + count};
    ensure(first >= 0 && count > 0 && range.first >= open_range_.end, "targets ascend");
    if (range.first > open_range_.end) {
      write_open_range();
      open_range_.first = range.first;
    }
    open_range_.end = range.end;
  }
  void end_document(std::string_view name) {
    ensure(num_tokens_ > last_end_, "a document of a corpus has tokens");
    ensure(open_range_.end <= num_tokens_, "the targets of a document lie in it");
    last_end_ = num_tokens_;
    ++num_documents_;
    documents_.append(num_tokens_);
    std::string line = shown_as_utf8(name);
    std::replace(line.begin(), line.end(), '\n', ' ');
    line += '\n';
    names_.append(std::as_bytes(std::span(line)));
    num_name_bytes_ += static_cast<std::int64_t>(line.size());
    name_offsets_.append(num_name_bytes_);
  }
  void finish(Hdf5File& file) {
    const std::string group(name_of(split_));
    ensure(num_tokens_ == last_end_, "the last document is ended");
    file.write_attribute(group, "tokens_digest", tokens_.finish());
    file.write_attribute(group, "documents_digest", documents_.finish());
    file.write_attribute(group, "names_digest", names_.finish());
    file.write_attribute(group, "name_offsets_digest", name_offsets_.finish());
    if (!target_ranges_) return;
    write_open_range();
    file.write_attribute(group, "target_ranges_digest", target_ranges_->finish());
  }
  void abandon() noexcept {
    for (Column* column : {&tokens_, &documents_, &names_, &name_offsets_}) column->abandon();
    if (target_ranges_) target_ranges_->abandon();
  }

  std::int64_t num_tokens() const { return num_tokens_; }
  std::int64_t num_documents() const { return num_documents_; }

 private:
  // Adjacent ranges are merged, so the last one is held back until the next is known.
  void write_open_range() {
    if (open_range_.end == open_range_.first) return;
    target_ranges_->append(open_range_.first);
    target_ranges_->append(open_range_.end);
    open_range_.first = open_range_.end;  // now empty
  }

  Split split_;
  std::size_t token_bytes_;
  Column tokens_, documents_, names_, name_offsets_;
  std::optional<Column> target_ranges_;
  TargetRange open_range_;
  std::int64_t num_tokens_ = 0, num_documents_ = 0, num_name_bytes_ = 0, last_end_ = 0;
};

struct CorpusWriter::State {
  State(const fs::path& partial, Hdf5Type token_type, TargetRecord targets)
      : file(Hdf5File::create(partial)),
        splits{SplitWriter(file, Split::Train, token_type, targets),
               SplitWriter(file, Split::Validation, token_type, targets)} {}
  ~State() {  // without commit, nothing is closed: HDF5 would try to write the rest, perhaps to a full disk
    if (!is_open) return;
    for (SplitWriter& split : splits) split.abandon();
    file.abandon();
  }

  SplitWriter& operator[](Split split) { return splits[split == Split::Train ? 0 : 1]; }

  Hdf5File file;
  std::array<SplitWriter, 2> splits;
  bool is_open = true;
};

void narrow_tokens(std::span<const std::uint32_t> tokens, Hdf5Type type, std::vector<std::byte>& narrow) {
  const auto convert = [&]<typename Narrow>(Narrow) {
    narrow.resize(tokens.size() * sizeof(Narrow));
    auto* to = reinterpret_cast<Narrow*>(narrow.data());
    for (std::size_t i = 0; i < tokens.size(); ++i) to[i] = static_cast<Narrow>(tokens[i]);
  };
  if (type == Hdf5Type::UInt8) return convert(std::uint8_t{});
  if (type == Hdf5Type::UInt16) return convert(std::uint16_t{});
  convert(std::uint32_t{});
}

CorpusWriter::CorpusWriter(const fs::path& output, const Tokenizer& tokenizer, TargetRecord targets,
                           std::vector<std::string> inputs)
    : output_({.path = output, .option = "--output", .kind = corpus_kind(), .inputs = std::move(inputs)}),
      token_type_(token_type_of(tokenizer.vocabulary_size())),
      state_(std::make_unique<State>(output_.begin(), token_type_, targets)) {
  state_->file.write_text("tokenizer", tokenizer.to_json());
  state_->file.write_attribute("/", "format", std::string(kCorpusFormat));
  state_->file.write_attribute("/", "format_version",
                               targets == TargetRecord::None ? kCorpusVersionWithoutTargets : kCorpusVersion);
  state_->file.write_attribute("/", "vocabulary_size", tokenizer.vocabulary_size());
  state_->file.write_attribute("/", "tokenizer_digest", tokenizer.digest());
}

CorpusWriter::~CorpusWriter() = default;

fs::path CorpusWriter::folder() const { return output_.folder(); }

void CorpusWriter::append(Split split, std::span<const std::byte> narrow) { (*state_)[split].append(narrow); }
void CorpusWriter::add_targets(Split split, std::int64_t first, std::int64_t count) {
  (*state_)[split].add_targets(first, count);
}
void CorpusWriter::end_document(Split split, std::string_view name) { (*state_)[split].end_document(name); }
std::int64_t CorpusWriter::num_tokens(Split split) const { return (*state_)[split].num_tokens(); }
std::int64_t CorpusWriter::num_documents(Split split) const { return (*state_)[split].num_documents(); }

void CorpusWriter::commit(const Origin& origin) {
  Hdf5File& file = state_->file;
  file.write_attribute("/", "split_rule", origin.split_rule);
  file.write_attribute("/", "validation_fraction", shortest(origin.validation_fraction));
  file.write_attribute("/", "seed", std::to_string(origin.seed));
  if (!origin.task.empty()) file.write_text("task", origin.task);
  for (SplitWriter& split : state_->splits) split.finish(file);
  file.close();
  state_->is_open = false;
  output_.commit();
  state_.reset();
}

}  // namespace rondo
