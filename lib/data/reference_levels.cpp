#include "data/reference_levels.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "data/random.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t fitted_examples = 20000, passes = 5, batch = 50;

/// Rows of features, standardised by the first call of standardise().
class BagOfTokens {
 public:
  BagOfTokens(std::int64_t vocab_size, bool pairs) : vocab_(static_cast<std::size_t>(vocab_size)), width_(vocab_ * (pairs ? 3 : 1)) {}

  std::size_t width() const { return width_; }

  /// Writes the `width()` features of an example: the share of each id among its tokens.
  void count(const Example& example, float* out) const {
    std::fill(out, out + width_, 0.0f);
    const std::size_t second = example.second > 0 ? static_cast<std::size_t>(example.second) : example.tokens.size();
    for (std::size_t i = 0; i < example.tokens.size(); ++i) {
      const bool first = i < second;
      const auto id = static_cast<std::size_t>(example.tokens[i]);
      if (id < vocab_) out[first ? id : vocab_ + id] += 1.0f / static_cast<float>(first ? second : example.tokens.size() - second);
    }
    for (std::size_t id = 0; width_ > vocab_ && id < vocab_; ++id) out[2 * vocab_ + id] = std::abs(out[id] - out[vocab_ + id]);
  }

 private:
  std::size_t vocab_, width_;
};

std::vector<float> features(const BagOfTokens& bag, const Dataset& data, std::size_t first, std::size_t count) {
  std::vector<float> rows(count * bag.width());
  for (std::size_t i = 0; i < count; ++i) bag.count(data.get(first + i), &rows[i * bag.width()]);
  return rows;
}

/// Multinomial logistic regression: `classes` rows of weights, the last column the bias.
class Regression {
 public:
  Regression(std::size_t width, std::size_t classes) : width_(width), classes_(classes), weights_(classes * (width + 1)) {}

  void standardise_by(const std::vector<float>& rows) {
    const std::size_t count = rows.size() / width_;
    mean_.assign(width_, 0);
    scale_.assign(width_, 0);
    for (std::size_t i = 0; i < rows.size(); ++i) mean_[i % width_] += rows[i] / static_cast<float>(count);
    for (std::size_t i = 0; i < rows.size(); ++i) scale_[i % width_] += (rows[i] - mean_[i % width_]) * (rows[i] - mean_[i % width_]) / static_cast<float>(count);
    for (auto& scale : scale_) scale = scale > 0 ? 1 / std::sqrt(scale) : 0.0f;
  }

  void apply_standard(std::vector<float>& rows) const {
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = (rows[i] - mean_[i % width_]) * scale_[i % width_];
  }

  void fit(const std::vector<float>& rows, const std::vector<std::int32_t>& labels) {
    const std::size_t steps = passes * ((labels.size() + batch - 1) / batch);
    std::vector<float> gradient(weights_.size()), first(weights_.size()), second(weights_.size()), p(classes_);
    std::size_t step = 0;
    for (std::size_t pass = 0; pass < passes; ++pass) {
      const auto order = shuffled(labels.size(), 0, pass);
      for (std::size_t begin = 0; begin < order.size(); begin += batch) {
        const std::size_t end = std::min(order.size(), begin + batch);
        std::fill(gradient.begin(), gradient.end(), 0.0f);
        for (std::size_t i = begin; i < end; ++i) {
          const float* x = &rows[order[i] * width_];
          probabilities(x, p.data());
          p[static_cast<std::size_t>(labels[order[i]])] -= 1;
          for (std::size_t c = 0; c < classes_; ++c) {
            float* row = &gradient[c * (width_ + 1)];
            for (std::size_t j = 0; j < width_; ++j) row[j] += p[c] * x[j];
            row[width_] += p[c];
          }
        }
        ++step;
        const float rate = 0.01f * (1 - static_cast<float>(step - 1) / static_cast<float>(steps));
        const float unbias1 = 1 - std::pow(0.9f, static_cast<float>(step)), unbias2 = 1 - std::pow(0.999f, static_cast<float>(step));
        for (std::size_t k = 0; k < weights_.size(); ++k) {
          const float g = gradient[k] / static_cast<float>(end - begin) + 1e-4f * weights_[k];
          first[k] = 0.9f * first[k] + 0.1f * g;
          second[k] = 0.999f * second[k] + 0.001f * g * g;
          weights_[k] -= rate * (first[k] / unbias1) / (std::sqrt(second[k] / unbias2) + 1e-8f);
        }
      }
    }
  }

  std::size_t best(const float* x) const {
    std::vector<float> p(classes_);
    probabilities(x, p.data());
    return static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin());
  }

 private:
  void probabilities(const float* x, float* p) const {
    for (std::size_t c = 0; c < classes_; ++c) {
      const float* row = &weights_[c * (width_ + 1)];
      p[c] = std::inner_product(x, x + width_, row, row[width_]);
    }
    const float largest = *std::max_element(p, p + classes_);
    float sum = 0;
    for (std::size_t c = 0; c < classes_; ++c) sum += p[c] = std::exp(p[c] - largest);
    for (std::size_t c = 0; c < classes_; ++c) p[c] /= sum;
  }

  std::size_t width_, classes_;
  std::vector<float> weights_, mean_, scale_;
};

