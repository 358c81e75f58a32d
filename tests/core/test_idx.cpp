#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "core/data_files.h"
#include "core/json_file.h"
#include "core/sha256.h"
#include "data/idx.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

std::vector<SourceExample> read(const fs::path& images, const fs::path& labels) {
  return collect([&](const ExampleSink& sink) { read_idx(images, labels, sink); });
}

std::string pictures_of(const std::vector<SourceExample>& examples) {
  std::string all;
  for (const auto& example : examples) all += example.first;
  return all;
}

std::vector<std::int32_t> labels_of(const std::vector<SourceExample>& examples) {
  std::vector<std::int32_t> labels;
  for (const auto& example : examples) labels.push_back(example.label);
  return labels;
}

}  // namespace

TEST_CASE("IDX: gzip'ed or not, pictures in the middle of 32x32", "[idx]") {
  const fs::path folder = find_fashion_mnist(fixtures / "idx");
  CHECK(folder == fixtures / "idx");
  const auto train = read(idx_file(folder, "train-images-idx3-ubyte"), idx_file(folder, "train-labels-idx1-ubyte"));
  CHECK(labels_of(train) == std::vector<std::int32_t>{0, 3, 6, 9, 2, 5});
  CHECK(sha256(pictures_of(train)) == "6a272585f5c05d86a10b74d33e88ecde6952dd149b1911716cf258a4c318b54c");
  const auto test = read(idx_file(folder, "t10k-images-idx3-ubyte"), idx_file(folder, "t10k-labels-idx1-ubyte"));
  CHECK(labels_of(test) == std::vector<std::int32_t>{0, 3, 6});
  CHECK(sha256(pictures_of(test)) == "93c73b8b5fe3e12d9998a3d00d9ea61c9bad2b766a0d6e8208671b138805f2cb");
  // Pixel (row, column) of picture n is 50 n + 9 row + column, modulo 256.
  CHECK(test[2].first[2 * 32 + 2] == static_cast<char>(100));
  CHECK(test[2].first[(2 + 27) * 32 + 2 + 27] == static_cast<char>((100 + 9 * 27 + 27) % 256));
  for (const std::size_t black : {0, 33, 2 * 32 + 1, 2 * 32 + 30, 30 * 32 + 5, 1023}) CHECK(test[2].first[black] == 0);
}

TEST_CASE("IDX: Debian's Fashion-MNIST has 60,000 and 10,000 pictures, 10 classes of the same size", "[idx]") {
  const fs::path debian = "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(debian)) SKIP("no package dataset-fashion-mnist here");
  const fs::path folder = find_fashion_mnist({});
  CHECK(folder == debian);
  for (const auto& [name, per_class] : {std::pair{"train", 6000}, {"t10k", 1000}}) {
    std::vector<int> counts(10);
    read_idx(
        idx_file(folder, std::string(name) + "-images-idx3-ubyte"),
        idx_file(folder, std::string(name) + "-labels-idx1-ubyte"),
        [&](std::int32_t label, std::string_view, std::string_view) { ++counts.at(static_cast<std::size_t>(label)); });
    CHECK(counts == std::vector<int>(10, per_class));
  }
}

