#include "core/host_info.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

namespace lra {
namespace fs = std::filesystem;
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

constexpr double no_limit = std::numeric_limits<double>::infinity();

/// The first number in a file; infinite if there is none ("max"), or no such file.
double number_in(const fs::path& file) {
  std::ifstream in(file);
  double number = 0;
  return in >> number ? number : no_limit;
}

bool is_listed(const std::string& name, const std::string& list) {
  return ("," + list + ",").find("," + name + ",") != std::string::npos;
}

/// A mounted hierarchy of control groups: `/proc/self/mountinfo` has "36 25 0:31 ROOT MOUNTED ... - TYPE SOURCE
/// OPTIONS".
struct Hierarchy {
  std::string root, mounted, type, controllers;
};

std::vector<Hierarchy> hierarchies(const fs::path& root) {
  std::vector<Hierarchy> found;
  std::ifstream in(root / "proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    Hierarchy hierarchy;
    std::istringstream words(line);
    std::string word, source;
    for (int i = 0; i < 3; ++i) words >> word;
    words >> hierarchy.root >> hierarchy.mounted;
    while (words >> word && word != "-") {
    }
    words >> hierarchy.type >> source >> hierarchy.controllers;
    if (hierarchy.type == "cgroup" || hierarchy.type == "cgroup2") found.push_back(hierarchy);
  }
  return found;
}

/// The folders of this process's group in a hierarchy and of the groups above it, as far as they are mounted. `path` as
/// /proc/self/cgroup has it.
std::vector<fs::path> group_folders(const fs::path& root, const Hierarchy& hierarchy, const std::string& path) {
  const fs::path top = root / fs::path(hierarchy.mounted).relative_path();
  // A container sees its own group as the root, but may read its path from outside.
  const fs::path below = fs::path(path).lexically_relative(hierarchy.root);
  std::vector<fs::path> folders{top};
  for (const fs::path& part : below) {
    if (part == "..") break;
    if (part == "." || part.empty()) continue;
    folders.push_back(folders.back() / part);
  }
  return folders;
}

/// The limit that `ulimit` sets, infinite if none.
double process_limit(int resource) {
  rlimit limit{};
  return getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? static_cast<double>(limit.rlim_cur)
                                                                             : no_limit;
}

}  // namespace

GroupLimits group_limits(const fs::path& root) {
  GroupLimits limits{no_limit, no_limit};
  const auto mounted = hierarchies(root);
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // "4:memory:/path", of version 2 "0::/path"
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), path = line.substr(second + 1);
    const bool version_2 = controllers.empty(), memory = is_listed("memory", controllers),
               cpu = is_listed("cpu", controllers);
    for (const Hierarchy& hierarchy : mounted) {
      if (version_2 ? hierarchy.type != "cgroup2" : hierarchy.type != "cgroup") continue;
      if (!version_2 && !(memory && is_listed("memory", hierarchy.controllers)) &&
          !(cpu && is_listed("cpu", hierarchy.controllers)))
        continue;
      for (const fs::path& folder : group_folders(root, hierarchy, path)) {
        if (version_2 || memory) {
          limits.memory_bytes =
              std::min(limits.memory_bytes, number_in(folder / (version_2 ? "memory.max" : "memory.limit_in_bytes")));
        }
        if (!version_2 && !cpu) continue;
        double quota = 0, period = 0;  // "max" is no number, and -1 is no quota in version 1
        if (version_2) {
          std::ifstream(folder / "cpu.max") >> quota >> period;
        } else {
          quota = number_in(folder / "cpu.cfs_quota_us");
          period = number_in(folder / "cpu.cfs_period_us");
        }
        if (quota > 0 && quota < no_limit && period > 0 && period < no_limit)
          limits.cores = std::min(limits.cores, quota / period);
      }
    }
  }
  return limits;
}

MachineLimits usable_machine(const fs::path& root) {
  const GroupLimits group = group_limits(root);
  cpu_set_t set;
  // More processors than the set has bits: the call fails.
  const double cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                                   : static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN));
  const double memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return {.cores = std::max<std::int64_t>(static_cast<std::int64_t>(std::ceil(std::min(cores, group.cores))), 1),
          .memory_bytes = static_cast<std::int64_t>(
              std::min({memory, group.memory_bytes, process_limit(RLIMIT_AS), process_limit(RLIMIT_DATA)}))};
}

std::int64_t usable_cores() { return usable_machine().cores; }

Json host_info() {
  utsname names{};
  uname(&names);
  double load[1] = {0};
  getloadavg(load, 1);
  const MachineLimits usable = usable_machine();
  return {{"name", names.nodename},
          {"os", value_in("/etc/os-release", "PRETTY_NAME")},
          {"kernel", names.release},
          {"cpu", value_in("/proc/cpuinfo", "model name")},
          {"cores", usable.cores},
          {"memory_bytes", usable.memory_bytes},
          {"load_average", std::round(load[0] * 100) / 100}};
}

}  // namespace lra
