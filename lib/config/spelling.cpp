// SPDX-License-Identifier: Apache-2.0
#include "config/spelling.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace rondo {

namespace {

constexpr std::size_t kLongestWord = 64;  // bounds the time for hostile input

struct Alias {
  std::string_view word, key;
};
// The names of our keys in other trainers.
constexpr std::array kAliases{
    Alias{"lr", "train.learning_rate"},
    Alias{"max_lr", "train.learning_rate"},
    Alias{"min_lr", "train.minimum_learning_rate_fraction"},
    Alias{"max_steps", "train.steps"},
    Alias{"num_steps", "train.steps"},
    Alias{"train_iters", "train.steps"},
    Alias{"max_iters", "train.steps"},
    Alias{"batch_size", "train.batch_sequences"},
    Alias{"global_batch_size", "train.batch_sequences"},
    Alias{"warmup", "train.warmup_steps"},
    Alias{"lr_scheduler", "train.schedule"},
    Alias{"adam_beta1", "train.beta_1"},
    Alias{"adam_beta2", "train.beta_2"},
    Alias{"adam_eps", "train.epsilon"},
    Alias{"grad_clip", "train.clip_norm"},
    Alias{"max_grad_norm", "train.clip_norm"},
    Alias{"initialize_from", "train.initialise_from"},
    Alias{"n_layers", "model.layers"},
    Alias{"num_layers", "model.layers"},
    Alias{"num_hidden_layers", "model.layers"},
    Alias{"n_heads", "model.heads"},
    Alias{"num_attention_heads", "model.heads"},
    Alias{"n_kv_heads", "model.kv_heads"},
    Alias{"num_key_value_heads", "model.kv_heads"},
    Alias{"hidden_size", "model.d_model"},
    Alias{"n_embd", "model.d_model"},
    Alias{"dim", "model.d_model"},
    Alias{"intermediate_size", "model.d_ff"},
    Alias{"ffn_hidden_size", "model.d_ff"},
    Alias{"rms_norm_eps", "model.norm_epsilon"},
    Alias{"vocab_size", "model.vocabulary_size"},
    Alias{"tie_word_embeddings", "model.tie_embeddings"},
    Alias{"sliding_window", "model.window"},
    Alias{"seq_len", "data.sequence_length"},
    Alias{"seq_length", "data.sequence_length"},
    Alias{"max_seq_len", "data.sequence_length"},
    Alias{"block_size", "data.sequence_length"},
    Alias{"dataset", "data.corpus"},
    Alias{"dtype", "precision.compute"},
    Alias{"context_parallel_size", "parallel.ring"},
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c == '-' ? '_' : c; }

}  // namespace

int edit_distance(std::string_view a, std::string_view b) {
  // Rows of the usual table: row i, entry j is the distance between the first i letters of a and the first j letters of b.
  std::vector<int> before_last(b.size() + 1), last(b.size() + 1), current(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const bool same = lower(a[i - 1]) == lower(b[j - 1]);
      current[j] = std::min({last[j] + 1, current[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1])) {
        current[j] = std::min(current[j], before_last[j - 2] + 1);
      }
    }
    std::swap(before_last, last);
    std::swap(last, current);
  }
  return last[b.size()];
}

std::optional<std::string> nearest_word(std::string_view word, std::span<const std::string> known) {
  if (word.size() > kLongestWord) return std::nullopt;
  std::optional<std::string> nearest;
  int nearest_distance = static_cast<int>(word.size()) / 3 + 1;  // a third of the letters may be wrong, and one more
  for (const std::string& candidate : known) {
    const int distance = edit_distance(word, candidate);
    if (distance < nearest_distance || (distance == nearest_distance && !nearest)) {
      nearest = candidate;
      nearest_distance = distance;
    }
  }
  return nearest;
}

std::optional<std::string> suggest_word(const Field& field, std::string_view written) {
  std::vector<std::string> words;  // the quoted words of the rule
  for (std::size_t open = field.rule.find('"'); open != std::string::npos;) {
    const std::size_t close = field.rule.find('"', open + 1);
    if (close == std::string::npos) break;
    words.push_back(field.rule.substr(open + 1, close - open - 1));
    open = field.rule.find('"', close + 1);
  }
  RunConfig scratch;
  std::erase_if(words, [&](const std::string& word) { return !field.set(scratch, Value(word)); });
  return nearest_word(written, words);
}

Problem unknown_table(const std::string& table, const std::string& where) {
  const std::vector<std::string> tables = all_tables();
  std::string list;
  for (const std::string& known : tables) list += (list.empty() ? "[" : " [") + known + "]";
  const auto meant = nearest_word(table, tables);
  return {{table},
          "there is no table [" + table + "]",
          meant ? "did you mean [" + *meant + "]?" : "the tables are " + list,
          where};
}

Problem unknown_key(const std::string& table, const std::string& key, const std::string& where) {
  const std::vector<std::string> tables = all_tables();
  if (!table.empty() && std::ranges::find(tables, table) == tables.end()) return unknown_table(table, where);
  std::vector<std::string> here, everywhere;
  for (const Field& field : all_fields()) {
    if (field.table == table) here.push_back(field.key);
    if (field.key == key) everywhere.push_back(field.name());
  }
  const auto* alias = std::ranges::find(kAliases, key, &Alias::word);
  const auto meant = nearest_word(key, here);
  std::string fix = "docs/reference/configuration.md lists all keys";
  if (!everywhere.empty()) {
    fix = "`" + key + "` belongs into [" + everywhere.front().substr(0, everywhere.front().find('.')) + "]";
  } else if (alias != kAliases.end()) {
    fix = "it is called " + std::string(alias->key) + " here";
  } else if (meant) {
    fix = "did you mean " + (table.empty() ? "" : table + ".") + *meant + "?";
  } else if (!here.empty()) {
    fix = "[" + table + "] has ";
    for (const std::string& known : here) fix += (known == here.front() ? "" : ", ") + known;
  }
  const std::string name = table.empty() ? key : table + "." + key;
  return {
      {name}, table.empty() ? "the key " + key + " stands outside all tables" : "there is no key " + name, fix, where};
}

}  // namespace rondo
