// SPDX-License-Identifier: Apache-2.0
#include "io/metrics_record.hpp"

#include <fstream>

#include "io/record_format.hpp"

namespace rondo {

namespace {

constexpr RecordFormat kMetricsFormat{"rondo-metrics", 1};
constexpr const char* kValidationLoss = "validation_loss";  // in lines of a ValidationRecord alone

using Json = nlohmann::ordered_json;

Json json_of(const StepRecord& r) {
  Json peak;
  for (std::size_t i = 0; i < kNumMemoryUses; ++i) {
    peak[std::string(name_of(static_cast<MemoryUse>(i)))] = r.peak_bytes[i];
  }
  return {{"step", r.step},
          {"loss", finite_or_null(r.loss)},
          {"grad_norm", finite_or_null(r.gradient_norm)},
          {"learning_rate", finite_or_null(r.learning_rate)},
          {"tokens_seen", r.tokens_seen},
          {"step_ms", finite_or_null(r.step_ms)},
          {"tokens_per_second", finite_or_null(r.tokens_per_second)},
          {"model_flops_per_second", finite_or_null(r.model_flops_per_second)},
          {"exposed_communication_ms", finite_or_null(r.exposed_communication_ms)},
          {"peak_bytes", peak},
          {"peak_total_bytes", r.peak_total_bytes},
          {"peak_resident_bytes", r.peak_resident_bytes}};
}

Json json_of(const ValidationRecord& r) {
  Json json{{"step", r.step}, {kValidationLoss, finite_or_null(r.loss)}, {"validation_targets", r.num_targets}};
  if (r.memory) {
    Json norms = Json::array();
    for (const double norm : r.memory->norms) norms.push_back(finite_or_null(norm));
    json["gate_histogram"] = r.memory->gate_histogram;
    json["memory_norms"] = norms;
    json["smallest_memory_normaliser"] =
        r.memory->smallest_normaliser ? finite_or_null(*r.memory->smallest_normaliser) : Json(nullptr);
  }
  return json;
}

StepRecord step_from(const nlohmann::json& json) {
  StepRecord r{.step = json.at("step"),
               .loss = figure_of(json.at("loss")),
               .gradient_norm = figure_of(json.at("grad_norm")),
               .learning_rate = figure_of(json.at("learning_rate")),
               .tokens_seen = json.at("tokens_seen"),
               .step_ms = figure_of(json.at("step_ms")),
               .tokens_per_second = figure_of(json.at("tokens_per_second")),
               .model_flops_per_second = figure_of(json.at("model_flops_per_second")),
               .exposed_communication_ms = figure_of(json.at("exposed_communication_ms")),
               .peak_total_bytes = json.value("peak_total_bytes", std::int64_t{0}),
               .peak_resident_bytes = json.value("peak_resident_bytes", std::int64_t{0})};
  const auto peak = json.value("peak_bytes", nlohmann::json::object());
  for (std::size_t i = 0; i < kNumMemoryUses; ++i) {
    r.peak_bytes[i] = peak.value(std::string(name_of(static_cast<MemoryUse>(i))), std::int64_t{0});
  }
  return r;
}

ValidationRecord validation_from(const nlohmann::json& json) {
  ValidationRecord r{.step = json.at("step"),
                     .loss = figure_of(json.at(kValidationLoss)),
                     .num_targets = json.at("validation_targets"),
                     .memory = std::nullopt};
  if (!json.contains("gate_histogram")) return r;
  MemoryStatistics memory;
  memory.gate_histogram = json.at("gate_histogram");
  for (const auto& norm : json.at("memory_norms")) memory.norms.push_back(figure_of(norm));
  if (const auto& smallest = json.at("smallest_memory_normaliser"); !smallest.is_null()) {
    memory.smallest_normaliser = smallest.get<double>();
  }
  r.memory = memory;
  return r;
}

}  // namespace

std::int64_t step_of(const MetricsRecord& record) {
  return std::visit([](const auto& of_kind) { return of_kind.step; }, record);
}

std::string to_json(const MetricsRecord& record) {
  Json json = versioned(kMetricsFormat);
  json.update(std::visit([](const auto& of_kind) { return json_of(of_kind); }, record));
  return text_of_record(json, -1);
}

MetricsRecord metrics_from_json(const std::string& line, const std::string& where) {
  return read_record<DataError>(line, kMetricsFormat, where, [](const nlohmann::json& json) -> MetricsRecord {
    if (json.contains(kValidationLoss)) return validation_from(json);
    return step_from(json);
  });
}

std::optional<std::int64_t> step_of_line(const std::string& line, const std::string& where) {
  if (!nlohmann::json::parse(line, nullptr, false).is_object()) return std::nullopt;
  return read_record<DataError>(line, kMetricsFormat, where,
                                [](const nlohmann::json& json) -> std::optional<std::int64_t> {
                                  if (!json.contains("step") || !json["step"].is_number_integer()) return std::nullopt;
                                  return json["step"].get<std::int64_t>();
                                });
}

bool is_validation_line(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  return json.is_object() && json.contains(kValidationLoss);
}

std::vector<MetricsRecord> read_metrics(const std::filesystem::path& file) {
  std::vector<MetricsRecord> records;
  std::ifstream lines(file, std::ios::binary);
  for (std::string line; std::getline(lines, line) && !lines.eof();) {
    records.push_back(metrics_from_json(line, file.string() + ":" + std::to_string(records.size() + 1)));
  }
  return records;
}

}  // namespace rondo
