#include "data/imdb.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/text.h"
#include "data/find_folder.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

std::vector<fs::path> reviews_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code code;
  for (auto entry = fs::directory_iterator(folder, code); !code && entry != fs::end(entry); entry.increment(code)) {
    const std::string name = entry->path().filename().string();
    if (name.ends_with(".txt") && !name.starts_with('.'))
      files.push_back(entry->path());  // macOS adds ._NAME.txt to copies
  }
  if (code) throw Error(fmt::format("{}: cannot be read ({})", folder.string(), code.message()));
  if (files.empty()) throw Error(fmt::format("{}: expected reviews (*.txt), found none", folder.string()));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::vector<fs::path> list_imdb(const fs::path& folder_of_split) {
  std::vector<fs::path> files = reviews_in(folder_of_split / "neg");
  const auto positive = reviews_in(folder_of_split / "pos");
  files.insert(files.end(), positive.begin(), positive.end());
  return files;
}

fs::path find_imdb(const fs::path& from) {
  return find_folder(from, {"train/neg", "train/pos", "test/neg", "test/pos"},
                     "unpack https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz there");
}

void read_imdb(const fs::path& folder_of_split, const ExampleSink& sink) {
  for (const std::int32_t label : {0, 1}) {
    for (const fs::path& file : reviews_in(folder_of_split / (label == 0 ? "neg" : "pos"))) {
      const std::string review = read_source_file(file);
      if (review.empty())
        throw Error(fmt::format("{}: expected a review, found an empty file", printable(file.string())));
      sink(label, review, {});
    }
  }
}

}  // namespace lra
