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

/// The five training batches, then the test batch.
SourceFiles find_batches(const fs::path& from, const GeneratorOptions*) {
  SourceFiles source{.folder = find_cifar10(from), .files = {}};
  for (int batch = 1; batch <= 5; ++batch)
    source.files.push_back(source.folder / fmt::format("data_batch_{}.bin", batch));
  source.files.push_back(source.folder / "test_batch.bin");
  return source;
}

void read_cifar10(const ExampleSource& source) {
  const auto files = find_batches(source.folder, nullptr).files;
  std::uintmax_t bytes = 0;
  for (std::size_t batch = 0; batch < 5; ++batch) bytes += fs::file_size(files[batch]);
  const ExampleSink training = split_last_tenth(source.sink, bytes / 3073);
  for (std::size_t batch = 0; batch < 5; ++batch) read_cifar10_batch(files[batch], training);
  read_cifar10_batch(files[5], [&](std::int32_t label, std::string_view pixels, std::string_view) {
    source.sink(Split::test, label, pixels, {});
  });
}

SourceFiles find_idx_files(const fs::path& from, const GeneratorOptions*) {
  SourceFiles source{.folder = find_fashion_mnist(from), .files = {}};
  for (const char* name :
       {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}) {
    source.files.push_back(idx_file(source.folder, name));
  }
  return source;
}

void read_fashion_mnist(const ExampleSource& source) {
  const auto files = find_idx_files(source.folder, nullptr).files;
  read_idx(files[0], files[1], split_last_tenth(source.sink, 60000));
  read_idx(files[2], files[3], [&](std::int32_t label, std::string_view pixels, std::string_view) {
    source.sink(Split::test, label, pixels, {});
  });
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
  spec.wanted = [](const std::string& entry) {
    return entry.find("_batch") != std::string::npos;
  };  // the pickled ones too, to say what they are
  spec.companion = [](const std::string& entry) {
    const auto name = fs::path(entry).filename();
    return name == "batches.meta.txt" || name == "readme.html";
  };
  spec.official_splits_overlap = true;  // in grey some pictures of CIFAR-10 are the same (Barz and Denzler 2020, arXiv
                                        // 1902.00423, count near-duplicates)
  spec.find = find_batches;
  spec.read = read_cifar10;
  return std::make_unique<PackedTask>(std::move(spec));
}

std::unique_ptr<Task> make_image_standin_task() {
  PackedTaskSpec spec = pictures("image_standin");
  spec.stand_in_for = "image";
  spec.classes = {"T-shirt", "trousers", "pullover", "dress", "coat",
                  "sandal",  "shirt",    "sneaker",  "bag",   "ankle boot"};
  spec.how_to_prepare = "lra-run data prepare image_standin (apt-get install dataset-fashion-mnist)";
  spec.wanted = [](const std::string& entry) { return entry.find("-ubyte") != std::string::npos; };
  spec.default_folder = [] { return find_fashion_mnist({}); };
  spec.find = find_idx_files;
  spec.read = read_fashion_mnist;
  return std::make_unique<PackedTask>(std::move(spec));
}

}  // namespace lra
