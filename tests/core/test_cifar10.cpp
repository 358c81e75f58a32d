#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "core/data_files.h"
#include "core/json_file.h"
#include "core/sha256.h"
#include "data/cifar10.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

std::vector<SourceExample> read(const fs::path& file) {
  return collect([&](const ExampleSink& sink) { read_cifar10_batch(file, sink); });
}

const fs::path batches = fixtures / "cifar10/cifar-10-batches-bin";

}  // namespace

TEST_CASE("CIFAR-10: labels and grey values of NumPy's float32, row by row", "[cifar10]") {
  CHECK(find_cifar10(fixtures / "cifar10") == batches);
  CHECK(find_cifar10(batches) == batches);
  const auto examples = read(batches / "data_batch_1.bin");
  REQUIRE(examples.size() == 2);
  CHECK(examples[0].label == 0);
  CHECK(examples[1].label == 1);
  CHECK(examples[0].first.substr(0, 4) == "\xe3\x63\x8f\x68");  // 227 99 143 104
  CHECK(examples[1].first.substr(1020) == "\xa4\xae\x5e\x93");  // 164 174 94 147
  CHECK(examples[0].second.empty());
  CHECK(sha256(examples[0].first + examples[1].first) ==
        "1c2e27120d2f58928418334c9d27afe36d7fbac56491e2f6967280e0d78f7ee2");
  CHECK(read(batches / "test_batch.bin").at(1).label == 1);
}

TEST_CASE("CIFAR-10: the grey of all 16.8 million colours is NumPy's, and near the exact value", "[cifar10]") {
  std::string grey;
  double furthest = 0;
  for (int red = 0; red < 256; ++red) {
    for (int green = 0; green < 256; ++green) {
      for (int blue = 0; blue < 256; ++blue) {
        const std::uint8_t value =
            grey_of(static_cast<std::uint8_t>(red), static_cast<std::uint8_t>(green), static_cast<std::uint8_t>(blue));
        grey.push_back(static_cast<char>(value));
        // The middle of the interval that is cut to `value`, against the weighted mean.
        furthest =
            std::max(furthest, std::abs((value + 0.5) * 255 / 255.5 - (0.2989 * red + 0.5870 * green + 0.1140 * blue)));
      }
    }
  }
  CHECK(sha256(grey) == "824a76d81dad2c5a2cf1fa0b2c0a5afe7d871ec2970e4fa2809b53ddbecdca93");
  CHECK(furthest < 0.4991);
  CHECK(furthest > 0.499);
}

TEST_CASE("CIFAR-10: wrong sizes, labels and versions are named", "[cifar10]") {
  const TestFolder folder("cifar10");
  const fs::path file = folder.path / "x.bin";
  const std::string good = read_file(batches / "data_batch_1.bin");
  const auto error = [&](const std::string& content) {
    write_file_atomically(file, content);
    const std::string message = error_of([&] { read(file); });
    return message.starts_with(file.string() + ": ") ? message.substr(file.string().size() + 2) : message;
  };
  CHECK(error(good) == "no error");
  CHECK(error("") == "expected records of 3073 bytes, found 0 bytes in all");
  CHECK(error(good.substr(1)) == "expected records of 3073 bytes, found 6145 bytes in all");
  CHECK(error(good + "x") == "expected records of 3073 bytes, found 6147 bytes in all");
  std::string bad = good;
  bad[3073] = 10;
  CHECK(error(bad) == "record 2: expected a label from 0 to 9, found 10");
  bad[0] = static_cast<char>(255);
  CHECK(error(bad) == "record 1: expected a label from 0 to 9, found 255");
  CHECK(error_of([&] { read(folder.path / "none.bin"); }) ==
        (folder.path / "none.bin").string() + ": cannot be read (No such file or directory)");

  const std::string python = ": expected CIFAR-10's binary version (cifar-10-binary.tar.gz), found the one for Python";
  const auto find_error = [&](const fs::path& from) {
    const std::string message = error_of([&] { find_cifar10(from); });
    return message.starts_with(from.string()) ? message.substr(from.string().size()) : message;
  };
  CHECK(find_error(folder.path).ends_with("or in a folder below, found none of them"));
  write_file_atomically(folder.path / "cifar-10-batches-py/data_batch_1", "\x80\x02}q");
  CHECK(find_error(folder.path) == python);
  CHECK(find_error(folder.path / "cifar-10-batches-py") == python);
  try {
    find_cifar10(folder.path);
  } catch (const Error& hinted) {
    CHECK(hinted.hint() == "fetch and unpack https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz");
  }
  fs::copy(fixtures / "cifar10", folder.path, fs::copy_options::recursive);
  CHECK(find_error(folder.path) == "no error");
  fs::remove_all(folder.path / "cifar-10-batches-py");
  fs::remove(folder.path / "cifar-10-batches-bin/data_batch_3.bin");
  CHECK(find_error(folder.path).ends_with(" in it, data_batch_3.bin missing"));
}
