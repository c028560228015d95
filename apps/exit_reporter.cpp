// SPDX-License-Identifier: Apache-2.0
#include "apps/exit_reporter.hpp"

#include <optional>
#include <utility>

#include "core/log.hpp"

namespace rondo {

ExitRecord ExitReporter::record() const {
  ExitRecord record;
  record.rank = rank_;
  record.host = host_name();
  record.step = step_;
  record.phase = phase_;
  return record;
}

const RunFolder& ExitReporter::lock_folder(const MpiSession& session, const std::filesystem::path& path) {
  rank_ = session.launch_rank();
  std::optional<Error> mine;
  try {
    auto folder = std::make_unique<RunFolder>(path);
    if (rank_ == 0) {
      folder->lock();
      ExitRecord running = record();
      running.cause = "running";
      running.retry = true;
      folder->write_running(running);
    }
    folder_ = std::move(folder);
  } catch (const std::exception&) {
    mine = error_at_hand();
  }
  // The first collective comes only now: if a rank is gone by then, the run still has a record.
  agree(session.world(), mine);
  rank_ = session.world().rank();
  log::info("run folder {}", path.string());
  return *folder_;
}

int ExitReporter::report_end(bool is_finished, const std::string& message) const {
  constexpr int kStoppedEarly = 75;
  ExitRecord end = record();
  end.cause = is_finished ? "finished" : "stopped";
  end.exit_code = is_finished ? 0 : kStoppedEarly;
  end.message = message;
  end.retry = !is_finished;
  if (rank_ == 0) folder_->write_exit(end);
  return end.exit_code;
}

void ExitReporter::report_error(const Error& error, bool rank_alone) const noexcept {
  if (folder_ == nullptr || (!rank_alone && rank_ != 0)) return;
  ExitRecord end = record();
  end.cause = std::string(name_of(error.kind()));
  end.exit_code = exit_code(error.kind());
  end.message = error.where().empty() ? error.message() : error.where() + ": " + error.message();
  end.advice = error.advice();
  end.retry = error.kind() == ErrorKind::Communication;
  folder_->write_exit(end);
}

}  // namespace rondo