double bag_of_tokens(const Dataset& train, const Dataset& test, std::size_t classes, std::int64_t vocab_size) {
  const BagOfTokens bag(vocab_size, train.get(0).second > 0);
  const std::size_t count = std::min(train.size(), fitted_examples);
  std::vector<float> rows = features(bag, train, 0, count);
  std::vector<std::int32_t> labels;
  for (std::size_t i = 0; i < count; ++i) labels.push_back(train.label(i));
  Regression regression(bag.width(), classes);
  regression.standardise_by(rows);
  regression.apply_standard(rows);
  regression.fit(rows, labels);
  std::size_t hits = 0;
  for (std::size_t i = 0; i < test.size(); ++i) {
    std::vector<float> row = features(bag, test, i, 1);
    regression.apply_standard(row);
    hits += static_cast<std::size_t>(test.label(i)) == regression.best(row.data());
  }
  return static_cast<double>(hits) / static_cast<double>(test.size());
}

}  // namespace

Json reference_levels(const Dataset& train, const Dataset& test, std::int64_t num_classes, std::int64_t vocab_size) {
  const auto classes = static_cast<std::size_t>(num_classes);
  std::vector<std::size_t> counts(classes), test_counts(classes);
  for (std::size_t i = 0; i < train.size(); ++i) ++counts.at(static_cast<std::size_t>(train.label(i)));
  for (std::size_t i = 0; i < test.size(); ++i) ++test_counts.at(static_cast<std::size_t>(test.label(i)));
  const auto majority = static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
  return {{"chance", 1 / static_cast<double>(classes)},
          {"majority", static_cast<double>(test_counts[majority]) / static_cast<double>(test.size())},
          {"bag_of_tokens", bag_of_tokens(train, test, classes, vocab_size)}};
}

Json remembered_levels(const fs::path& folder, const Json& key, const std::function<Json()>& compute) {
  const fs::path file = folder / "reference_levels.json";
  Json entries = Json::array();
  try {
    if (fs::exists(file)) entries = read_json(file);
    for (const Json& entry : entries) {
      if (entry.at("key") == key) return entry.at("levels");
    }
  } catch (const std::exception&) {  // a memory that cannot be read is none
    entries = Json::array();
  }
  Json levels = compute();
  if (!entries.is_array()) entries = Json::array();
  entries.push_back({{"key", key}, {"levels", levels}});
  try {
    write_json(file, entries);
  } catch (const Error&) {  // nor is one that cannot be written: data may be read-only
  }
  return levels;
}

Json split_statistics(const Dataset& whole, std::int64_t num_classes, std::int64_t seq_len) {
  std::vector<std::size_t> classes(static_cast<std::size_t>(num_classes));
  std::vector<std::int64_t> lengths;
  std::vector<bool> ids;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    const Example example = whole.get(i);
    ++classes.at(static_cast<std::size_t>(example.label));
    const auto size = static_cast<std::int64_t>(example.tokens.size());
    if (example.second > 0) lengths.push_back(example.second);
    lengths.push_back(size - example.second);
    for (const auto token : example.tokens) {
      const auto id = static_cast<std::size_t>(token);
      if (id >= ids.size()) ids.resize(id + 1);
      ids[id] = true;
    }
  }
  if (lengths.empty()) throw Error("a split has no examples");
  std::sort(lengths.begin(), lengths.end());
  const auto total = static_cast<double>(lengths.size());
  const double mean = static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0})) / total;
  double squares = 0;
  for (const auto length : lengths) squares += (static_cast<double>(length) - mean) * (static_cast<double>(length) - mean);
  Json length = {{"mean", mean}, {"deviation", std::sqrt(squares / total)}};
  for (const int percent : {0, 10, 25, 50, 75, 90, 100}) {
    length[fmt::format("{}%", percent)] = lengths[(lengths.size() - 1) * static_cast<std::size_t>(percent) / 100];
  }
  // Twenty bins of a round width.
  std::int64_t bin = 1;
  for (std::int64_t round = 1; bin * 20 <= lengths.back(); round *= 10) {
    for (const std::int64_t step : {1, 2, 5, 10}) {
      bin = step * round;
      if (bin * 20 > lengths.back()) break;
    }
  }
  std::vector<std::size_t> histogram(static_cast<std::size_t>(lengths.back() / bin) + 1);
  for (const auto l : lengths) ++histogram[static_cast<std::size_t>(l / bin)];
  const auto longer = std::count_if(lengths.begin(), lengths.end(), [&](std::int64_t l) { return l > seq_len; });
  return {{"classes", classes},
          {"length", length},
          {"length_histogram", {{"bin", bin}, {"counts", histogram}}},
          {"truncated", {{"seq_len", seq_len}, {"share", static_cast<double>(longer) / total}}},
          {"token_ids", std::count(ids.begin(), ids.end(), true)}};
}

}  // namespace lra
