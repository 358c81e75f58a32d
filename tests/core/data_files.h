#pragma once

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/source.h"

/// A folder for the files of a test: empty at the start, gone at the end.
struct TestFolder {
  explicit TestFolder(const std::string& name)
      : path(std::filesystem::temp_directory_path() / ("lra_test_" + name + std::to_string(::getpid()))) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::filesystem::path path;
};

/// tests/fixtures, written by scripts/reference/write_data_fixtures.py.
inline const std::filesystem::path fixtures = std::filesystem::path(LRA_SOURCE_DIR) / "tests/fixtures";

/// The message of the Error that `call` throws, or "no error".
inline std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const lra::Error& error) {
    return error.what();
  }
  return "no error";
}

/// What a reader gave.
struct SourceExample {
  std::int32_t label = 0;
  std::string first, second;
  bool operator==(const SourceExample&) const = default;
};

inline std::vector<SourceExample> collect(const std::function<void(const lra::ExampleSink&)>& reader) {
  std::vector<SourceExample> examples;
  reader([&](std::int32_t label, std::string_view first, std::string_view second) {
    examples.push_back({label, std::string(first), std::string(second)});
  });
  return examples;
}
