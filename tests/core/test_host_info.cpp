#include "core/host_info.h"

#include <sys/resource.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <string>

#include "core/json_file.h"
#include "data_files.h"

namespace fs = std::filesystem;

namespace {

/// A folder with /proc and /sys as a process inside of some control groups sees them.
struct Machine {
  TestFolder folder{"host"};

  void file(const std::string& name, const std::string& text) const {
    const fs::path path = folder.path / name;
    fs::create_directories(path.parent_path());
    lra::write_file_atomically(path, text);
  }
  lra::GroupLimits limits() const { return lra::group_limits(folder.path); }
};

constexpr double gibibyte = 1 << 30;

}  // namespace

TEST_CASE("control groups of version 2: the tightest of the group and all above it holds", "[core][host]") {
  const Machine machine;
  CHECK(std::isinf(machine.limits().cores));  // nothing is mounted
  CHECK(std::isinf(machine.limits().memory_bytes));
  machine.file("proc/self/cgroup", "0::/system.slice/job.scope/step\n");
  machine.file("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n");
  machine.file("sys/fs/cgroup/system.slice/job.scope/step/cpu.max", "max 100000\n");
  machine.file("sys/fs/cgroup/system.slice/job.scope/step/memory.max", "max\n");
  CHECK(std::isinf(machine.limits().cores));
  CHECK(std::isinf(machine.limits().memory_bytes));
  machine.file("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n");
  machine.file("sys/fs/cgroup/system.slice/job.scope/cpu.max", "400000 100000\n");
  machine.file("sys/fs/cgroup/system.slice/job.scope/memory.max", "4294967296\n");
  machine.file("sys/fs/cgroup/system.slice/memory.max", "8589934592\n");
  CHECK(machine.limits().cores == 1.5);
  CHECK(machine.limits().memory_bytes == 4 * gibibyte);
  machine.file("sys/fs/cgroup/other.slice/memory.max", "1\n");  // not this process's
  CHECK(machine.limits().memory_bytes == 4 * gibibyte);
}

TEST_CASE("control groups of version 1: each controller has its hierarchy", "[core][host]") {
  const Machine machine;
  machine.file("proc/self/cgroup", "5:cpuacct,cpu:/batch/job\n4:memory:/batch/job/step\n1:name=systemd:/\n0::/\n");
  machine.file("proc/self/mountinfo",
               "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
               "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
               "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
               "42 31 0:39 / /mnt rw,relatime - ext4 /dev/vda rw\n");
  machine.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  machine.file("sys/fs/cgroup/memory/batch/memory.limit_in_bytes", "2147483648\n");
  machine.file("sys/fs/cgroup/memory/batch/job/step/memory.limit_in_bytes", "9223372036854771712\n");
  machine.file("sys/fs/cgroup/cpu,cpuacct/batch/job/cpu.cfs_quota_us", "-1\n");
  machine.file("sys/fs/cgroup/cpu,cpuacct/batch/job/cpu.cfs_period_us", "100000\n");
  CHECK(machine.limits().memory_bytes == 2 * gibibyte);
  CHECK(std::isinf(machine.limits().cores));
  machine.file("sys/fs/cgroup/cpu,cpuacct/batch/cpu.cfs_quota_us", "50000\n");
  machine.file("sys/fs/cgroup/cpu,cpuacct/batch/cpu.cfs_period_us", "100000\n");
  CHECK(machine.limits().cores == 0.5);
}

TEST_CASE("inside of a container its own group is what is mounted", "[core][host]") {
  const Machine machine;
  machine.file("proc/self/cgroup", "4:memory:/docker/abc/inner\n");  // seen from outside
  machine.file("proc/self/mountinfo",
               "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:15 - cgroup cgroup rw,memory\n");
  machine.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n");
  CHECK(machine.limits().memory_bytes == gibibyte);
  machine.file("sys/fs/cgroup/memory/inner/memory.limit_in_bytes", "536870912\n");
  CHECK(machine.limits().memory_bytes == gibibyte / 2);
  machine.file("proc/self/cgroup", "4:memory:/../elsewhere\n");  // outside of what is mounted
  CHECK(machine.limits().memory_bytes == gibibyte);
}

TEST_CASE("what this process may use is within its limits, and the host's record says the same", "[core][host]") {
  const lra::MachineLimits usable = lra::usable_machine();
  CHECK(usable.cores >= 1);
  CHECK(usable.memory_bytes > (1 << 28));
  CHECK(lra::usable_cores() == usable.cores);
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_DATA, &before) == 0);
  rlimit tight = before;
  tight.rlim_cur = 3UL << 28;
  REQUIRE(setrlimit(RLIMIT_DATA, &tight) == 0);
  CHECK(lra::usable_machine().memory_bytes == 3L << 28);
  CHECK(lra::host_info()["memory_bytes"] == 3L << 28);
  REQUIRE(setrlimit(RLIMIT_DATA, &before) == 0);

  const Machine machine;
  machine.file("proc/self/cgroup", "0::/\n");
  machine.file("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n");
  machine.file("sys/fs/cgroup/memory.max", "100000000\n");
  machine.file("sys/fs/cgroup/cpu.max", "50000 100000\n");
  CHECK(lra::usable_machine(machine.folder.path).memory_bytes == 100000000);
  CHECK(lra::usable_machine(machine.folder.path).cores == 1);  // half of one
}
