#include "data/aan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "core/error.h"
#include "core/text.h"
#include "data/find_folder.h"
#include "data/line_reader.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t longest_line = 64 << 20;
constexpr std::size_t longest_text = 10'000;
constexpr std::size_t num_columns = 5;

std::int32_t parse_label(std::string_view text, const LineReader& reader) {
  double value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || (value != 0 && value != 1)) {
    reader.fail(
        fmt::format("expected the label 0 or 1 in the first column, found '{}'", printable(text.substr(0, 20))));
  }
  return value == 1;
}

}  // namespace

fs::path find_aan(const fs::path& from) {
  return find_folder(
      from, {"new_aan_pairs.train.tsv", "new_aan_pairs.eval.tsv", "new_aan_pairs.test.tsv"},
      "they are in the folder tsv_data of https://storage.googleapis.com/long-range-arena/lra_release.gz");
}

void read_aan(const fs::path& file, const ExampleSink& sink) {
  LineReader reader(file, longest_line);
  std::string_view line;
  bool any = false;
  while (reader.next(line)) {
    std::array<std::string_view, num_columns> columns;
    std::size_t found = 0;
    for (std::string_view rest = line;;) {
      const std::size_t tab = rest.find('\t');
      if (found < num_columns) columns[found] = rest.substr(0, tab);
      ++found;
      if (tab == std::string_view::npos) break;
      rest.remove_prefix(tab + 1);
    }
    if (found != num_columns)
      reader.fail(fmt::format("expected 5 tab-separated columns (label, id1, id2, text1, text2), found {}", found));
    sink(parse_label(columns[0], reader), columns[3].substr(0, longest_text), columns[4].substr(0, longest_text));
    any = true;
  }
  if (!any) reader.fail("expected 5 tab-separated columns (label, id1, id2, text1, text2), found the end of the file");
}

}  // namespace lra
