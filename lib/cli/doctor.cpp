#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <filesystem>

#include "cli/commands.h"
#include "core/build_info.h"
#include "core/config_files.h"
#include "core/error.h"
#include "core/host_info.h"
#include "core/text.h"
#include "mixers/mixer.h"
#include "train/device.h"
#include "train/memory.h"
#include "train/threads.h"

namespace lra {
namespace fs = std::filesystem;

ExitCode doctor_command() {
  const Json host = host_info();
  const BuildInfo& build = build_info();
  int problems = 0;
  const auto fact = [](const char* name, const std::string& value) {
    fmt::print("{:<12} {}\n", name, printable(value));
  };
  const auto problem = [&](const std::string& text) {
    fmt::print("{:<12} {}\n", "problem", text);
    ++problems;
  };

  fact("host", fmt::format("{}, {}", host["name"].get<std::string>(), host["os"].get<std::string>()));
  fact("processor",
       fmt::format("{}, {} usable cores", host["cpu"].get<std::string>(), host["cores"].get<std::int64_t>()));
  fact("memory", fmt::format("{:.1f} GB", host["memory_bytes"].get<double>() / 1e9));
  fact("load", fmt::format("{}", host["load_average"].get<double>()));
  fact("program", version_line("lra-run"));
  fact("LibTorch", fmt::format("{} (built against {})", TORCH_VERSION, build.libtorch));
  const int threads = set_threads(most_threads());
  fact("threads", fmt::format("at most {}, fewer for small steps", threads));
  fact("allocator", memory::allocator_name());
  fact("device", device_name(select_device("auto")));
  fact("configs", config_root().string());

  if (host["load_average"].get<double>() > 0.5 * host["cores"].get<double>())
    problem("the machine is busy; speeds measured now will be too low");
  if (threads < host["cores"].get<std::int64_t>()) {
    problem(fmt::format("LibTorch uses {} threads for {} cores; look at OMP_NUM_THREADS and OMP_THREAD_LIMIT", threads,
                        host["cores"].get<std::int64_t>()));
  }
  if (build.build_type != "Release") problem("this is no Release build; its speeds mean nothing");
  for (const auto& name : mixer_registry().names()) {
    const auto known = config_names("mixers");
    if (std::find(known.begin(), known.end(), name) == known.end())
      problem(fmt::format("the mixer {} has no configs/mixers/{}.json", name, name));
  }
  fmt::print("{}\n", problems == 0 ? "nothing is wrong" : fmt::format("{} problem(s)", problems));
  return problems == 0 ? exit_ok : exit_user;
}

}  // namespace lra
