#include "core/host_info.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

namespace lra {
namespace {

/// What follows `key` and a colon or an equals sign in a file of such lines.
std::string value_in(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(key, 0) != 0) continue;
    const auto start = line.find_first_of(":=");
    if (start == std::string::npos) continue;
    const auto from = line.find_first_not_of(" \t\"", start + 1);
    const auto to = line.find_last_not_of(" \t\"");
    return from == std::string::npos ? "" : line.substr(from, to - from + 1);
  }
  return "";
}

}  // namespace

std::int64_t usable_cores() {
  cpu_set_t set;
  std::int64_t cores = 1;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (quota_file >> quota >> period && period > 0) cores = std::min(cores, static_cast<std::int64_t>(std::ceil(quota / period)));
  return std::max<std::int64_t>(cores, 1);
}

Json host_info() {
  utsname names{};
  uname(&names);
  double load[1] = {0};
  getloadavg(load, 1);
  const auto pages = static_cast<std::int64_t>(sysconf(_SC_PHYS_PAGES));
  return {{"name", names.nodename},
          {"os", value_in("/etc/os-release", "PRETTY_NAME")},
          {"kernel", names.release},
          {"cpu", value_in("/proc/cpuinfo", "model name")},
          {"cores", usable_cores()},
          {"memory_bytes", pages * static_cast<std::int64_t>(sysconf(_SC_PAGESIZE))},
          {"load_average", std::round(load[0] * 100) / 100}};
}

}  // namespace lra
