#include "data/pathfinder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <future>
#include <numeric>
#include <string>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/host_info.h"
#include "core/text.h"
#include "data/find_folder.h"
#include "data/png.h"
#include "data/random.h"
#include "data/source.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr const char* hard = "curv_contour_length_14";

/// The metadata files, each after its number.
std::vector<std::pair<std::uint64_t, fs::path>> metadata_files(const fs::path& folder) {
  std::error_code code;
  std::vector<std::pair<std::uint64_t, fs::path>> files;
  for (fs::directory_iterator i(folder, code), end; !code && i != end; i.increment(code)) {
    const fs::path& file = i->path();
    const std::string name = file.filename().string(), stem = file.stem().string();
    if (name.starts_with('.')) continue;  // some systems leave such files beside others
    std::uint64_t number = 0;
    const auto [stop, problem] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
    if (problem != std::errc() || stop != stem.data() + stem.size() || file.extension() != ".npy") {
      throw Error(fmt::format("{}: expected a metadata file named <number>.npy", file.string()));
    }
    files.emplace_back(number, file);
  }
  if (code)
    throw Error(
        fmt::format("{}: expected the folder of Pathfinder's metadata files ({})", folder.string(), code.message()));
  if (files.empty())
    throw Error(fmt::format("{}: expected metadata files named <number>.npy, found none", folder.string()));
  std::sort(files.begin(), files.end());
  return files;
}

PathfinderEntry parse_line(std::string_view line, const fs::path& folder) {
  std::vector<std::string_view> columns;
  for (std::size_t begin = 0, end = 0; end != std::string_view::npos && columns.size() < 4; begin = end + 1) {
    end = line.find(' ', begin);
    columns.push_back(line.substr(begin, end == std::string_view::npos ? end : end - begin));
  }
  if (columns.size() < 4)
    throw Error(fmt::format("expected at least 4 columns separated by single spaces, found {}", columns.size()));
  const fs::path batch = columns[0], name = columns[1];
  if (batch.empty() || batch.is_absolute() || std::find(batch.begin(), batch.end(), "..") != batch.end()) {
    throw Error(fmt::format("expected a folder such as imgs/0 in the first column, found \"{}\"",
                            printable(columns[0].substr(0, 40))));
  }
  if (name.empty() || name.filename() != name || name == "..") {
    throw Error(fmt::format("expected the name of a picture in the second column, found \"{}\"",
                            printable(columns[1].substr(0, 40))));
  }
  const std::string_view label = columns[3];
  if (label != "0" && label != "1" && label != "0.0" && label != "1.0") {
    throw Error(
        fmt::format("expected the label 0 or 1 in the fourth column, found \"{}\"", printable(label.substr(0, 40))));
  }
  return {folder / batch / name, label[0] - '0'};
}

void parse_metadata(const fs::path& file, const fs::path& folder, std::vector<PathfinderEntry>& entries) {
  const std::string text = read_source_file(file);
  if (text.starts_with("\x93NUMPY")) {
    throw Error(
        fmt::format("{}: expected plain text with a line for each picture, found a NumPy array", file.string()),
        "the release has text in its .npy files; the original generator's own arrays have to be saved as such text");
  }
  std::size_t number = 1;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    try {
      entries.push_back(parse_line(line, folder));
    } catch (const Error& error) {
      throw Error(fmt::format("{}:{}: {}", file.string(), number, error.what()));
    }
    begin = end + 1;
  }
  if (number == 1) throw Error(fmt::format("{}: expected a line for each picture, found an empty file", file.string()));
}

}  // namespace

fs::path find_pathfinder(const fs::path& from, int size) {
  std::error_code code;
  if (fs::is_directory(from / "metadata", code)) {
    const fs::path name = fs::weakly_canonical(from, code).filename();
    if (name == "curv_baseline" || name == "curv_contour_length_9") {
      throw Error(fmt::format("--from {}: the task has the release's hard pictures, these are easier ones",
                              printable(from.string())),
                  fmt::format("name {} beside it", hard));
    }
    return from;
  }
  if (fs::is_directory(from / hard / "metadata", code)) return from / hard;
  const fs::path pictures = fs::path(fmt::format("pathfinder{}", size)) / hard;
  return find_folder(from, {(pictures / "metadata").string()},
                     "name the unpacked folder lra_release, or generate pictures") /
         pictures;
}

std::vector<PathfinderEntry> list_pathfinder(const fs::path& folder) {
  std::vector<PathfinderEntry> entries;
  for (const auto& [number, file] : metadata_files(folder / "metadata")) parse_metadata(file, folder, entries);
  return entries;
}

std::size_t read_pathfinder(const std::vector<PathfinderEntry>& entries, int size, unsigned threads,
                            const PathfinderSink& sink) {
  constexpr std::size_t pictures_at_a_time = 1024;
  if (threads == 0) threads = static_cast<unsigned>(usable_cores());
  std::size_t empty = 0;
  for (std::size_t first = 0; first < entries.size(); first += pictures_at_a_time) {
    std::vector<std::vector<std::uint8_t>> pictures(std::min(pictures_at_a_time, entries.size() - first));
    const auto decode = [&](std::size_t begin) {
      for (std::size_t i = begin; i < pictures.size(); i += threads) {
        const fs::path& file = entries[first + i].file;
        if (const std::string bytes = read_source_file(file); !bytes.empty())
          pictures[i] = read_png_grey(bytes, printable(file.string()), size, size);
      }
    };
    std::vector<std::future<void>> workers;
    for (unsigned t = 0; t < threads; ++t) workers.push_back(std::async(std::launch::async, decode, t));
    for (auto& worker : workers) worker.get();
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      if (pictures[i].empty()) {
        ++empty;
      } else {
        sink(first + i, entries[first + i].label,
             {reinterpret_cast<const char*>(pictures[i].data()), pictures[i].size()});
      }
    }
  }
  return empty;
}

std::array<std::vector<std::uint32_t>, 3> split_entries(std::size_t count, std::uint64_t seed) {
  if (count < 10)
    throw Error(
        fmt::format("Pathfinder: expected at least 10 pictures to split into train, valid and test, found {}", count));
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0u);
  Random random(seed, ~std::uint64_t{0});  // no picture's stream
  for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(static_cast<std::uint32_t>(i))]);
  const auto cut = [&](std::size_t begin, std::size_t end) {
    std::vector<std::uint32_t> part(order.begin() + static_cast<std::ptrdiff_t>(begin),
                                    order.begin() + static_cast<std::ptrdiff_t>(end));
    std::sort(part.begin(), part.end());
    return part;
  };
  const std::size_t train = count * 8 / 10, valid = count / 10;
  return {cut(0, train), cut(train, train + valid), cut(train + valid, count)};
}

}  // namespace lra
