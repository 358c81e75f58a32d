#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <sys/stat.h>
#include <unistd.h>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/json_file.h"
#include "train/safetensors.h"

namespace fs = std::filesystem;

namespace {

struct TemporaryFolder {
  TemporaryFolder() : path(fs::temp_directory_path() / ("lra-safetensors-" + std::to_string(::getpid()))) {
    fs::create_directories(path);
  }
  ~TemporaryFolder() { fs::remove_all(path); }
  fs::path path;
};

/// A file with this header and `data_bytes` of values.
std::string with_header(const std::string& header, std::size_t data_bytes) {
  std::string bytes(8, '\0');
  const std::uint64_t size = header.size();
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data_bytes, '\1');
}

std::string ones(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += ",1";
  return text;
}

/// What comes behind the header.
std::string values_of(const fs::path& file) {
  const std::string bytes = lra::read_file(file);
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  return bytes.substr(8 + header);
}

}  // namespace

TEST_CASE("safetensors: what is written is read, for every type and shape, and the bytes do not depend on chance",
          "[train][checkpoint]") {
  const TemporaryFolder folder;
  lra::SafeTensors content;
  content.metadata = {{"config", R"({"a": "quote \" and ü"})"}, {"empty", ""}};
  const auto values = at::arange(-3, 9).view({3, 4});
  for (const auto type : {at::kFloat, at::kDouble, at::kLong, at::kByte, at::kBFloat16, at::kBool}) {
    content.tensors[std::string("t.") + c10::toString(type)] = values.to(type);
  }
  content.tensors["scalar"] = at::tensor(2.5);
  content.tensors["empty"] = at::empty({0, 5}, at::kFloat);
  content.tensors["transposed"] = at::arange(6, at::kFloat).view({2, 3}).t();
  lra::write_safetensors(folder.path / "a", content);
  lra::write_safetensors(folder.path / "b", content);
  CHECK(lra::read_file(folder.path / "a") == lra::read_file(folder.path / "b"));
  const auto read = lra::read_safetensors(folder.path / "a");
  CHECK(read.metadata == content.metadata);
  CHECK(read.checked);
  CHECK(lra::read_safetensors_metadata(folder.path / "a") == content.metadata);
  REQUIRE(read.tensors.size() == content.tensors.size());
  for (const auto& [name, tensor] : content.tensors) {
    CAPTURE(name);
    const auto& found = read.tensors.at(name);
    CHECK(found.scalar_type() == tensor.scalar_type());
    CHECK(found.sizes() == tensor.sizes());
    CHECK(found.equal(tensor));
  }
  CHECK(fs::exists(folder.path / "a"));
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) ==
        2);  // no temporary file is left
}

TEST_CASE("safetensors: a file of the reference implementation is read", "[train][checkpoint]") {
  // Python: save_file({"weight": arange(6).reshape(2, 3) float32, "steps": [1, -2] int64, "half": [0.5, -1.5] bfloat16,
  // "on": [True, False]},
  //                   metadata={"made_by": "python"})
  const fs::path file = fs::path(LRA_SOURCE_DIR) / "tests/fixtures/reference.safetensors";
  const auto content = lra::read_safetensors(file);
  CHECK(content.metadata.at("made_by") == "python");
  CHECK(content.tensors.at("weight").equal(at::arange(6, at::kFloat).view({2, 3})));
  CHECK(content.tensors.at("steps").equal(at::tensor({1, -2}, at::kLong)));
  CHECK(content.tensors.at("half").equal(at::tensor({0.5, -1.5}).to(at::kBFloat16)));
  CHECK(content.tensors.at("on").equal(at::tensor({1, 0}).to(at::kBool)));
  const TemporaryFolder folder;
  CHECK_FALSE(content.checked);
  // The values behind the header are laid out in the same order.
  lra::write_safetensors(folder.path / "again", content);
  CHECK(values_of(folder.path / "again") == values_of(file));
}

TEST_CASE("safetensors: every truncation of a file is an error that names it", "[train][checkpoint]") {
  const TemporaryFolder folder;
  lra::SafeTensors content;
  content.tensors["a"] = at::zeros({5});
  content.tensors["b"] = at::zeros({3}, at::kLong);
  lra::write_safetensors(folder.path / "whole", content);
  const std::string whole = lra::read_file(folder.path / "whole");
  const fs::path cut = folder.path / "cut";
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    lra::write_file_atomically(cut, whole.substr(0, size));
    CHECK_THROWS_AS(lra::read_safetensors(cut), lra::Error);
  }
  CHECK_THROWS_WITH(lra::read_safetensors(cut), Catch::Matchers::ContainsSubstring(cut.string()));
  lra::write_file_atomically(cut, whole + "x");
  CHECK_THROWS_AS(lra::read_safetensors(cut), lra::Error);
  CHECK_THROWS_AS(lra::read_safetensors(folder.path / "missing"), lra::Error);
  CHECK_THROWS_AS(lra::read_safetensors(folder.path), lra::Error);
}