TEST_CASE("IDX: the four files are found at any depth", "[idx]") {
  const TestFolder folder("idx_depth");
  for (const char* name :
       {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    write_file_atomically(folder.path / "a/raw" / name, "");
  }
  CHECK(find_fashion_mnist(folder.path) == folder.path / "a/raw");
}

TEST_CASE("IDX: what is wrong is named with its place", "[idx]") {
  const TestFolder folder("idx");
  const fs::path images = folder.path / "images", labels = folder.path / "labels";
  const std::string good_images = read_file(fixtures / "idx/t10k-images-idx3-ubyte"),
                    good_labels = read_file(fixtures / "idx/t10k-labels-idx1-ubyte");
  const auto error = [&](const std::string& image_bytes, const std::string& label_bytes) {
    write_file_atomically(images, image_bytes);
    write_file_atomically(labels, label_bytes);
    const std::string message = error_of([&] { read(images, labels); });
    return message.starts_with(folder.path.string()) ? message.substr(folder.path.string().size() + 1) : message;
  };
  const auto with_byte = [](std::string bytes, std::size_t at, int value) {
    bytes.at(at) = static_cast<char>(value);
    return bytes;
  };
  CHECK(error(good_images, good_labels) == "no error");
  CHECK(error(good_labels, good_images) == "images: byte 0: expected the magic number 2051, found 2049");
  CHECK(error(good_images, good_images) == "labels: byte 0: expected the magic number 2049, found 2051");
  CHECK(error(with_byte(good_images, 11, 32), good_labels) ==
        "images: byte 8: expected the number of rows 28, found 32");
  CHECK(error(with_byte(good_images, 15, 0), good_labels) ==
        "images: byte 12: expected the number of columns 28, found 0");
  CHECK(error(with_byte(good_images, 7, 0), good_labels) == "images: byte 4: expected pictures, found none");
  CHECK(error(with_byte(good_images, 7, 4), good_labels) ==
        "labels: byte 4: expected 4 labels, as many as " + images.string() + " has pictures, found 3");
  CHECK(error(with_byte(good_images, 4, 255), with_byte(good_labels, 4, 255)) ==
        "images: byte 2368: expected a picture, found the end of the file after 0 of 784 bytes");
  CHECK(error(good_images, with_byte(good_labels, 9, 10)) == "labels: byte 9: expected a label from 0 to 9, found 10");
  CHECK(error(good_images, with_byte(good_labels, 8, 255)) ==
        "labels: byte 8: expected a label from 0 to 9, found 255");
  CHECK(error(good_images.substr(0, 2000), good_labels) ==
        "images: byte 1584: expected a picture, found the end of the file after 416 of 784 bytes");
  CHECK(error(good_images.substr(0, 6), good_labels) ==
        "images: byte 4: expected the number of pictures, found the end of the file after 2 of 4 bytes");
  CHECK(error("", good_labels) ==
        "images: byte 0: expected the magic number, found the end of the file after 0 of 4 bytes");
  CHECK(error(good_images, good_labels.substr(0, 10)) ==
        "labels: byte 10: expected a label, found the end of the file after 0 of 1 bytes");
  CHECK(error(good_images + "x", good_labels) == "images: byte 2368: expected the end of the file, found more bytes");
  CHECK(error(good_images, good_labels + "x") == "labels: byte 11: expected the end of the file, found more bytes");

  const std::string zipped_images = read_file(fixtures / "idx/train-images-idx3-ubyte.gz");
  const std::string zipped_labels = read_file(fixtures / "idx/train-labels-idx1-ubyte.gz");
  CHECK(error(zipped_images, zipped_labels) == "no error");
  for (const std::size_t cut : {std::size_t{1}, std::size_t{8}, zipped_images.size() / 2}) {
    CHECK(error(zipped_images.substr(0, zipped_images.size() - cut), zipped_labels) ==
          "images: the compressed data ends too early");
  }
  CHECK(error(with_byte(zipped_images, zipped_images.size() - 6, zipped_images[zipped_images.size() - 6] ^ 1),
              zipped_labels) == "images: the compressed data is damaged");
  CHECK(error(zipped_images, with_byte(zipped_labels, 10, 7)) == "labels: the compressed data is damaged");
  CHECK(error_of([&] { read(folder.path / "none", labels); }) ==
        (folder.path / "none").string() + ": cannot be read (No such file or directory)");
  CHECK(error_of([&] { read(folder.path, labels); }) == folder.path.string() + ": cannot be read (Is a directory)");
  CHECK(error_of([&] { find_fashion_mnist(folder.path); }) ==
        folder.path.string() +
            ": expected the file train-images-idx3-ubyte.gz or train-images-idx3-ubyte in it, found neither");
}
