#include "train/progress.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <climits>
#include <limits>
#include <utility>

#include "core/json_file.h"
#include "core/log.h"

namespace lra {

std::string duration(double seconds) {
  const auto whole = static_cast<std::int64_t>(seconds + 0.5);
  if (whole >= 3600) return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
  if (whole >= 60) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} s", whole);
}

TerminalProgress::TerminalProgress() : terminal_(::isatty(STDERR_FILENO) == 1) {}

TerminalProgress::~TerminalProgress() {
  if (line_open_) say("\n");
}

void TerminalProgress::end_line() {
  if (line_open_) say("\r\033[K");
  line_open_ = false;
}

void TerminalProgress::update(const Progress& progress) {
  const auto now = std::chrono::steady_clock::now();
  const auto pause = terminal_ ? std::chrono::milliseconds(200) : std::chrono::milliseconds(5000);
  if (now - last_ < pause && last_ != std::chrono::steady_clock::time_point{}) return;
  last_ = now;
  const std::string line =
      fmt::format("step {}/{}  loss {:.4f}  accuracy {:.2f} %  {:.4g} examples/s  {:.1f} MB  {} left", progress.step,
                  progress.train_steps, progress.loss, 100 * progress.accuracy, progress.examples_per_second,
                  static_cast<double>(progress.peak_tensor_bytes) / 1e6, duration(progress.seconds_left));
  say(fmt::format("{}{}{}", terminal_ ? "\r\033[K" : "", line, terminal_ ? "" : "\n"));
  line_open_ = terminal_;
}

void TerminalProgress::evaluated(const Progress& progress) {
  end_line();
  say(fmt::format("step {}/{}  {}: loss {:.4f}  accuracy {:.2f} %\n", progress.step, progress.train_steps,
                  progress.phase, progress.loss, 100 * progress.accuracy));
}

void TerminalProgress::resumed(std::int64_t step, std::int64_t train_steps) {
  end_line();
  log().info("goes on from step {} of {}", step, train_steps);
}

void TerminalProgress::note(const std::string& text) {
  end_line();
  log().info("note: {}", text);
}

namespace {

Json to_json(const Progress& progress) {
  return {{"phase", progress.phase},
          {"step", progress.step},
          {"train_steps", progress.train_steps},
          {"loss", progress.loss},
          {"accuracy", progress.accuracy},
          {"examples_per_second", progress.examples_per_second},
          {"peak_tensor_bytes", progress.peak_tensor_bytes},
          {"seconds_left", progress.seconds_left}};
}

Progress progress_from(const Json& json) {
  const auto number = [&](const char* key) {
    return json.at(key).is_number() ? json.at(key).get<double>() : std::numeric_limits<double>::quiet_NaN();
  };
  return {.phase = json.at("phase").get<std::string>(),
          .step = json.at("step").get<std::int64_t>(),
          .train_steps = json.at("train_steps").get<std::int64_t>(),
          .loss = number("loss"),
          .accuracy = number("accuracy"),
          .examples_per_second = number("examples_per_second"),
          .peak_tensor_bytes = json.at("peak_tensor_bytes").get<std::int64_t>(),
          .seconds_left = number("seconds_left")};
}

/// A line of at most PIPE_BUF bytes is written whole, or, where the pipe is full, not at all.
void write_line(int descriptor, const char* kind, const Json& content) {
  const std::string line = json_text({{kind, content}}) + "\n";
  [[maybe_unused]] const auto written = ::write(descriptor, line.data(), line.size());
}

}  // namespace

ProgressPipe::ProgressPipe(int descriptor) : descriptor_(descriptor) {
  ::fcntl(descriptor, F_SETFL, ::fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

void ProgressPipe::update(const Progress& progress) {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_ < std::chrono::milliseconds(100)) return;
  last_ = now;
  write_line(descriptor_, "update", to_json(progress));
}

void ProgressPipe::evaluated(const Progress& progress) { write_line(descriptor_, "evaluated", to_json(progress)); }

void ProgressPipe::resumed(std::int64_t step, std::int64_t train_steps) {
  write_line(descriptor_, "resumed", {{"step", step}, {"train_steps", train_steps}});
}

void ProgressPipe::note(const std::string& text) { write_line(descriptor_, "note", text.substr(0, PIPE_BUF / 8)); }

void pass_on(std::string_view line, ProgressSink& sink) {
  const Json message = Json::parse(line, nullptr, false);
  if (!message.is_object() || message.size() != 1) return;
  const auto& [kind, content] = *message.items().begin();
  if (kind == "note") return sink.note(content.get<std::string>());
  if (kind == "resumed")
    return sink.resumed(content.at("step").get<std::int64_t>(), content.at("train_steps").get<std::int64_t>());
  if (kind == "update") return sink.update(progress_from(content));
  if (kind == "evaluated") return sink.evaluated(progress_from(content));
}

}  // namespace lra
