// Reformer, Routing and Sinkhorn beside computations token by token, and what the loops over all mixers cannot see.
#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <numeric>

#include "mixer_cases.h"

using namespace lra;
using namespace lra::testing;

namespace {

constexpr double exact = 1e-9;

using Matrix = std::vector<std::vector<double>>;

at::Tensor project(const Mixer& mixer, const std::string& name, const at::Tensor& x) {
  const at::NoGradGuard guard;
  const auto parameters = mixer.named_parameters();
  const at::Tensor* bias = parameters.find(name + ".bias");
  return at::linear(x, parameters[name + ".weight"], bias ? *bias : at::Tensor());
}

// One head of a projection, as numbers.
Matrix head(const at::Tensor& rows, std::int64_t h, std::int64_t d) {
  Matrix matrix;
  for (std::int64_t i = 0; i < rows.size(0); ++i) {
    const at::Tensor row = rows[i].narrow(0, h * d, d).contiguous();
    matrix.emplace_back(row.data_ptr<double>(), row.data_ptr<double>() + d);
  }
  return matrix;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// Σ weight_j value_j / Σ weight_j
std::vector<double> mean(const std::vector<double>& weights, const Matrix& values) {
  std::vector<double> result(values.front().size());
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (std::size_t j = 0; j < weights.size(); ++j) {
    for (std::size_t f = 0; f < result.size(); ++f) result[f] += weights[j] / sum * values[j][f];
  }
  return result;
}

// What the mixer makes of x if each head's tokens are mixed by `mix(head, q, k, v)` (k empty without a key projection).
template <class Mix>
at::Tensor by_hand(const Mixer& mixer, const MixerSpec& spec, const at::Tensor& x, Mix mix) {
  const std::int64_t d = spec.d_head();
  at::Tensor mixed = at::zeros({x.size(0), spec.d_qkv}, at::kDouble);
  for (std::int64_t h = 0; h < spec.num_heads; ++h) {
    const bool keys = mixer.named_parameters().contains("key.weight");
    const Matrix rows =
        mix(h, head(project(mixer, "query", x), h, d), keys ? head(project(mixer, "key", x), h, d) : Matrix(),
            head(project(mixer, "value", x), h, d));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (std::int64_t f = 0; f < d; ++f)
        mixed[static_cast<std::int64_t>(i)][h * d + f] = rows[i][static_cast<std::size_t>(f)];
    }
  }
  return project(mixer, "output", mixed);
}

// What the cases below came across.
struct Met {
  int alone = 0;           // tokens that see only themselves
  int some_rounds = 0;     // pairs that meet in several rounds, but not in all
  int across_the_end = 0;  // pairs of the first and the last of more than two chunks
};

Matrix reformer(const at::Tensor& rotations, const Matrix& x, const Matrix& v, std::size_t chunk, std::size_t rounds,
                std::size_t buckets, Met& met) {
  const std::size_t n = x.size(), chunks = (n + chunk - 1) / chunk;
  if (buckets == 0) buckets = chunks;
  if (buckets > 1) buckets += buckets % 2;
  std::vector<std::vector<int>> meetings(n, std::vector<int>(n));
  for (std::size_t r = 0; r < rounds; ++r) {
    std::vector<std::size_t> bucket(n), order(n), place(n);
    for (std::size_t i = 0; i < n && buckets > 1; ++i) {
      const at::Tensor row = at::tensor(x[i], at::kDouble);
      const at::Tensor rotated =
          at::matmul(row, rotations[static_cast<std::int64_t>(r)].narrow(1, 0, static_cast<std::int64_t>(buckets / 2)));
      bucket[i] = static_cast<std::size_t>(at::cat({rotated, -rotated}).argmax().item<std::int64_t>());
    }
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return bucket[a] < bucket[b]; });
    for (std::size_t i = 0; i < n; ++i) place[order[i]] = i;
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        const std::size_t own = place[i] / chunk, other = place[j] / chunk;
        if (bucket[i] != bucket[j] || (other != own && other != (own + chunks - 1) % chunks)) continue;
        meetings[i][j] += 1;
        if (chunks > 2 && own == 0 && other == chunks - 1) met.across_the_end += 1;
      }
    }
  }
  Matrix out;
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> weights(n);
    for (std::size_t j = 0; j < n; ++j) {
      if (meetings[i][j] > 1 && meetings[i][j] < static_cast<int>(rounds)) met.some_rounds += 1;
      if (j != i && meetings[i][j] > 0)
        weights[j] = std::exp(dot(x[i], x[j]) / std::sqrt(dot(x[j], x[j]) * static_cast<double>(x[i].size())));
    }
    if (std::all_of(weights.begin(), weights.end(), [](double w) { return w == 0; })) {
      weights[i] = 1;
      if (n > 1) met.alone += 1;
    }
    out.push_back(mean(weights, v));
  }
  return out;
}

