#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "core/data_files.h"
#include "core/error.h"
#include "core/sha256.h"
#include "data/file_hash.h"
#include "data/manifest.h"

using namespace lra;

TEST_CASE("SHA-256 gives the digests of other implementations at every kind of padding", "[sha256]") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  // From Python's hashlib.
  CHECK(sha256(std::string(55, 'a')) == "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318");
  CHECK(sha256(std::string(56, 'a')) == "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a");
  CHECK(sha256(std::string(63, 'a')) == "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34");
  CHECK(sha256(std::string(64, 'a')) == "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
  CHECK(sha256(std::string(119, 'a')) == "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb");
  CHECK(sha256(std::string(120, 'a')) == "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c");
  std::string bytes;
  for (int i = 0; i < 3'000'001; ++i) bytes.push_back(static_cast<char>(i * 7 + i / 256));
  CHECK(sha256(bytes) == "e78ac549fb1b4e6b83da900084288a892d2572e81859d2a08a0b28ae36dcf22f");
  for (const std::size_t piece : {1u, 55u, 64u, 65u, 1000u}) {
    Sha256 hash;
    for (std::size_t i = 0; i < 10'000; i += piece)
      hash.update(std::string_view(bytes).substr(i, std::min(piece, 10'000 - i)));
    CHECK(hash.hex() == sha256(std::string_view(bytes).substr(0, 10'000)));
  }
  const auto file = std::filesystem::temp_directory_path() / ("lra_test_sha256" + std::to_string(::getpid()));
  write_file_atomically(file, bytes);
  CHECK(sha256_file(file) == sha256(bytes));
  std::filesystem::remove(file);
  CHECK_THROWS_AS(sha256_file(file), Error);
}

TEST_CASE("a file's hash is remembered for as long as the file is the same", "[manifest]") {
  const auto base = std::filesystem::temp_directory_path() / ("lra_test_hashes" + std::to_string(::getpid()));
  const auto folder = base / "a";
  const auto file = folder / "x";
  std::filesystem::remove_all(base);
  write_file_atomically(file, "content");
  CHECK(known_sha256(file) == sha256("content"));
  CHECK_FALSE(std::filesystem::exists(folder / "hashes.json"));  // it is too young
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  CHECK(known_sha256(file) == sha256("content"));
  Json memory = read_json(folder / "hashes.json");
  const auto remember = [&](const char* hash, bool with_checksum) {
    Json entry = memory.at("x");
    entry.erase("check");
    entry["sha256"] = hash;
    entry["check"] = sha256(with_checksum ? entry.dump() : "");
    memory["x"] = entry;
    write_json(folder / "hashes.json", memory);
  };
  // Another path, so that this process knows nothing of it.
  const auto known_at = [&](const std::string& name) {
    std::filesystem::rename(folder, base / name);
    const std::string hash = known_sha256(base / name / "x");
    std::filesystem::rename(base / name, folder);
    return hash;
  };
  remember("told", true);
  CHECK(known_at("b") == "told");  // it is not read again
  remember("damaged", false);
  CHECK(known_at("c") == sha256("content"));
  remember("told", true);
  {
    std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
    out << "C";
  }
  CHECK(known_at("d") == sha256("Content"));
  CHECK(known_sha256(file) == sha256("Content"));
  const Json entry = file_entry("x", "content", 1);
  CHECK_THROWS_AS(check_file_at_use(folder, entry), Error);
  std::filesystem::remove_all(base);
}

TEST_CASE("who waits for another process's data folder says so, once", "[manifest]") {
  const TestFolder folder("data_lock");
  const auto said = folder.path / "said";
  const int before = ::dup(STDERR_FILENO), file = ::open(said.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  const auto waiting = [&](bool held) {
    auto lock = held ? FolderLock::try_lock(folder.path / "data") : std::nullopt;
    std::filesystem::resize_file(said, 0);
    ::dup2(file, STDERR_FILENO);
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(500));  // more than two looks
      lock.reset();
    });
    lock_data_folder(folder.path / "data");
    other.join();
    ::dup2(before, STDERR_FILENO);
    return read_file(said);
  };
  CHECK(waiting(false).empty());
  const std::string text = waiting(true), sentence = "another process is preparing these data; waiting for it to end";
  CHECK(text.find(sentence) != std::string::npos);
  CHECK(text.find(sentence) == text.rfind(sentence));
  ::close(file);
  ::close(before);
}

TEST_CASE("differences from the official numbers are spelled out", "[manifest]") {
  const Json files = {{"train", {{"examples", 8}}}, {"test", {{"examples", 25000}}}};
  CHECK(difference_from_official(files, "text") ==
        "train has 8 examples, the official task has 25,000");  // it has no valid split
  CHECK(difference_from_official({{"train", {{"examples", 147086}}}, {"test", {{"examples", 17437}}}}, "retrieval") ==
        "valid has 0 examples, the official task has 18,090");
  CHECK(difference_from_official(files, "text_standin").empty());
}

TEST_CASE("a file is held against its manifest entry: presence, size, hash", "[manifest]") {
  const auto folder = std::filesystem::temp_directory_path() / ("lra_test_manifest" + std::to_string(::getpid()));
  std::filesystem::remove_all(folder);
  CHECK(read_manifest(folder).is_null());
  write_file_atomically(folder / "a.tsv", "four");
  const Json entry = file_entry("a.tsv", "four", 1);
  CHECK(entry.at("bytes") == 4);
  CHECK_NOTHROW(check_file(folder, entry));
  write_file_atomically(folder / "a.tsv", "fOur");
  CHECK(size_agrees(folder, entry));
  CHECK_THROWS_AS(check_file(folder, entry), Error);
  write_file_atomically(folder / "a.tsv", "five!");
  CHECK_FALSE(size_agrees(folder, entry));
  CHECK_THROWS_AS(check_file(folder, entry), Error);
  std::filesystem::remove(folder / "a.tsv");
  CHECK_THROWS_AS(check_file(folder, entry), Error);
  write_file_atomically(folder / "manifest.json", "[]");
  CHECK_THROWS_AS(read_manifest(folder), Error);
  std::filesystem::remove_all(folder);
}