TEST_CASE("safetensors: an unsound header is an error that says what is wrong", "[train][checkpoint]") {
  const auto [header, data_bytes, complaint] = GENERATE(table<std::string, std::size_t, std::string>({
      {R"({"a":)", 0, "not JSON"},
      {R"([1])", 0, "not a JSON object"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", 4, "lacks dtype, shape or data_offsets"},
      {R"({"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", 2, "has a type other than"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "has a shape that is not"},
      {R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,6]}})", 6, "has a shape that is not"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, "do not agree with its shape"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "do not agree with its shape"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})", 0,
       "do not agree with its shape"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", 4, "not two places"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "does not begin where"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "does not begin where"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
       8, "not JSON"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 9, "it should have"},
      {R"({"__metadata__":{"a":1}})", 0, "not a text"},
      // No values, but strides that do not fit; dimensions that LibTorch does not have; names that would move a
      // terminal's cursor.
      {R"({"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}})", 0,
       "do not agree with its shape"},
      {R"({"a":{"dtype":"U8","shape":[1)" + ones(64) + R"(],"data_offsets":[0,1]}})", 1, "more than 64 dimensions"},
      {R"({"\u001b[2J\n":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4, R"('\x1b[2J\n')"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}})", 4, "not two places"},
      {"{\"\xff\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "not JSON"},
  }));
  CAPTURE(header);
  const TemporaryFolder folder;
  const fs::path file = folder.path / "bad.safetensors";
  lra::write_file_atomically(file, with_header(header, data_bytes));
  CHECK_THROWS_WITH(lra::read_safetensors(file),
                    Catch::Matchers::ContainsSubstring(file.string()) && Catch::Matchers::ContainsSubstring(complaint));
  std::string enormous = with_header(header, 0);
  std::memset(enormous.data(), 0xff, 8);
  lra::write_file_atomically(file, enormous);
  CHECK_THROWS_WITH(lra::read_safetensors(file), Catch::Matchers::ContainsSubstring("not the length of a header"));
}

TEST_CASE("safetensors: every single flipped bit of a file is noticed", "[train][checkpoint]") {
  const TemporaryFolder folder;
  lra::SafeTensors content;
  content.metadata = {{"config", R"({"a":{"b":[1,"c"]}})"}, {"state", "{}"}};
  content.tensors["weight"] = at::arange(3, at::kFloat);
  content.tensors["on"] = at::tensor({1, 0}).to(at::kBool);
  lra::write_safetensors(folder.path / "checked", content);
  fs::copy_file(fs::path(LRA_SOURCE_DIR) / "tests/fixtures/reference.safetensors", folder.path / "unchecked");
  const auto refused = [](const fs::path& file) {
    const std::string whole = lra::read_file(file);
    std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&](std::size_t place, char byte) {
      out.seekp(static_cast<std::streamoff>(place));
      out.put(byte);
      out.flush();
    };
    std::size_t count = 0;
    for (std::size_t bit = 0; bit < 8 * whole.size(); ++bit) {
      put(bit / 8, static_cast<char>(whole[bit / 8] ^ (1 << bit % 8)));
      try {
        lra::read_safetensors(file);
      } catch (const lra::Error&) {
        ++count;
      }
      put(bit / 8, whole[bit / 8]);
    }
    CHECK_NOTHROW(lra::read_safetensors(file));
    return std::pair(count, 8 * whole.size());
  };
  const auto [noticed, all] = refused(folder.path / "checked");
  CHECK(noticed == all);
  // Without a checksum most of them are only seen where the header breaks, as an Error and nothing worse.
  const auto [broken, total] = refused(folder.path / "unchecked");
  CHECK(broken < total);
}

TEST_CASE("safetensors: a file of an older version is read without a check, one with half a checksum is not",
          "[train][checkpoint]") {
  const TemporaryFolder folder;
  const fs::path file = folder.path / "old";
  const std::string tensor = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  lra::write_file_atomically(file, with_header("{" + tensor + "}", 4));
  CHECK_FALSE(lra::read_safetensors(file).checked);
  for (const std::string& half : {R"("sha256":")" + std::string(64, '0') + "\"",
                                  std::string(R"("sha256_of":"this file with these 64 digits as zeros")")}) {
    lra::write_file_atomically(file, with_header(R"({"__metadata__":{)" + half + "}," + tensor + "}", 4));
    CHECK_THROWS_WITH(lra::read_safetensors(file), Catch::Matchers::ContainsSubstring("old: damaged"));
    CHECK_THROWS_WITH(lra::read_safetensors_metadata(file), Catch::Matchers::ContainsSubstring("old: damaged"));
  }
}

TEST_CASE("safetensors: a file can be refused before memory is taken for it, and a pipe is not waited for",
          "[train][checkpoint]") {
  const TemporaryFolder folder;
  const fs::path file = folder.path / "huge";
  constexpr std::uintmax_t bytes = std::uintmax_t{1} << 40;
  const std::string start =
      with_header(R"({"a":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}})", 0);
  lra::write_file_atomically(file, start);
  std::error_code code;
  fs::resize_file(file, start.size() + bytes, code);
  if (!code) {
    const auto refuse = [](const lra::SafeTensors& header) {
      CHECK(header.tensors.at("a").numel() == static_cast<std::int64_t>(bytes));
      throw lra::Error("refused");
    };
    CHECK_THROWS_WITH(lra::read_safetensors(file, refuse), "refused");
  }
  REQUIRE(::mkfifo((folder.path / "pipe").c_str(), 0600) == 0);
  CHECK_THROWS_WITH(lra::read_safetensors(folder.path / "pipe"),
                    Catch::Matchers::ContainsSubstring("found a device or a pipe"));
}