std::vector<double> normalised(const std::vector<double>& x) {
  const auto d = static_cast<double>(x.size());
  const double average = std::accumulate(x.begin(), x.end(), 0.0) / d;
  const double variance = dot(x, x) / d - average * average;
  std::vector<double> result;
  for (const double value : x) result.push_back((value - average) / std::sqrt(variance + 1e-5));
  return result;
}

Matrix normalised(Matrix rows) {
  for (auto& row : rows) row = normalised(row);
  return rows;
}

double softmax_weight(const std::vector<double>& q, const std::vector<double>& k) {
  return std::exp(dot(q, k) / std::sqrt(static_cast<double>(q.size())));
}

// The numbers of the `count` rows with the largest product.
std::vector<std::size_t> nearest(const Matrix& rows, const std::vector<double>& centroid, std::size_t count) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return dot(rows[a], centroid) > dot(rows[b], centroid); });
  order.resize(std::min(count, rows.size()));
  return order;
}

// Routing of normalised q, k; `times` counts for each query the centroids that took it.
Matrix routing(const Matrix& centroids, const Matrix& q, const Matrix& k, const Matrix& v, std::size_t window,
               std::size_t fallback, std::vector<int>& times) {
  const std::size_t n = q.size();
  Matrix out(n, std::vector<double>(v.front().size()));
  times.assign(n, 0);
  for (const auto& centroid : centroids) {
    const auto keys = nearest(k, centroid, window);
    for (const std::size_t i : nearest(q, centroid, window)) {
      std::vector<double> weights(n);
      for (const std::size_t j : keys) weights[j] = softmax_weight(q[i], k[j]);
      const auto row = mean(weights, v);
      for (std::size_t f = 0; f < row.size(); ++f) out[i][f] += row[f];
      times[i] += 1;
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (double& value : out[i]) value /= std::max(times[i], 1);
    if (times[i] > 0) continue;
    std::vector<double> weights(n);
    for (std::size_t j = 0; j < n; ++j)
      weights[j] = (i > j ? i - j : j - i) <= fallback ? softmax_weight(q[i], k[j]) : 0.0;
    out[i] = mean(weights, v);
  }
  return out;
}

// scores of blocks → the matching, by plain division.
Matrix sinkhorn_matching(const Matrix& scores, int iterations) {
  const std::size_t blocks = scores.size();
  Matrix p = scores;
  for (auto& row : p) {
    for (double& value : row) value = std::exp(value);
  }
  for (int turn = 0; turn < iterations; ++turn) {
    for (std::size_t j = 0; j < blocks; ++j) {
      double sum = 0;
      for (std::size_t i = 0; i < blocks; ++i) sum += p[i][j];
      for (std::size_t i = 0; i < blocks; ++i) p[i][j] /= sum;
    }
    for (auto& row : p) {
      const double sum = std::accumulate(row.begin(), row.end(), 0.0);
      for (double& value : row) value /= sum;
    }
  }
  return p;
}

Matrix sinkhorn(const Matrix& p, const Matrix& q, const Matrix& k, const Matrix& v, std::size_t block) {
  const std::size_t n = q.size(), d = q.front().size();
  Matrix out;
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> weights;
    Matrix values;
    const auto see = [&](const std::vector<double>& key, const std::vector<double>& value) {
      weights.push_back(softmax_weight(q[i], key));
      values.push_back(value);
    };
    const std::size_t own = i / block;
    for (std::size_t j = own * block; j < std::min(n, (own + 1) * block); ++j) see(k[j], v[j]);
    for (std::size_t t = 0; t < block; ++t) {
      double sum = 0;
      std::vector<double> key(d), value(d);
      for (std::size_t j = t, b = 0; j < n; j += block, ++b) {
        sum += p[own][b];
        for (std::size_t f = 0; f < d; ++f) key[f] += p[own][b] * k[j][f], value[f] += p[own][b] * v[j][f];
      }
      if (sum == 0) continue;
      for (std::size_t f = 0; f < d; ++f) key[f] /= sum, value[f] /= sum;
      see(key, value);
    }
    out.push_back(mean(weights, values));
  }
  return out;
}

