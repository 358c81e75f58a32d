#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "data/listops.h"
#include "data/task.h"

namespace fs = std::filesystem;
using namespace lra;

namespace {

/// A folder that is empty at the start and gone at the end.
struct Folder {
  explicit Folder(const std::string& name)
      : path(fs::temp_directory_path() / ("lra_test_listops_" + name + std::to_string(::getpid()))) {
    fs::remove_all(path);
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

ListopsGenerator small_options() {
  ListopsGenerator options;
  options.seed = 7;
  options.train = 60;
  options.valid = 20;
  options.test = 20;
  options.min_length = 20;
  options.max_length = 100;
  return options;
}

PrepareOptions prepare_in(const fs::path& folder, const ListopsGenerator& options, std::int64_t threads = 0) {
  return {.data_dir = folder.string(), .from = "", .threads = threads, .generator = to_json_object(options)};
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::unique_ptr<ListopsDataset> read_text(const Folder& folder, const std::string& text, std::size_t seq_len = 2000,
                                          std::size_t limit = 0) {
  write_file_atomically(folder.path / "x.tsv", text);
  return read_listops(folder.path / "x.tsv", seq_len, limit);
}

/// Tokens of a source text without its parentheses, by the reader.
std::string tokens_of(const std::string& source, int value) {
  const Folder folder("tokens");
  return std::string(read_text(folder, "Source\tTarget\n" + source + "\t" + std::to_string(value) + "\n")->tokens(0));
}

/// The value of the official text itself, from its parentheses: an independent reading of the form and of the
/// operators. expression = digit | ( pair ] ), pair = operator | ( pair expression )
struct TextEvaluator {
  const std::string& text;
  std::size_t at = 0;

  std::string word() {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    std::string result = text.substr(at, end - at);
    at = end + 1;
    return result;
  }
  std::string peek() {
    const std::size_t before = at;
    std::string result = word();
    at = before;
    return result;
  }
  void expect(const char* symbol) {
    if (word() != symbol) throw std::runtime_error("not the official form");
  }
  int expression() {
    if (peek() != "(") return std::stoi(word());
    expect("(");
    std::vector<int> arguments;
    const std::string operation = pair(arguments);
    expect("]");
    expect(")");
    std::sort(arguments.begin(), arguments.end());
    const std::size_t n = arguments.size();
    if (operation == "[MIN") return arguments.front();
    if (operation == "[MAX") return arguments.back();
    if (operation == "[MED")
      return static_cast<int>(n % 2 == 1 ? arguments[n / 2] : (arguments[n / 2 - 1] + arguments[n / 2]) / 2.0);
    int sum = 0;
    for (const int value : arguments) sum += value;
    return sum % 10;
  }
  std::string pair(std::vector<int>& arguments) {
    if (peek() != "(") return word();
    expect("(");
    std::string operation = pair(arguments);
    arguments.push_back(expression());
    expect(")");
    return operation;
  }
};

int value_of_text(const std::string& text) {
  TextEvaluator evaluator{text};
  const int value = evaluator.expression();
  if (evaluator.at <= text.size()) throw std::runtime_error("not the official form");
  return value;
}

/// Exact distribution of the length of one candidate with the official depth and arguments, from the recurrence over
/// depths.
std::vector<double> exact_lengths(std::size_t max_length) {
  std::vector<double> of_subtree(max_length, 0.0);
  of_subtree[1] = 1;
  for (int depth = 9; depth >= 1; --depth) {
    std::vector<double> next(max_length, 0.0), arguments = of_subtree;
    for (int count = 2; count <= 10; ++count) {
      std::vector<double> longer(max_length, 0.0);
      for (std::size_t a = 0; a < max_length; ++a) {
        if (arguments[a] == 0) continue;
        for (std::size_t b = 0; a + b < max_length; ++b) longer[a + b] += arguments[a] * of_subtree[b];
      }
      arguments = longer;
      for (std::size_t n = 0; n + 2 < max_length; ++n) next[n + 2] += 0.25 / 9 * arguments[n];
    }
    next[1] += 0.75;
    of_subtree = next;
  }
  return of_subtree;
}

/// Mean of pairs' ratio sum(a) / sum(b) with its standard error (delta method); b = 1: a plain mean.
struct Ratio {
  std::vector<double> a, b;
  void add(double numerator, double denominator = 1) {
    a.push_back(numerator);
    b.push_back(denominator);
  }
  double sum_b() const {
    double sum = 0;
    for (const double x : b) sum += x;
    return sum;
  }
  double value() const {
    double sum = 0;
    for (const double x : a) sum += x;
    return sum / sum_b();
  }
  double error() const {
    double squares = 0;
    for (std::size_t i = 0; i < a.size(); ++i) squares += std::pow(a[i] - value_ * b[i], 2);
    return std::sqrt(squares) / sum_b();
  }
  /// Within 4 standard errors of a published number, which is itself rounded and an estimate from 100,000 trees.
  bool agrees_with(double published, double rounding) {
    value_ = value();
    const double both = error() * std::sqrt(1 + static_cast<double>(a.size()) / 100'000);
    return std::abs(value_ - published) < 4 * both + rounding / 2;
  }

 private:
  double value_ = 0;
};

}  // namespace

TEST_CASE("ListOps: test vectors for tokens and values", "[listops]") {
  const std::string med = "( ( ( ( ( [MED 1 ) 4 ) 8 ) 3 ) ] )";
  const std::string tokens = tokens_of(med, 3);
  CHECK(tokens == std::string{token_med, 2, 5, 9, 4, token_close});
  CHECK(evaluate_listops(tokens) == 3);
  CHECK(listops_source(tokens) == med);
  CHECK(listops_source(tokens_of("[MAX 4 7 ]", 7)) == "( ( ( [MAX 4 ) 7 ) ] )");
  CHECK(evaluate_listops(tokens_of("[SM 9 9 5 ]", 3)) == 3);
  CHECK(evaluate_listops(tokens_of("[MIN 4 [MAX 2 7 ] ]", 4)) == 4);
  CHECK(evaluate_listops(tokens_of("[MED 9 0 8 ]", 8)) == 8);
  CHECK(evaluate_listops(tokens_of("7", 7)) == 7);
  CHECK(tokens_of("[MIN 0 9 ]", 0) == std::string{token_min, 1, 10, token_close});
  const std::vector<std::string> broken = {{token_min, token_close},
                                           {token_min, 2},
                                           {2, 3},
                                           {token_close},
                                           {token_min, 2, token_close, token_close},
                                           {token_max, token_min, 2, token_close}};
  for (const std::string& tokens_of_none : broken) CHECK_THROWS_AS(evaluate_listops(tokens_of_none), Error);
}

TEST_CASE("ListOps: the generator's trees have the official statistics", "[listops]") {
  ListopsGenerator options;
  options.seed = 1;
  options.train = 16000;
  options.valid = 2000;
  options.test = 12000;
  const ListopsSample sample = generate_listops(options);

  std::vector<std::int64_t> lengths;
  Ratio length, digits, arity, root_arity, root_digits, min_gives_0, max_gives_9, med_gives_4;
  std::array<Ratio, 10> label, sum_mod_label;
  std::array<Ratio, 4> root;
  for (const ListopsDataset& split : sample.splits) {
    for (std::size_t i = 0; i < split.size(); ++i) {
      const std::string_view tokens = split.tokens(i);
      lengths.push_back(split.length(i));
      length.add(static_cast<double>(tokens.size()));
      int digit_count = 0, operator_count = 0, depth = 0, deepest = 0, children = 0, child_digits = 0;
      for (const char token : tokens) {
        if (token == token_close) {
          --depth;
          continue;
        }
        children += depth == 1;
        if (token < token_min) {
          ++digit_count;
          child_digits += depth == 1;
        } else {
          ++operator_count;
          deepest = std::max(deepest, ++depth);
        }
      }
      REQUIRE(deepest <= 9);
      digits.add(digit_count, static_cast<double>(tokens.size()));
      arity.add(digit_count + operator_count - 1, operator_count);
      root_arity.add(children);
      root_digits.add(child_digits);
      const int value = split.label(i);
      for (int v = 0; v < 10; ++v) label[static_cast<std::size_t>(v)].add(value == v);
      for (int op = 0; op < 4; ++op) root[static_cast<std::size_t>(op)].add(tokens[0] == token_min + op);
      if (tokens[0] == token_min) min_gives_0.add(value == 0);
      if (tokens[0] == token_max) max_gives_9.add(value == 9);
      if (tokens[0] == token_med) med_gives_4.add(value == 4);
      if (tokens[0] == token_sum_mod) {
        for (int v = 0; v < 10; ++v) sum_mod_label[static_cast<std::size_t>(v)].add(value == v);
      }
    }
  }

  // Acceptance and lengths against the exact distribution. (Simulation gave others 8.1 % for the acceptance; exactly it
  // is 8.28 %.)
  const std::vector<double> exact = exact_lengths(2000);
  double acceptance = 0, exact_mean = 0;
  for (std::size_t n = 501; n < 2000; ++n) acceptance += exact[n];
  for (std::size_t n = 501; n < 2000; ++n) exact_mean += static_cast<double>(n) * exact[n] / acceptance;
  const auto candidates = static_cast<double>(sample.candidates);
  CHECK(std::abs(static_cast<double>(sample.accepted) / candidates - acceptance) <
        4 * std::sqrt(acceptance * (1 - acceptance) / candidates));
  CHECK(std::abs(length.value() - exact_mean) < 4 * 394 / std::sqrt(static_cast<double>(lengths.size())));

  CHECK(length.agrees_with(1034.0, 0.1));
  const double mean = length.value();
  Ratio variance, fourth;
  for (const auto n : lengths) {
    variance.add(std::pow(static_cast<double>(n) - mean, 2));
    fourth.add(std::pow(static_cast<double>(n) - mean, 4));
  }
  const double deviation = std::sqrt(variance.value());
  const double deviation_error =
      std::sqrt((fourth.value() / std::pow(deviation, 4) - 1) / static_cast<double>(lengths.size())) * deviation / 2;
  CHECK(std::abs(deviation - 393) < 4 * deviation_error + 0.5);
  CHECK(*std::min_element(lengths.begin(), lengths.end()) == 501);
  CHECK(*std::max_element(lengths.begin(), lengths.end()) >= 1998);
  // A published quantile q must cut off the fraction q of our lengths.
  for (const auto& [q, published] : {std::pair{0.10, 577}, {0.25, 701}, {0.50, 952}, {0.75, 1308}, {0.90, 1641}}) {
    CAPTURE(q);
    Ratio below;
    for (const auto n : lengths) below.add(n < published ? 1 : n == published ? 0.5 : 0);
    CHECK(below.agrees_with(q, 0.002));
  }

  const std::array<double, 10> published_labels{.1689, .0899, .0792, .0829, .0893, .0870, .0768, .0717, .0877, .1667};
  for (std::size_t v = 0; v < 10; ++v) {
    CAPTURE(v);
    CHECK(label[v].agrees_with(published_labels[v], 0.0001));
    CHECK(sum_mod_label[v].agrees_with(0.1, 0));
  }
  for (auto& frequency : root) CHECK(frequency.agrees_with(0.25, 0));
  CHECK(min_gives_0.agrees_with(0.558, 0.001));
  CHECK(max_gives_9.agrees_with(0.562, 0.001));
  CHECK(med_gives_4.agrees_with(0.211, 0.001));
  CHECK(root_arity.agrees_with(6.88, 0.01));
  CHECK(root_digits.agrees_with(4.62, 0.01));
  CHECK(arity.agrees_with(6.02, 0.01));
  CHECK(digits.agrees_with(0.715, 0.001));

  const Json levels = listops_levels(sample.splits[0], sample.splits[2]);
  const auto near = [&](const char* name, double published) {
    return std::abs(levels.at(name).get<double>() - published) <
           4 * std::sqrt(published * (1 - published) / 12000) + 0.0005;
  };
  CHECK(levels.at("chance") == 0.1);
  // Labels 0 and 9 are nearly equally frequent (0.1689, 0.1667): either may be the majority of a sample.
  CHECK(near("majority", 0.169));
  CHECK(near("root_operator", 0.359));
}

TEST_CASE("ListOps: the sample depends on the seed, not on the number of threads", "[listops]") {
  const Folder one("one"), many("many"), other("other");
  const auto task = task_registry().at("listops").make();
  const auto files = [&](const Folder& folder, std::int64_t seed, std::int64_t threads) {
    ListopsGenerator options = small_options();
    options.seed = seed;
    options.train = 3000;
    task->prepare(prepare_in(folder.path, options, threads));
    std::string all;
    for (const char* name : {"basic_train.tsv", "basic_val.tsv", "basic_test.tsv", "manifest.json"})
      all += read_file(folder.path / "listops" / name);
    return all;
  };
  const std::string first = files(one, 7, 1);
  CHECK(first == files(many, 7, 5));
  CHECK(first != files(other, 8, 1));
  // Fixed for good: whoever changes the generator must raise its version.
  CHECK(task->data_info([&] {
              TaskConfig config;
              config.data_dir = one.path.string();
              return config;
            }())
            .at("test")
            .at("sha256") == "dd39bfd43d51f5aa93b4018220751700c7f7b320a8350c922cc77f4164cc6233");
}

TEST_CASE("ListOps: length bounds are strict, trees distinct, impossible options an error", "[listops]") {
  ListopsGenerator options = small_options();
  options.min_length = 5;
  options.max_length = 8;
  std::set<std::size_t> lengths;
  std::set<std::string> distinct;
  const ListopsSample sample = generate_listops(options);
  for (const ListopsDataset& split : sample.splits) {
    for (std::size_t i = 0; i < split.size(); ++i) {
      lengths.insert(split.tokens(i).size());
      distinct.emplace(split.tokens(i));
    }
  }
  CHECK(lengths == std::set<std::size_t>{6, 7});
  CHECK(distinct.size() == 100);

  options.min_length = 0;
  options.max_length = 2;  // only the ten digits
  options.train = 4;
  options.valid = options.test = 3;
  std::set<std::int32_t> digits;
  const ListopsSample ten = generate_listops(options);
  for (const ListopsDataset& split : ten.splits) {
    for (std::size_t i = 0; i < split.size(); ++i) digits.insert(split.label(i));
  }
  CHECK(digits.size() == 10);
  CHECK(ten.accepted > 10);

  options.min_length = 2;
  options.max_length = 4;  // an operator with two digits has length 4 already
  CHECK(error_of([&] { generate_listops(options); }).find("0 found") != std::string::npos);

  for (const auto field : {&ListopsGenerator::train, &ListopsGenerator::max_args, &ListopsGenerator::max_depth,
                           &ListopsGenerator::max_length}) {
    ListopsGenerator bad = small_options();
    bad.*field = 0;
    CHECK(error_of([&] { generate_listops(bad); }).find("expected a number from") != std::string::npos);
  }
}

TEST_CASE("ListOps: files are read in every form people write them", "[listops]") {
  const Folder folder("forms");
  const std::string text = GENERATE(
      "Source\tTarget\r\n( ( ( [MAX 4 ) 7 ) ] )\t7\r\n3\t3\r\n", "Source\tTarget\n( ( ( [MAX 4 ) 7 ) ] )\t7\n3\t3\n",
      "Source\tTarget\r\n( ( ( [MAX 4 ) 7 ) ] )\t7\r\n3\t3", "Source\tTarget\n[MAX 4 7 ]\t7\n3\t3\n\n");
  CAPTURE(text);
  const auto data = read_text(folder, text);
  REQUIRE(data->size() == 2);
  CHECK(data->get(0).tokens == std::vector<std::int32_t>{12, 5, 8, 15});
  CHECK(data->get(0).label == 7);
  CHECK(data->get(1).tokens == std::vector<std::int32_t>{4});
  CHECK(read_text(folder, text, 2)->get(0).tokens == std::vector<std::int32_t>{12, 5});
  CHECK(read_text(folder, text, 2)->length(0) == 2);
  CHECK(read_text(folder, text, 2000, 1)->size() == 1);
}

TEST_CASE("ListOps: a bad line is an error with its file and line number", "[listops]") {
  const Folder folder("bad");
  const std::string good = "[MAX 4 7 ]\t7\r\n";
  for (const char* bad :
       {"[MAX 4 7 ]", "[MAX 4 7 ]\t", "[MAX 4 7 ]\t10", "[MAX 4 7 ] 7", "[MAX 4 x ]\t7", "[MAXI 4 7 ]\t7",
        "[AVG 4 7 ]\t7", "[MAX 47 ]\t7", "[\t7", "[MAX 4\t7 ]\t7", "\t7", "( )\t7", "", "7"}) {
    CAPTURE(bad);
    const std::string message =
        error_of([&] { read_text(folder, "Source\tTarget\r\n" + good + good + bad + "\r\n" + good); });
    CHECK(message.starts_with((folder.path / "x.tsv").string() + ":4: expected "));
  }
  for (const char* bad : {"", "Source,Target\n", "[MAX 4 7 ]\t7\n"}) {
    CHECK(error_of([&] { read_text(folder, bad); }).find("x.tsv:1: expected the header") != std::string::npos);
  }
  CHECK(error_of([&] { read_text(folder, "Source\tTarget\n"); }).find("x.tsv:2: ") != std::string::npos);
  CHECK(error_of([&] { read_listops(folder.path, 10, 0); }).find("cannot be read") != std::string::npos);
  CHECK(error_of([&] { read_listops(folder.path / "none.tsv", 10, 0); }).find("No such file") != std::string::npos);
}

TEST_CASE("ListOps: what is no expression, or has another value than its Target, is refused when the file is opened",
          "[listops]") {
  const Folder folder("structure");
  const auto error = [&](const char* line) {
    return error_of([&] { read_text(folder, "Source\tTarget\n3\t3\n" + std::string(line) + "\n", 4); });
  };
  const std::string place = (folder.path / "x.tsv").string() + ":3: ";
  CHECK(error("[MAX 4 7 ]\t7") == "no error");
  CHECK(error("[MAX 4 7\t7") == place + "the expression ends too early");
  CHECK(error("[MAX 4 7 ] ]\t7") == place + "the expression goes on after its end");
  CHECK(error("] ]\t7") == place + "a closing bracket without an operator");  // no token would be left without brackets
  CHECK(error("[MAX ]\t7") == place + "an operator without arguments");
  CHECK(error("( ( ( [MAX 4 ) 7 ) ]\t7") == place + "1 parentheses are opened and not closed");
  CHECK(error("( [MAX 4 ) ) 7 ]\t7") == place + "the parenthesis in column 12 closes none that was opened");
  CHECK(error("[MAX 4 7 ]\t8") == place + "the Target is 8, but the Source evaluates to 7");
}

TEST_CASE("ListOps: lines longer than the reader's buffer are read whole", "[listops]") {
  const Folder folder("long");
  std::string source = "[SM";
  for (int i = 0; i < 3'000'000; ++i) source += " 1";
  const auto data = read_text(folder, "Source\tTarget\n1\t1\n" + source + " ]\t0\n2\t2\n", 4'000'000);
  REQUIRE(data->size() == 3);
  CHECK(data->length(1) == 3'000'002);
  CHECK(evaluate_listops(data->tokens(1)) == 0);
  CHECK(data->label(2) == 2);
}

TEST_CASE("ListOps: prepared, read again, verified", "[listops]") {
  const Folder folder("prepare");
  const auto task = task_registry().at("listops").make();
  PrepareOptions options = prepare_in(folder.path, small_options());
  TaskConfig config;
  config.data_dir = folder.path.string();
  const fs::path test_file = folder.path / "listops" / "basic_test.tsv";

  CHECK(error_of([&] { task->open(Split::test, config); }).find("basic_test.tsv: there is no such file") !=
        std::string::npos);
  CHECK(task->prepare(options).at("prepared") == "written");
  const std::string text = read_file(test_file);
  CHECK(task->prepare(options).at("prepared") == "already there");
  const Json summary = task->verify(folder.path);
  CHECK(summary.at("examples") == Json({{"train", 60}, {"valid", 20}, {"test", 20}}));

  // Every line, read here by its parentheses, has the value that stands behind its tab.
  REQUIRE(text.starts_with("Source\tTarget\r\n"));
  REQUIRE(text.ends_with("\r\n"));
  const auto data = task->open(Split::test, config);
  std::size_t index = 0;
  for (std::size_t at = text.find('\n') + 1; at < text.size(); ++index) {
    const std::size_t tab = text.find('\t', at);
    const std::string source = text.substr(at, tab - at);
    CHECK(value_of_text(source) == text[tab + 1] - '0');
    CHECK(data->get(index).label == text[tab + 1] - '0');
    CHECK(listops_source(dynamic_cast<const ListopsDataset&>(*data).tokens(index)) == source);
    at = tab + 4;
  }
  CHECK(index == 20);

  // A half-finished call is completed, other options are refused.
  fs::remove(test_file);
  CHECK(task->prepare(options).at("prepared") == "written");
  CHECK(read_file(test_file) == text);
  options.generator["seed"] = 8;
  CHECK(error_of([&] { task->prepare(options); }).find("was not made with these options") != std::string::npos);
  options.generator["seed"] = 7;

  // A flipped digit is found: in the Target by value with its line, in the Source at the latest by the hash.
  std::string flipped = text;
  char& target = flipped[flipped.size() - 3];
  target = target == '9' ? '0' : static_cast<char>(target + 1);
  write_file_atomically(test_file, flipped);
  CHECK(error_of([&] { task->verify(folder.path); }).find("basic_test.tsv:21: the Target is") != std::string::npos);
  flipped = text;
  char& digit = flipped[flipped.find_first_of("0123456789")];
  digit = digit == '9' ? '0' : static_cast<char>(digit + 1);
  write_file_atomically(test_file, flipped);
  CHECK(error_of([&] { task->verify(folder.path); }).find("basic_test.tsv:") != std::string::npos);
  write_file_atomically(test_file, text + "3\t3\r\n");
  CHECK(error_of([&] { task->verify(folder.path); }).find("bytes, the manifest says") != std::string::npos);
  CHECK(error_of([&] { task->prepare(options); }).find("was not made with these options") != std::string::npos);
  CHECK(error_of([&] { task->data_info(config); }).find("bytes, the manifest says") != std::string::npos);

  // Files of others, without a manifest, are verified by their values.
  fs::remove(folder.path / "listops" / "manifest.json");
  CHECK(task->verify(folder.path).at("manifest") == "none: hashes and counts not checked");
  CHECK(task->data_info(config).at("test").at("examples") == 21);

  config.vocab_size = 15;
  CHECK(error_of([&] { task->open(Split::test, config); }).starts_with("vocab_size: "));
  config.vocab_size = 17;
  config.num_classes = 9;
  CHECK(error_of([&] { task->open(Split::test, config); }).starts_with("num_classes: "));
}

TEST_CASE("bytes: exact lengths, ids 1 to 256, the same at every call", "[bytes]") {
  const auto task = task_registry().at("bytes").make();
  TaskConfig config;
  config.seq_len = 3000;
  config.vocab_size = 257;
  config.num_classes = 2;
  const auto data = task->open(Split::train, config);
  CHECK(data->size() == 1024);
  std::set<std::int32_t> ids, labels;
  for (std::size_t i = 0; i < 20; ++i) {
    const Example example = data->get(i);
    REQUIRE(example.tokens.size() == 3000);
    ids.insert(example.tokens.begin(), example.tokens.end());
    labels.insert(example.label);
    CHECK(example.tokens == data->get(i).tokens);
  }
  CHECK(data->get(0).tokens != data->get(1).tokens);
  CHECK(data->get(0).tokens != task->open(Split::test, config)->get(0).tokens);
  CHECK(ids.size() == 256);
  CHECK(*ids.begin() == 1);
  CHECK(labels == std::set<std::int32_t>{0, 1});
  CHECK_THROWS_AS(task->prepare({}), Error);
  config.vocab_size = 256;
  CHECK_THROWS_AS(task->open(Split::train, config), Error);
}
