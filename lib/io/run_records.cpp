// SPDX-License-Identifier: Apache-2.0
#include "io/run_records.hpp"

#include "io/record_format.hpp"

namespace rondo {

namespace {

constexpr RecordFormat kExit{"rondo-exit", 1}, kStart{"rondo-start", 1}, kHeartbeat{"rondo-heartbeat", 1};

}  // namespace

std::string ExitRecord::to_json() const {
  nlohmann::ordered_json json = versioned(kExit);
  json.update({{"cause", cause},
               {"exit_code", exit_code},
               {"rank", rank},
               {"host", host},
               {"step", step},
               {"phase", phase},
               {"message", message},
               {"advice", advice},
               {"retry", retry},
               {"time", time_unix_s}});
  return text_of_record(json, 2) + "\n";
}

ExitRecord ExitRecord::from_json(const std::string& text, const std::string& where) {
  return read_record<DataError>(text, kExit, where, [](const nlohmann::json& json) {
    return ExitRecord{.cause = json.at("cause"),
                      .exit_code = json.at("exit_code"),
                      .rank = json.at("rank"),
                      .host = json.at("host"),
                      .step = json.at("step"),
                      .phase = json.at("phase"),
                      .message = json.at("message"),
                      .advice = json.at("advice"),
                      .retry = json.at("retry"),
                      .time_unix_s = json.at("time")};
  });
}

std::string StartRecord::to_json() const {
  nlohmann::ordered_json json = versioned(kStart);
  json.update({{"machine", machine},
               {"deterministic", deterministic},
               {"gpus", gpus},
               {"attention", attention},
               {"time", time_unix_s}});
  return text_of_record(json, 2) + "\n";
}

StartRecord StartRecord::from_json(const std::string& text, const std::string& where) {
  return read_record<DataError>(text, kStart, where, [](const nlohmann::json& json) {
    return StartRecord{.machine = json.at("machine"),
                       .deterministic = json.value("deterministic", true),
                       .gpus = json.at("gpus"),
                       .attention = json.at("attention"),
                       .time_unix_s = json.at("time")};
  });
}

std::string HeartbeatRecord::to_json() const {
  nlohmann::ordered_json json = versioned(kHeartbeat);
  json.update({{"time", time_unix_s}, {"step", step}, {"process", process}});
  return text_of_record(json, -1) + "\n";
}

HeartbeatRecord HeartbeatRecord::from_json(const std::string& text, const std::string& where) {
  return read_record<DataError>(text, kHeartbeat, where, [](const nlohmann::json& json) {
    return HeartbeatRecord{.step = json.at("step"), .process = json.at("process"), .time_unix_s = json.at("time")};
  });
}

}  // namespace rondo