Matrix block_means(const at::Tensor& x, std::int64_t block) {
  Matrix means;
  for (std::int64_t first = 0; first < x.size(0); first += block) {
    const at::Tensor row = x.narrow(0, first, std::min(block, x.size(0) - first)).mean(0);
    means.emplace_back(row.data_ptr<double>(), row.data_ptr<double>() + row.numel());
  }
  return means;
}

at::Tensor rows_of(const Matrix& matrix) {
  std::vector<at::Tensor> rows;
  for (const auto& row : matrix) rows.push_back(at::tensor(row, at::kDouble));
  return at::stack(rows);
}

Matrix centroids_of(const Mixer& mixer, std::int64_t h) {
  const at::Tensor centroids = mixer.named_buffers()["centroids"][h].contiguous();
  return head(centroids, 0, centroids.size(1));
}

}  // namespace

TEST_CASE("Reformer equals a computation pair by pair", "[mixers]") {
  const MixerSpec spec = small_spec();
  Met met;
  for (const auto& [chunk, rounds, buckets] : std::vector<std::array<std::size_t, 3>>{
           {4, 1, 0}, {4, 2, 0}, {4, 3, 0}, {3, 3, 3}, {5, 4, 2}, {4, 2, 1}, {6, 3, 90}}) {
    const MixerCase one = mixer_case("reformer", {{"chunk", chunk}, {"rounds", rounds}, {"buckets", buckets}});
    const auto mixer = make_mixer(one, spec);
    for (const std::int64_t n : {1, 2, 4, 5, 8, 13, 31, 48}) {
      INFO(one.name() << ", n " << n);
      const at::Tensor x = random_input(n, 8, 21);
      const auto buffers = mixer->named_buffers();
      const at::Tensor* rotations = buffers.find("rotations");
      const at::Tensor expected =
          by_hand(*mixer, spec, x, [&](std::int64_t h, const Matrix& q, const Matrix&, const Matrix& v) {
            return reformer(rotations ? rotations->select(1, h) : at::Tensor(), q, v, chunk, rounds, buckets, met);
          });
      CHECK(largest_difference(alone(*mixer, x), expected) < exact);
    }
  }
  CHECK(met.alone > 10);
  CHECK(met.some_rounds > 10);
  CHECK(met.across_the_end > 10);
}

TEST_CASE("Reformer with one bucket and one chunk is softmax attention with shared queries and keys, but for itself",
          "[mixers]") {
  const MixerSpec spec = small_spec();
  for (const std::int64_t n : {1, 2, 17, 48}) {
    for (const Json& options : {Json{{"chunk", 64}}, Json{{"chunk", 48}, {"buckets", 1}, {"rounds", 3}}}) {
      const auto mixer = make_mixer(mixer_case("reformer", options), spec);
      CHECK_FALSE(mixer->named_buffers().contains("rotations"));
      const at::Tensor x = random_input(n, 8, 22);
      const at::Tensor expected = by_hand(*mixer, spec, x, [](auto, const Matrix& q, const Matrix&, const Matrix& v) {
        Matrix out;
        for (std::size_t i = 0; i < q.size(); ++i) {
          std::vector<double> weights;
          for (std::size_t j = 0; j < q.size(); ++j) {
            weights.push_back(i == j ? std::exp(-700.0) : softmax_weight(q[i], q[j]));
            if (i != j) weights.back() = std::exp(std::log(weights.back()) / std::sqrt(dot(q[j], q[j])));
          }
          out.push_back(mean(weights, v));
        }
        return out;
      });
      CHECK(largest_difference(alone(*mixer, x), expected) < exact);
    }
  }
}

