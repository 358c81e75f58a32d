#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/json_file.h"

// Runs lra-run as its users do.

namespace lra_program {
namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using lra::Json;

struct Output {
  int code = -1;
  std::string out, err;
};

/// A folder of this process, removed when it ends.
inline const fs::path& workspace() {
  static const struct Folder {
    Folder() : path(fs::temp_directory_path() / ("lra_test_cli_" + std::to_string(::getpid()))) {
      fs::create_directories(path);
    }
    ~Folder() {
      std::error_code code;
      fs::remove_all(path, code);
    }
    const fs::path path;
  } folder;
  return folder.path;
}

/// `environment`: NAME=VALUE before the command.
inline Output lra_run(const std::string& arguments, const fs::path& folder = LRA_SOURCE_DIR,
                      const std::string& environment = "") {
  const auto out = workspace() / "stdout", err = workspace() / "stderr";
  const std::string command = environment + " " LRA_BIN_DIR "/lra-run " + arguments;
  lra::write_file_atomically(workspace() / "command",
                             "cd " + folder.string() + " && " + command + " >" + out.string() + " 2>" + err.string());
  const int status = std::system(("bash " + (workspace() / "command").string()).c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, lra::read_file(out), lra::read_file(err)};
}

/// A folder with a small ListOps, made once.
inline std::string data_dir() {
  static const std::string folder = [] {
    const std::string path = (workspace() / "data").string();
    const auto made =
        lra_run("data prepare listops --data-dir " + path +
                " --train 200 --valid 50 --test 50 --min-length 5 --max-length 60 --max-depth 3 --max-args 4");
    REQUIRE(made.code == 0);
    return path;
  }();
  return folder;
}

/// A run that ends in about a second.
inline fs::path small_run(const std::string& name, const Json& changes = Json::object()) {
  Json run = {{"task", "listops"},      {"mixer", "linear"}, {"profile", "small"},    {"seed", 0},
              {"data_dir", data_dir()}, {"seq_len", 64},     {"train_steps", 6},      {"warmup_steps", 2},
              {"batch_size", 8},        {"eval_every", 3},   {"checkpoint_every", 2}, {"threads", 1},
              {"learning_rate", 1e-3}};
  run.merge_patch(changes);
  const fs::path file = workspace() / (name + ".json");
  lra::write_json(file, run);
  return file;
}

inline void check_user_error(const Output& output, const std::string& part) {
  INFO(output.err);
  CHECK(output.code == 2);
  CHECK(output.err.rfind("error: ", 0) == 0);
  const auto lines = std::count(output.err.begin(), output.err.end(), '\n');
  CHECK((lines == 1 || (lines == 2 && output.err.find("\nhint: ") != std::string::npos)));
  CHECK_THAT(output.err, ContainsSubstring(part));
}

inline Json result_in(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().filename() == "result.json") return lra::read_json(entry.path());
  }
  FAIL("no result.json below " << folder);
  return {};
}

}  // namespace lra_program
