#include "data/image_task.h"

#include <fmt/format.h>

#include <utility>

#include "data/cifar10.h"
#include "data/idx.h"
#include "data/packed_task.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

/// Sends the first nine tenths of `total` training examples to train, the rest to valid.
ExampleSink split_last_tenth(const SplitSink& sink, std::size_t total) {
  return [&sink, total, seen = std::size_t{0}](std::int32_t label, std::string_view pixels, std::string_view) mutable {
    sink(10 * seen++ < 9 * total ? Split::train : Split::valid, label, pixels, {});
  };
}

std::vector<fs::path> read_cifar10(const ExampleSource& source) {
  const fs::path folder = find_cifar10(source.folder);
  std::vector<fs::path> files;
  std::uintmax_t bytes = 0;
  for (int batch = 1; batch <= 5; ++batch) {
    files.push_back(folder / fmt::format("data_batch_{}.bin", batch));
    bytes += fs::file_size(files.back());
  }
  const ExampleSink training = split_last_tenth(source.sink, bytes / 3073);
  for (const auto& file : files) read_cifar10_batch(file, training);
  files.push_back(folder / "test_batch.bin");
  read_cifar10_batch(files.back(), [&](std::int32_t label, std::string_view pixels, std::string_view) { source.sink(Split::test, label, pixels, {}); });
  return files;
}

std::vector<fs::path> read_fashion_mnist(const ExampleSource& source) {
  const fs::path folder = find_fashion_mnist(source.folder);
  std::vector<fs::path> files;
  for (const char* name : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    files.push_back(idx_file(folder, name));
  }
  read_idx(files[0], files[1], split_last_tenth(source.sink, 60000));
  read_idx(files[2], files[3], [&](std::int32_t label, std::string_view pixels, std::string_view) { source.sink(Split::test, label, pixels, {}); });
  return files;
}

PackedTaskSpec pictures(std::string name) {
  PackedTaskSpec spec;
  spec.name = std::move(name);
  spec.picture_side = 32;
  spec.official_seq_len = 1024;
  return spec;
}

}  // namespace

std::unique_ptr<Task> make_image_task() {
  PackedTaskSpec spec = pictures("image");
  spec.classes = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
  spec.how_to_prepare = "lra-run data prepare image --from cifar-10-binary.tar.gz (scripts/fetch_data.sh cifar10)";
  spec.wanted = [](const std::string& entry) { return entry.find("_batch") != std::string::npos; };  // the pickled ones too, to say what they are
  spec.read = read_cifar10;
  return std::make_unique<PackedTask>(std::move(spec));
}

std::unique_ptr<Task> make_image_standin_task() {
  PackedTaskSpec spec = pictures("image_standin");
  spec.stand_in_for = "image";
  spec.classes = {"T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"};
  spec.how_to_prepare = "lra-run data prepare image_standin (apt-get install dataset-fashion-mnist)";
  spec.wanted = [](const std::string& entry) { return entry.find("-ubyte") != std::string::npos; };
  spec.default_folder = [] { return find_fashion_mnist({}); };
  spec.read = read_fashion_mnist;
  return std::make_unique<PackedTask>(std::move(spec));
}

}  // namespace lra