TEST_CASE("Reformer's first chunk sees the last, which sees the one before it", "[mixers]") {
  const MixerSpec spec = small_spec();
  const auto mixer = make_mixer(mixer_case("reformer", {{"chunk", 4}, {"buckets", 1}}), spec);
  // In chunks of 4 that are not sorted, the output's derivative shows who sees whom; the last chunk has 3 tokens.
  const at::Tensor x = random_input(19, 8, 23), values = x.clone().requires_grad_();
  const at::Tensor out = mixer->mix_values(x, values, SequenceLayout({19}));
  for (std::int64_t i = 0; i < 19; ++i) {
    const at::Tensor seen = torch::autograd::grad({out[i].sum()}, {values}, {}, true)[0].abs().sum(1).gt(0);
    for (std::int64_t j = 0; j < 19; ++j) {
      const std::int64_t own = i / 4, other = j / 4;
      CHECK(seen[j].item<bool>() == (i != j && (other == own || other == (own + 4) % 5)));
    }
  }
}

TEST_CASE("Reformer has a query, a value and an output projection, and says for which length", "[mixers]") {
  const auto mixer = make_mixer(mixer_case("reformer", {{"chunk", 4}}), small_spec());
  const auto keys = mixer->named_parameters().keys();
  CHECK(keys == std::vector<std::string>{"query.weight", "query.bias", "value.weight", "value.bias", "output.weight",
                                         "output.bias"});
  CHECK(mixer->named_buffers()["rotations"].sizes() == at::IntArrayRef({2, 2, 4, 6}));
  CHECK_THROWS_AS(alone(*mixer, random_input(49, 8, 1)), c10::Error);
}

TEST_CASE("Routing equals a computation cluster by cluster, and no token is left out", "[mixers]") {
  const MixerSpec spec = small_spec();
  int never = 0, once = 0, often = 0;
  for (const auto& [clusters, window, fallback] :
       std::vector<std::array<std::size_t, 3>>{{1, 5, 2}, {3, 4, 0}, {4, 9, 3}, {7, 6, 20}, {16, 128, 16}}) {
    const MixerCase one =
        mixer_case("routing", {{"clusters", clusters}, {"window", window}, {"fallback_window", fallback}});
    const auto mixer = make_mixer(one, spec);
    for (const std::int64_t n : {1, 2, 5, 9, 13, 31, 48}) {
      INFO(one.name() << ", n " << n);
      const at::Tensor x = random_input(n, 8, 24);
      const at::Tensor expected =
          by_hand(*mixer, spec, x, [&](std::int64_t h, const Matrix& q, const Matrix& k, const Matrix& v) {
            std::vector<int> times;
            const Matrix out =
                routing(centroids_of(*mixer, h), normalised(q), normalised(k), v, window, fallback, times);
            for (const int t : times) (t == 0 ? never : t == 1 ? once : often) += 1;
            return out;
          });
      CHECK(largest_difference(alone(*mixer, x), expected) < exact);
    }
  }
  CHECK(never > 50);
  CHECK(once > 50);
  CHECK(often > 50);
}

TEST_CASE("Routing with one cluster and a long window is softmax attention of normalised queries and keys",
          "[mixers]") {
  const MixerSpec spec = small_spec();
  const auto mixer = make_mixer(mixer_case("routing", {{"clusters", 1}, {"window", 48}}), spec);
  for (const std::int64_t n : {1, 17, 48}) {
    const at::Tensor x = random_input(n, 8, 25);
    const at::Tensor expected = by_hand(*mixer, spec, x, [](auto, const Matrix& q, const Matrix& k, const Matrix& v) {
      Matrix out;
      for (const auto& query : normalised(q)) {
        std::vector<double> weights;
        for (const auto& key : normalised(k)) weights.push_back(softmax_weight(query, key));
        out.push_back(mean(weights, v));
      }
      return out;
    });
    CHECK(largest_difference(alone(*mixer, x), expected) < exact);
  }
}

