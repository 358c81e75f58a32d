#include "train/device.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include "core/error.h"
#include "train/memory.h"

namespace lra {
namespace {

/// Number of CUDA devices that can be used.
int cuda_devices() {
  const auto accelerator = at::accelerator::getAccelerator();
  return accelerator == c10::DeviceType::CUDA ? at::accelerator::deviceCount() : 0;
}

at::CachingAllocator::Stat requested_bytes(at::Device device) {
  return at::accelerator::getDeviceStats(device.index())
      .requested_bytes[static_cast<std::size_t>(at::CachingAllocator::StatType::AGGREGATE)];
}

}  // namespace

at::Device select_device(const std::string& name) {
  if (name == "cpu") return at::Device(at::kCPU);
  if (name == "auto") return cuda_devices() > 0 ? select_device("cuda") : at::Device(at::kCPU);
  int index = 0;
  const bool numbered = name.rfind("cuda:", 0) == 0;
  if (numbered) {
    const char* const end = name.data() + name.size();
    const auto parsed = std::from_chars(name.data() + 5, end, index);
    if (parsed.ec != std::errc() || parsed.ptr != end || index < 0 || index > 127) {
      throw Error(fmt::format("device: expected auto, cpu, cuda or cuda:N, found \"{}\"", name));
    }
  } else if (name != "cuda") {
    throw Error(fmt::format("device: expected auto, cpu, cuda or cuda:N, found \"{}\"", name));
  }
  const int count = cuda_devices();
  if (count == 0) {
    const bool built = at::globalContext().hasCUDA() || std::filesystem::exists("/proc/driver/nvidia");
    throw Error(fmt::format("device: \"{}\" is not available, no CUDA device can be used", name),
                built ? "check the driver with nvidia-smi, and that LibTorch is a CUDA build"
                      : "use device=cpu, or device=auto to take what there is");
  }
  if (index >= count)
    throw Error(
        fmt::format("device: \"{}\" is not available, there are {} CUDA devices, numbered from 0", name, count));
  at::globalContext().lazyInitDevice(at::kCUDA);  // the device's memory statistics do not exist before
  return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index));
}

void synchronize(at::Device device) {
  if (!device.is_cpu()) at::accelerator::synchronizeDevice(device.index());
}

std::int64_t current_tensor_bytes(at::Device device) {
  return device.is_cpu() ? memory::current_bytes() : requested_bytes(device).current;
}

std::int64_t peak_tensor_bytes(at::Device device) {
  return device.is_cpu() ? memory::peak_bytes() : requested_bytes(device).peak;
}

void reset_peak_tensor_bytes(at::Device device) {
  if (device.is_cpu()) {
    memory::reset_peak();
  } else {
    at::accelerator::resetPeakStats(device.index());
  }
}

at::Generator default_generator(at::Device device) { return at::globalContext().defaultGenerator(device); }

std::string device_name(at::Device device) {
  if (device.is_cpu()) return "cpu";
  std::vector<std::filesystem::path> folders;
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", code))
    folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());  // by PCI address
  // With several GPUs CUDA may number them in another order, or see only some: then the driver's list does not say
  // which it is.
  if (folders.size() == 1) {
    std::ifstream information(folders.front() / "information");
    for (std::string line; std::getline(information, line);) {
      const auto start = line.find_first_not_of(" \t", 6);
      if (line.rfind("Model:", 0) == 0 && start != std::string::npos)
        return fmt::format("{} ({})", device.str(), line.substr(start));
    }
  }
  return device.str();
}

namespace {

/// libgomp ends the program where it cannot make a thread: so they are made once before.
void check_threads(int threads) {
  std::latch end(1);
  std::vector<std::jthread> made;
  const struct Ends {
    std::latch& end;
    ~Ends() { end.count_down(); }
  } ends{end};
  try {
    while (static_cast<int>(made.size()) + 1 < threads) made.emplace_back([&end] { end.wait(); });
  } catch (const std::system_error& error) {
    throw Error(fmt::format("threads: {} were asked for, but the system lets this process have only {} ({})", threads,
                            made.size() + 1, error.code().message()),
                "set threads to fewer, or raise the limits of ulimit -u and -v");
  }
}

}  // namespace

int set_threads(int threads) {
  check_threads(threads);
  at::set_num_threads(threads);
  std::atomic<int> working{0};
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) { ++working; });
  if (working < threads) at::set_num_threads(working);
  return working;
}

}  // namespace lra
