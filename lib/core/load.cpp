#include "core/load.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>

namespace lra {
namespace {

constexpr double shortest_interval = 0.1, tolerated_spread = 0.25;

bool usable(int core) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) != 0 || CPU_ISSET(static_cast<std::size_t>(core), &set);
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double used_by(int who) {
  rusage usage{};
  getrusage(who, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// CPU seconds of the process `suite` and its children, also of those that have ended.
double used_by_suite(pid_t suite) {
  double ticks = 0;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", code)) {
    if (std::isdigit(static_cast<unsigned char>(entry.path().filename().string().front())) == 0) continue;
    // "PID (NAME) STATE PARENT ...", and utime, stime, cutime and cstime as numbers 14 to 17. A name may hold anything.
    std::ifstream in(entry.path() / "stat");
    const std::string stat{std::istreambuf_iterator<char>(in), {}};
    std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
    std::string word;
    pid_t parent = 0;
    fields >> word >> parent;
    if (parent != suite && entry.path().filename() != std::to_string(suite)) continue;
    for (int i = 5; i < 14; ++i) fields >> word;
    for (double part = 0, i = 14; i < 18 && fields >> part; ++i) ticks += part;
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

pid_t joined_suite = 0;  // 0: none
CpuTimes start = cpu_times();

}  // namespace

Json Load::to_json() const {
  Json json = Json::object();
  const auto rounded = [](double cores) { return std::round(cores * 100) / 100; };
  if (before) json["before"] = rounded(*before);
  if (during) json["during"] = rounded(*during);
  if (suite) json["suite"] = rounded(*suite);
  return json;
}

double busy_seconds(std::string_view stat, double ticks_per_second, bool (*counts)(int core)) {
  std::istringstream lines{std::string(stat)};
  double ticks = 0;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string name;
    // Time of virtual machines that run on this one (guest) is in `user` already.
    double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, interrupts = 0, soft_interrupts = 0, stolen = 0;
    fields >> name;
    if (name.rfind("cpu", 0) != 0 || name.size() == 3 || !counts(std::stoi(name.substr(3)))) continue;
    fields >> user >> nice >> system >> idle >> waiting >> interrupts >> soft_interrupts >> stolen;
    ticks += user + nice + system + interrupts + soft_interrupts + stolen;
  }
  return ticks / ticks_per_second;
}

CpuTimes cpu_times() {
  std::ifstream in("/proc/stat");
  const std::string stat{std::istreambuf_iterator<char>(in), {}};
  const double own = used_by(RUSAGE_SELF) + used_by(RUSAGE_CHILDREN);
  return {.moment = now(),
          .all = busy_seconds(stat, static_cast<double>(sysconf(_SC_CLK_TCK)), usable),
          .own = own,
          .suite = joined_suite == 0 ? 0 : std::max(0.0, used_by_suite(joined_suite) - own)};
}

void join_suite(pid_t suite) {
  joined_suite = suite;
  start = cpu_times();
}

CpuTimes cpu_times_at_start() { return start; }

CpuTimes cpu_times_before_measuring() {
  const std::chrono::duration<double> rest(start.moment + shortest_interval - now());
  if (rest.count() > 0) std::this_thread::sleep_for(rest);
  return cpu_times();
}

std::optional<double> other_load(const CpuTimes& from, const CpuTimes& to) {
  const double seconds = to.moment - from.moment;
  if (seconds < shortest_interval || from.all == 0) return std::nullopt;
  return std::max(0.0, (to.all - from.all - (to.own - from.own) - (to.suite - from.suite)) / seconds);
}

Load load_since(const CpuTimes& from) {
  const CpuTimes to = cpu_times();
  Load load{other_load(start, from), other_load(from, to), std::nullopt};
  if (joined_suite != 0 && load.during) load.suite = std::max(0.0, (to.suite - from.suite) / (to.moment - from.moment));
  return load;
}

std::string disturbance(const Load& load, const Measured& speed) {
  std::string text;
  const double cores = load.during.value_or(load.before.value_or(0));
  if (cores > disturbing_cores) text = fmt::format("other programs used {:.1f} cores", cores);
  if (load.suite.value_or(0) > disturbing_cores)
    text += fmt::format("{}{}", text.empty() ? "" : ", ", beside_another_run);
  if (speed.spread > tolerated_spread * speed.median) {
    text +=
        fmt::format("{}spread is {:.0f} % of the median", text.empty() ? "" : ", ", 100 * speed.spread / speed.median);
  }
  return text;
}

}  // namespace lra