TEST_CASE("Routing's centroids follow the real tokens, in training only", "[mixers]") {
  const SequenceLayout sequences({9, 2, 30});
  const at::Tensor x = random_input(sequences.tokens(), 8, 26);
  for (const std::string how : {"per_sequence", "padded"}) {
    INFO(how);
    MixerSpec spec = small_spec();
    spec.layout = how;
    const auto mixer = make_mixer(mixer_case("routing", {{"clusters", 40}, {"window", 4}, {"decay", 0.75}}), spec);
    const at::Tensor before = mixer->named_buffers()["centroids"].clone();
    CHECK(largest_difference(before.square().sum(-1), at::ones({2, 40}, at::kDouble)) < 1e-6);
    const at::Tensor evaluated = mixer->forward(x, sequences);
    CHECK(at::equal(mixer->named_buffers()["centroids"], before));
    at::Tensor expected = before.clone();
    int stayed = 0;
    for (std::int64_t h = 0; h < 2; ++h) {
      const Matrix centroids = centroids_of(*mixer, h);
      std::vector<std::vector<at::Tensor>> members(centroids.size());
      for (const std::string name : {"query", "key"}) {
        for (const auto& row : normalised(head(project(*mixer, name, x), h, 4))) {
          const auto product = [&](const auto& a, const auto& b) { return dot(a, row) < dot(b, row); };
          const auto closest = static_cast<std::size_t>(std::max_element(centroids.begin(), centroids.end(), product) -
                                                        centroids.begin());
          members[closest].push_back(at::tensor(row, at::kDouble) / std::sqrt(dot(row, row)));
        }
      }
      for (std::size_t c = 0; c < centroids.size(); ++c) {
        if (members[c].empty()) stayed += 1;
        if (members[c].empty()) continue;
        at::Tensor moved = expected[h][static_cast<std::int64_t>(c)];
        const at::Tensor target = 0.75 * moved + 0.25 * at::stack(members[c]).mean(0);
        moved.copy_(target / target.norm());
      }
    }
    CHECK(stayed > 0);
    CHECK(stayed < 60);
    mixer->train();
    // Two forward passes, as with micro-batches, and one move at the end of the step.
    CHECK(largest_difference(mixer->forward(x.narrow(0, 0, 11), SequenceLayout({9, 2})), evaluated.narrow(0, 0, 11)) <
          exact);
    CHECK(largest_difference(mixer->forward(x.narrow(0, 11, 30), SequenceLayout({30})), evaluated.narrow(0, 11, 30)) <
          exact);
    CHECK(at::equal(mixer->named_buffers()["centroids"], before));
    mixer->end_training_step();
    CHECK(largest_difference(mixer->named_buffers()["centroids"], expected) < exact);
  }
}

TEST_CASE("Sinkhorn attention equals a computation token by token", "[mixers]") {
  const MixerSpec spec = small_spec();
  for (const std::int64_t block : {1, 3, 4, 10, 64}) {
    for (const int iterations : {1, 8}) {
      const MixerCase one =
          mixer_case("sinkhorn", {{"block", block}, {"iterations", iterations}, {"temperature", 0.6}});
      const auto mixer = make_mixer(one, spec);
      for (const std::int64_t n : {1, 2, 4, 7, 13, 31, 48}) {
        INFO(one.name() << ", n " << n);
        const at::Tensor x = random_input(n, 8, 27) * 1.5;
        const at::Tensor means = rows_of(block_means(x, block));
        const at::Tensor expected =
            by_hand(*mixer, spec, x, [&](std::int64_t h, const Matrix& q, const Matrix& k, const Matrix& v) {
              Matrix scores;
              for (const auto& a : head(project(*mixer, "sort_query", means), h, 4)) {
                scores.emplace_back();
                for (const auto& b : head(project(*mixer, "sort_key", means), h, 4))
                  scores.back().push_back(dot(a, b) / std::sqrt(4.0) / 0.6);
              }
              return sinkhorn(sinkhorn_matching(scores, iterations), q, k, v, static_cast<std::size_t>(block));
            });
        CHECK(largest_difference(alone(*mixer, x), expected) < exact);
      }
    }
  }
}

TEST_CASE("Sinkhorn attention with one block is softmax attention", "[mixers]") {
  const MixerSpec spec = small_spec();
  const auto mixer = make_mixer(mixer_case("sinkhorn", {{"block", 48}}), spec);
  const auto softmax = make_mixer(mixer_case("softmax", Json::object()), spec);
  for (const auto& name : softmax->named_parameters().keys()) set(*softmax, name, parameter(*mixer, name));
  for (const std::int64_t n : {1, 17, 48}) {
    const at::Tensor x = random_input(n, 8, 28);
    CHECK(largest_difference(alone(*mixer, x), alone(*softmax, x)) < exact);
  }
}

