#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/text.h"
#include "data/line_reader.h"
#include "data/listops.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t longest_line = 8 << 20;  // a million tokens, the generator's longest, take seven bytes each

/// What a character is in a source text: a token, or one of these.
constexpr char kind_parenthesis = 0, kind_operator = 100, kind_unknown = 101;
constexpr auto kinds = [] {
  std::array<char, 256> table{};
  table.fill(kind_unknown);
  table['('] = table[')'] = kind_parenthesis;
  table['['] = kind_operator;
  table[']'] = token_close;
  for (std::size_t digit = 0; digit < 10; ++digit) table['0' + digit] = static_cast<char>(token_digit_0 + digit);
  return table;
}();

/// `p` points behind a '['; returns the operator and moves `p` behind its name, or returns kind_unknown.
char read_operator(const char*& p, const char* end) {
  constexpr std::array<std::pair<std::string_view, char>, 4> names{
      {{"MIN", token_min}, {"MAX", token_max}, {"MED", token_med}, {"SM", token_sum_mod}}};
  const std::string_view rest(p, static_cast<std::size_t>(end - p));
  for (const auto& [name, token] : names) {
    if (rest.starts_with(name)) {
      p += name.size();
      return token;
    }
  }
  return kind_unknown;
}

/// Writes the tokens of `source` to `out`, which has room for source.size() of them, and returns their number.
/// source.end() must be readable. Throws Error saying what was expected.
std::size_t tokenise(std::string_view source, char* out) {
  const char* p = source.data();
  const char* const end = p + source.size();
  std::size_t count = 0;
  std::int64_t open = 0;
  while (p < end) {
    const char* const symbol = p;
    char kind = kinds[static_cast<unsigned char>(*p++)];
    if (kind == kind_operator) kind = read_operator(p, end);
    if (kind == kind_unknown || (p < end && *p != ' ')) {
      const std::string_view rest(symbol, static_cast<std::size_t>(end - symbol));
      throw Error(fmt::format(
          "expected ( ) ] [MIN [MAX [MED [SM or a digit, separated by single spaces, found '{}' in column {}",
          printable(rest.substr(0, std::min(std::max<std::size_t>(rest.find(' '), 1), std::size_t{12}))),
          symbol - source.data() + 1));
    }
    if (*symbol == '(') ++open;
    if (*symbol == ')' && --open < 0)
      throw Error(fmt::format("the parenthesis in column {} closes none that was opened", symbol - source.data() + 1));
    ++p;
    out[count] = kind;
    count += kind != kind_parenthesis;
  }
  if (open > 0) throw Error(fmt::format("{} parentheses are opened and not closed", open));
  if (count == 0) throw Error("expected an expression before the tab, found none");
  return count;
}

}  // namespace

std::unique_ptr<ListopsDataset> read_listops(const fs::path& file, std::size_t seq_len, std::size_t limit) {
  LineReader reader(file, longest_line);
  const auto fail = [&](std::size_t number, const std::string& message) {
    throw Error(fmt::format("{}:{}: {}", file.string(), number, message));
  };
  std::string_view line;
  if (!reader.next(line) || line != listops_header) fail(1, "expected the header Source<tab>Target");

  auto data = std::make_unique<ListopsDataset>();
  if (limit == 0) data->reserve(reader.file_size() / 6);  // about six characters a token
  std::vector<char> tokens;
  for (std::size_t number = 2; (limit == 0 || data->size() < limit) && reader.next(line); ++number) {
    if (line.empty()) {
      if (!reader.next(line)) break;
      fail(number, "expected an expression, a tab and a digit, found an empty line");
    }
    const std::size_t tab = line.size() < 2 ? 0 : line.size() - 2;
    if (line[tab] != '\t' || line.back() < '0' || line.back() > '9')
      fail(number, "expected a tab and one digit (the Target) at the end of the line");
    tokens.resize(std::max(tokens.size(), tab));
    std::string_view expression;
    int value = 0;
    try {
      expression = {tokens.data(), tokenise(line.substr(0, tab), tokens.data())};
      value = evaluate_listops(expression);
    } catch (const Error& error) {
      fail(number, error.what());
    }
    if (value != line.back() - '0')
      fail(number, fmt::format("the Target is {}, but the Source evaluates to {}", line.back(), value));
    data->add(expression, line.back() - '0', seq_len);
  }
  if (data->size() == 0) fail(2, "expected an expression, a tab and a digit, found the end of the file");
  return data;
}

}  // namespace lra