TEST_CASE("Sinkhorn attention of values that are zero is zero", "[mixers]") {
  const auto mixer = make_mixer(mixer_case("sinkhorn", {{"block", 4}}), small_spec());
  set(*mixer, "value.weight", at::zeros({8, 8}));
  for (const auto& name : {"value.bias", "output.bias"}) set(*mixer, name, at::zeros({8}));
  const at::Tensor out = alone(*mixer, random_input(30, 8, 29));
  CHECK(at::equal(out, at::zeros_like(out)));
}

TEST_CASE("Sinkhorn attention finds a planted match", "[mixers]") {
  const MixerSpec spec = small_spec();
  const auto mixer = make_mixer(mixer_case("sinkhorn", {{"block", 6}}), spec);
  // Feature b marks block b; both heads' sorters ask for the block after the next but one: not its own inverse.
  at::Tensor x = random_input(24, 8, 30);
  x.narrow(1, 0, 4).zero_();
  for (std::int64_t i = 0; i < 24; ++i) x[i][i / 6] = 4.0;
  const auto partner = [](std::int64_t b) { return (b + 3) % 4; };
  at::Tensor ask = at::zeros({8, 8}, at::kDouble), answer = at::zeros({8, 8}, at::kDouble);
  for (std::int64_t h = 0; h < 2; ++h) {
    for (std::int64_t b = 0; b < 4; ++b) {
      ask[h * 4 + partner(b)][b] = 3.0;
      answer[h * 4 + b][b] = 3.0;
    }
  }
  set(*mixer, "sort_query.weight", ask);
  set(*mixer, "sort_key.weight", answer);
  const at::Tensor expected = by_hand(*mixer, spec, x, [&](auto, const Matrix& q, const Matrix& k, const Matrix& v) {
    Matrix out;
    for (std::size_t i = 0; i < q.size(); ++i) {
      std::vector<double> weights;
      for (std::size_t j = 0; j < q.size(); ++j) {
        const std::size_t matched = static_cast<std::size_t>(partner(static_cast<std::int64_t>(i / 6)));
        weights.push_back(j / 6 == i / 6 || j / 6 == matched ? softmax_weight(q[i], k[j]) : 0.0);
      }
      out.push_back(mean(weights, v));
    }
    return out;
  });
  CHECK(largest_difference(alone(*mixer, x), expected) < 1e-6);
}

TEST_CASE("A match that is all but certain of a short last block still fills the other slots", "[mixers]") {
  MixerSpec spec = small_spec();
  for (const double size : {3.0, 30.0, 300.0}) {
    const auto mixer = make_mixer(mixer_case("sinkhorn", {{"block", 6}}), spec);
    // Two blocks that ask for each other; the second has 2 of 6 places, so slots 2 to 5 hold the first block's own
    // tokens.
    at::Tensor x = random_input(8, 8, 31);
    x.narrow(1, 0, 2).zero_();
    for (std::int64_t i = 0; i < 8; ++i) x[i][i / 6] = 1.0;
    at::Tensor ask = at::zeros({8, 8}, at::kDouble), answer = at::zeros({8, 8}, at::kDouble);
    for (const std::int64_t h : {0, 1}) {
      for (const std::int64_t b : {0, 1}) {
        ask[h * 4 + 1 - b][b] = size;
        answer[h * 4 + b][b] = size;
      }
    }
    set(*mixer, "sort_query.weight", ask);
    set(*mixer, "sort_key.weight", answer);
    x.requires_grad_();
    const at::Tensor out = alone(*mixer, x);
    out.sum().backward();
    CHECK(x.grad().isfinite().all().item<bool>());
    if (size < 30) continue;
    const at::Tensor expected =
        by_hand(*mixer, spec, x.detach(), [](auto, const Matrix& q, const Matrix& k, const Matrix& v) {
          const std::vector<std::vector<std::size_t>> seen = {{0, 1, 2, 3, 4, 5, 6, 7, 2, 3, 4, 5},
                                                              {6, 7, 0, 1, 2, 3, 4, 5}};
          Matrix rows;
          for (std::size_t i = 0; i < 8; ++i) {
            std::vector<double> weights;
            Matrix values;
            for (const std::size_t j : seen[i / 6]) {
              weights.push_back(softmax_weight(q[i], k[j]));
              values.push_back(v[j]);
            }
            rows.push_back(mean(weights, values));
          }
          return rows;
        });
    CHECK(largest_difference(out.detach(), expected) < exact);
  }
}

TEST_CASE("Sinkhorn's noise is a function of seed, step and sequence, in training only", "[mixers]") {
  const SequenceLayout both({23, 31});
  const at::Tensor x = random_input(54, 8, 32);
  const MixerCase noisy = mixer_case("sinkhorn", {{"block", 6}}),
                  quiet = mixer_case("sinkhorn", {{"block", 6}, {"gumbel", false}});
  const auto run = [&](const MixerCase& one, std::uint64_t seed, const std::string& how, std::int64_t step) {
    MixerSpec spec = small_spec();
    spec.seed = seed;
    spec.layout = how;
    const auto mixer = make_mixer(one, spec);
    if (step >= 0) mixer->train();
    if (step > 0) mixer->begin_training_step(step - 1);
    if (step > 0) mixer->forward(x, both);  // a step before changes nothing
    if (step >= 0) mixer->begin_training_step(step);
    return mixer->forward(x, both);
  };
  const at::Tensor evaluated = run(quiet, 5, "padded", -1);
  CHECK(at::equal(run(noisy, 5, "padded", -1), evaluated));
  CHECK(at::equal(run(quiet, 5, "padded", 3), evaluated));
  const at::Tensor trained = run(noisy, 5, "padded", 3);
  CHECK(largest_difference(trained, evaluated) > 1e-3);
  CHECK(at::equal(run(noisy, 5, "padded", 3), trained));
  CHECK(largest_difference(run(noisy, 5, "per_sequence", 3), trained) < exact);
  CHECK(largest_difference(run(noisy, 5, "padded", 4), trained) > 1e-3);
  CHECK(largest_difference(run(noisy, 6, "padded", 3), trained) > 1e-3);
  // A batch in two parts gets what it gets in one; the same sequence twice gets two draws.
  const auto mixer = make_mixer(noisy, small_spec());
  mixer->train();
  mixer->begin_training_step(3);
  const at::Tensor first = alone(*mixer, x.narrow(0, 0, 23)), second = alone(*mixer, x.narrow(0, 23, 31)),
                   again = alone(*mixer, x.narrow(0, 23, 31));
  CHECK(largest_difference(at::cat({first, second}), trained) < exact);
  CHECK(largest_difference(again, second) > 1e-3);
}

TEST_CASE("The clustering mixers agree in all layouts with small blocks", "[mixers]") {
  const std::vector<MixerCase> cases = {
      mixer_case("sinkhorn", {{"block", 4}}), mixer_case("sinkhorn", {{"block", 3}, {"iterations", 1}}),
      mixer_case("reformer", {{"chunk", 3}, {"rounds", 4}}), mixer_case("routing", {{"clusters", 5}, {"window", 7}})};
  for (const auto& lengths : std::vector<std::vector<std::int64_t>>{{5, 48, 1, 33, 4, 3, 13}, {13, 13, 13}}) {
    const SequenceLayout layout(lengths);
    const at::Tensor x = random_input(layout.tokens(), 8, 33) * 2;
    for (const auto& one : cases) {
      INFO(one.name());
      MixerSpec spec = small_spec();
      spec.layout = "padded";
      const auto mixer = make_mixer(one, spec);
      const at::Tensor together = mixer->forward(x, layout);
      CHECK(at::equal(mixer->forward(x, layout), together));
      for (std::int64_t b = 0; b < layout.batch(); ++b) {
        INFO("length " << layout.length(b));
        const at::Tensor mine = alone(*mixer, x.narrow(0, layout.offset(b), layout.length(b)));
        CHECK(largest_difference(together.narrow(0, layout.offset(b), layout.length(b)), mine) < exact);
      }
    }
  }
}
