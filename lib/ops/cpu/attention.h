// Blocked softmax attention with the weights of one tile at a time (FlashAttention, arXiv 2205.14135): included like
// simd.h, after it. Logits and weights are stored by key, S[key][query], so that the softmax works on whole vectors of
// queries and only the queries are transposed.

constexpr std::int64_t widest = 32;  // what vectors are padded to, at most

template <class T>
constexpr T hidden_logit = static_cast<T>(masked_logit);

template <class T>
constexpr T shortest = static_cast<T>(1e-12);  // length of a vector that is made a unit vector

template <class T>
struct AttentionScratch {
  // Widths are padded to whole vectors.
  T *queries, *queries_by_feature, *grads, *grads_by_feature, *sums;  // (queries, d) or (d, queries)
  T *weights, *weight_grads, *factors;                                // (keys, queries); factors: of the dropout
  T *keys, *values, *key_grads, *value_grads;                         // (keys, d)
  T *largest, *sum, *rescale, *log_sum, *delta;                       // (queries)
  T* key_scale;                                                       // (keys): 1 / length
  std::int64_t* key_index;                                            // (keys)
};

constexpr std::int64_t attention_scratch(std::int64_t d) {
  const std::int64_t width = whole(d, widest);
  return 5 * max_queries * width + 3 * max_keys * max_queries + 4 * max_keys * width + 5 * max_queries + 4 * max_keys;
}

template <class T>
LRA_INLINE AttentionScratch<T> divide_scratch(T* scratch, std::int64_t d) {
  AttentionScratch<T> s;
  const std::int64_t width = whole(d, widest);
  const auto take = [&](std::int64_t count) {
    T* const start = scratch;
    scratch += count;
    return start;
  };
  s.queries = take(max_queries * width);
  s.queries_by_feature = take(max_queries * width);
  s.grads = take(max_queries * width);
  s.grads_by_feature = take(max_queries * width);
  s.sums = take(max_queries * width);
  s.weights = take(max_keys * max_queries);
  s.weight_grads = take(max_keys * max_queries);
  s.factors = take(max_keys * max_queries);
  s.keys = take(max_keys * width);
  s.values = take(max_keys * width);
  s.key_grads = take(max_keys * width);
  s.value_grads = take(max_keys * width);
  s.largest = take(max_queries);
  s.sum = take(max_queries);
  s.rescale = take(max_queries);
  s.log_sum = take(max_queries);
  s.delta = take(max_queries);
  s.key_scale = take(2 * max_keys);
  s.key_index = reinterpret_cast<std::int64_t*>(take(2 * max_keys));
  return s;
}

template <class T>
LRA_INLINE std::int64_t token(const Rows<T>& rows, std::int64_t i) {
  return rows.order != nullptr ? rows.order[i] : i;
}

// to (width) = scale * from (d), zero beyond d.
template <class T>
LRA_INLINE void copy_row(const T* from, std::int64_t d, T scale, T* to, std::int64_t width) {
  std::int64_t c = 0;
  for (; c + lanes<T> <= d; c += lanes<T>) store(to + c, load(from + c) * scale);
  for (; c < d; ++c) to[c] = from[c] * scale;
  for (; c < width; ++c) to[c] = 0;
}
template <class T>
LRA_INLINE void add_row(const T* from, std::int64_t d, T scale, T* to) {
  std::int64_t c = 0;
  for (; c + lanes<T> <= d; c += lanes<T>) store(to + c, load(to + c) + load(from + c) * scale);
  for (; c < d; ++c) to[c] += from[c] * scale;
}

template <class T>
LRA_INLINE T dot(const T* a, const T* b, std::int64_t d) {
  Vector<T> sums = {};
  T sum = 0;
  std::int64_t c = 0;
  for (; c + lanes<T> <= d; c += lanes<T>) sums += load(a + c) * load(b + c);
  for (; c < d; ++c) sum += a[c] * b[c];
  return sum + sum_of<T>(sums);
}

// The queries first .. first + count - 1 of `rows`, `padded` rows of `width`.
template <class T>
LRA_INLINE void load_queries(const QueryBlock<T>& block, const Rows<const T>& rows, T scale, std::int64_t padded,
                             std::int64_t width, T* to) {
  for (std::int64_t i = 0; i < block.count; ++i)
    copy_row(rows.data + token(rows, block.first + i) * rows.step, block.d, scale, to + i * width, width);
  for (std::int64_t i = block.count * width; i < padded * width; ++i) to[i] = 0;
}

// Up to max_keys keys of one part.
template <class T>
struct Tile {
  const T *k, *v;  // (count, ..)
  std::int64_t k_step, v_step;
  std::int64_t count;
  bool banded;  // the band hides some pairs
};

// Walks over all tiles of a query block: the runs of every part, cut to the band, without invisible keys.
template <class T>
struct TileWalk {
  const QueryBlock<T>& block;
  const AttentionScratch<T>& scratch;
  std::int64_t width;
  bool backward;
  std::int64_t part = 0, run = -1, next = 0, last = 0;

  LRA_INLINE bool more(Tile<T>& tile) {
    std::int64_t count = 0;
    while (true) {
      const bool ended = next >= last;
      if (ended) {
        // A tile holds keys of one part; runs of a part join in one tile.
        if (part == block.num_parts) return false;
        if (++run >= block.parts[part].num_runs) {
          if (count > 0) {
            --run;
            break;
          }
          ++part;
          run = -1;
          continue;
        }
        const KeyPart<T>& from = block.parts[part];
        next = from.runs[run].first;
        last = from.runs[run].last;
        if (from.band >= 0) {
          const std::int64_t lowest = block.first - from.band, highest = block.first + block.count + from.band;
          next = next < lowest ? lowest : next;
          last = last > highest ? highest : last;
        }
        continue;
      }
      const KeyPart<T>& from = block.parts[part];
      for (; next < last && count < max_keys; ++next) {
        scratch.key_index[count] = next;
        const bool there = from.visible == nullptr || from.visible[token(from.k, next) * from.visible_step] != 0;
        count += there ? 1 : 0;
      }
      if (count == max_keys) break;
    }
    fill(tile, block.parts[part], count);
    return true;
  }

  LRA_INLINE void fill(Tile<T>& tile, const KeyPart<T>& from, std::int64_t count) {
    tile.count = count;
    const std::int64_t* index = scratch.key_index;
    tile.banded = from.band >= 0 &&
                  (block.first + block.count - 1 - index[0] > from.band || index[count - 1] - block.first > from.band);
    // The left factor of a product is read once, the right one again and again: that needs rows side by side, which do
    // not fight for the same cache sets.
    const bool direct = from.k.order == nullptr && index[count - 1] - index[0] == count - 1 && block.d == width;
    const auto rows = [&](const Rows<const T>& x, bool copied, T* copy, const T*& at, std::int64_t& step,
                          const T* scale) {
      if (!copied) {
        at = x.data + index[0] * x.step;
        step = x.step;
        return;
      }
      for (std::int64_t j = 0; j < count; ++j)
        copy_row(x.data + token(x, index[j]) * x.step, block.d, scale == nullptr ? T{1} : scale[j], copy + j * width,
                 width);
      at = copy;
      step = width;
    };
    if (from.unit_keys) {
      for (std::int64_t j = 0; j < count; ++j) {
        const T* const key = from.k.data + token(from.k, index[j]) * from.k.step;
        const T length = static_cast<T>(__builtin_sqrt(static_cast<double>(dot(key, key, block.d))));
        scratch.key_scale[j] = 1 / (length > shortest<T> ? length : shortest<T>);
      }
    }
    rows(from.k, !direct || backward || from.unit_keys, scratch.keys, tile.k, tile.k_step,
         from.unit_keys ? scratch.key_scale : nullptr);
    rows(from.v, !direct || !backward, scratch.values, tile.v, tile.v_step, nullptr);
  }
};

// The matrix products of a query block, in the type of its vectors; another such class makes them in bfloat16.
template <class T>
struct Products {
  static constexpr std::int64_t key_multiple = 1;  // gradients of as many keys can be added where they belong
  const AttentionScratch<T>& s;
  std::int64_t padded, width;

  // Right factors, from s.queries; in the backward pass then from s.grads.
  LRA_INLINE void load_queries() const { transpose(padded, width, s.queries, width, s.queries_by_feature, padded); }
  LRA_INLINE void load_grads() const { transpose(padded, width, s.grads, width, s.grads_by_feature, padded); }

  // S[j][i] = k_j · q_i
  LRA_INLINE void logits(const Tile<T>& tile) const {
    product<T, false, false>(tile.count, padded, width, tile.k, tile.k_step, s.queries_by_feature, padded, s.weights,
                             padded);
  }
  // dP[j][i] = v_j · dO_i
  LRA_INLINE void weight_grads(const Tile<T>& tile) const {
    product<T, false, false>(tile.count, padded, width, tile.v, tile.v_step, s.grads_by_feature, padded, s.weight_grads,
                             padded);
  }

  // The sums over keys, in s.sums before the first tile and after the last one.
  LRA_INLINE void begin_sums() const {}
  LRA_INLINE void rescale_sums(std::int64_t count) const {
    for (std::int64_t i = 0; i < count; ++i) {
      const T rescale = s.rescale[i];
      for (std::int64_t c = 0; c < width; c += lanes<T>)
        store(s.sums + i * width + c, load(s.sums + i * width + c) * rescale);
    }
  }
  LRA_INLINE void add_values(const Tile<T>& tile, std::int64_t count) const {
    product<T, true, true>(count, width, tile.count, s.weights, padded, tile.v, tile.v_step, s.sums, width);
  }
  LRA_INLINE void add_value(std::int64_t query, T weight, const T* value) const {
    add_row(value, width, weight, s.sums + query * width);
  }
  LRA_INLINE void add_query_grads(const Tile<T>& tile, std::int64_t count) const {
    product<T, true, true>(count, width, tile.count, s.weight_grads, padded, tile.k, tile.k_step, s.sums, width);
  }
  LRA_INLINE void end_sums() const {}

  // dV and dK of a tile; after add_query_grads.
  template <bool add>
  LRA_INLINE void key_grads(const Tile<T>& tile, T* grad_v, std::int64_t v_step, T* grad_k, std::int64_t k_step) const {
    product<T, add, false>(tile.count, width, padded, s.weights, padded, s.grads, width, grad_v, v_step);
    product<T, add, false>(tile.count, width, padded, s.weight_grads, padded, s.queries, width, grad_k, k_step);
  }
};

// Pairs outside the band are hidden.
template <class T>
LRA_INLINE void hide_far_pairs(const QueryBlock<T>& block, const AttentionScratch<T>& s, const Tile<T>& tile,
                               const KeyPart<T>& part, std::int64_t padded) {
  if (tile.banded) {
    for (std::int64_t j = 0; j < tile.count; ++j) {
      T* const logits = s.weights + j * padded;
      // Query i is too far if i < lowest or i > highest.
      const std::int64_t lowest = s.key_index[j] - part.band - block.first,
                         highest = s.key_index[j] + part.band - block.first;
      for (std::int64_t i = 0; i < lowest && i < padded; ++i) logits[i] = hidden_logit<T>;
      for (std::int64_t i = highest + 1 > 0 ? highest + 1 : 0; i < padded; ++i) logits[i] = hidden_logit<T>;
    }
  }
}

// What a block's queries are in each hash round, by query.
template <class T>
struct Queries {
  using Integer = typename VectorOf<T>::Integer;
  Integer own[max_rounds][max_queries], before[max_rounds][max_queries], number[max_queries];

  LRA_INLINE explicit Queries(const QueryBlock<T>& block, std::int64_t padded) {
    const Meetings<T>& meetings = block.meetings;
    if (meetings.own == nullptr) return;
    for (std::int64_t i = 0; i < padded; ++i) {
      const std::int64_t query = token(block.q, block.first + (i < block.count ? i : 0));
      number[i] = static_cast<Integer>(query);
      for (std::int64_t round = 0; round < meetings.rounds; ++round) {
        own[round][i] = meetings.own[round * meetings.round_step + query];
        before[round][i] = meetings.before[round * meetings.round_step + query];
      }
    }
  }
};

// Hides pairs that do not meet in this round; a pair that meets in c rounds loses log c.
template <class T>
LRA_INLINE void count_meetings(const QueryBlock<T>& block, const Queries<T>& queries, const AttentionScratch<T>& s,
                               const Tile<T>& tile, const KeyPart<T>& part, std::int64_t padded) {
  using Integer = typename VectorOf<T>::Integer;
  const Meetings<T>& meetings = block.meetings;
  const auto all_equal = [](std::int32_t x) { return static_cast<Integer>(x) - Integers<T>{}; };
  for (std::int64_t j = 0; j < tile.count; ++j) {
    const std::int64_t key = token(part.k, s.key_index[j]);
    const Integers<T> key_number = all_equal(static_cast<std::int32_t>(key));
    Integers<T> of_key[max_rounds];
    for (std::int64_t round = 0; round < meetings.rounds; ++round)
      of_key[round] = all_equal(meetings.own[round * meetings.round_step + key]);
    for (std::int64_t i = 0; i < padded; i += lanes<T>) {
      T* const logits = s.weights + j * padded + i;
      const auto meet = [&](std::int64_t round) {  // -1 where they do
        return (load(queries.own[round] + i) == of_key[round]) | (load(queries.before[round] + i) == of_key[round]);
      };
      Integers<T> count = {};
      for (std::int64_t round = 0; round < meetings.rounds; ++round) count -= meet(round);
      Vector<T> logit = load(logits);
      logit = load(queries.number + i) == key_number ? all(static_cast<T>(-1e5))
                                                     : logit;  // a token sees itself only if it meets nobody else
      for (std::int64_t c = 2; c <= meetings.rounds; ++c)
        logit = count == all_equal(static_cast<std::int32_t>(c)) ? logit - meetings.log_counts[c] : logit;
      store(logits, meet(meetings.round) ? logit : all(hidden_logit<T>));
    }
  }
}

// The dropout's factors of all pairs of a tile.
template <class T>
void draw_factors(const QueryBlock<T>& block, const AttentionScratch<T>& s, const Tile<T>& tile,
                  std::int64_t number_of_part, std::int64_t padded) {
  const Dropout& dropout = block.dropout;
  const KeyPart<T>& part = block.parts[number_of_part];
  const T scale = static_cast<T>(dropout.scale);
  alignas(64) std::uint64_t words[4][max_queries];
  std::int64_t drawn = -1;  // the eight keys that `words` are for
  for (std::int64_t j = 0; j < tile.count; ++j) {
    const std::int64_t key = token(part.k, s.key_index[j]);
    if (key / 8 != drawn) {
      drawn = key / 8;
      for (std::int64_t i = 0; i < padded; i += wide_lanes) {
        Wide a = {}, b = {}, c = {}, d = {};
        for (int lane = 0; lane < wide_lanes; ++lane) {
          const std::int64_t query = i + lane < block.count ? i + lane : 0;
          a[lane] = static_cast<std::uint64_t>(token(block.q, block.first + query));
        }
        b += static_cast<std::uint64_t>(drawn);
        c += dropout.head;
        d += static_cast<std::uint64_t>(block.meetings.round * 256 + number_of_part);
        philox(dropout.seed, a, b, c, d);
        __builtin_memcpy(words[0] + i, &a, sizeof a);
        __builtin_memcpy(words[1] + i, &b, sizeof b);
        __builtin_memcpy(words[2] + i, &c, sizeof c);
        __builtin_memcpy(words[3] + i, &d, sizeof d);
      }
    }
    const std::uint64_t* const word = words[key % 8 / 2];
    const int shift = key % 2 == 0 ? 0 : 16;
    T* const factors = s.factors + j * padded;
    for (std::int64_t i = 0; i < padded; ++i)
      factors[i] = ((word[i] >> shift) & 0xffff) < dropout.drop_below ? T{0} : scale;
  }
}

template <class T>
LRA_INLINE bool finite(const T* x, std::int64_t count) {
  Vector<T> zeros = {};
  for (std::int64_t i = 0; i < count; i += lanes<T>) zeros += load(x + i) * T{0};
  return sum_of<T>(zeros) == 0;
}

// Does a tile have pairs that do not see each other?
template <class T>
LRA_INLINE bool hides_pairs(const QueryBlock<T>& block) {
  bool hides = block.meetings.own != nullptr;
  for (std::int64_t p = 0; p < block.num_parts; ++p) hides = hides || block.parts[p].band >= 0;
  return hides;
}

// Adds values that are not finite to the queries that see them, pair by pair, and takes them out of the tile, whose
// values are a copy: in its product they would reach every query, since 0 x NaN is NaN.
template <class T, class ProductsOf>
__attribute__((noinline)) void take_out_values(const AttentionScratch<T>& s, const Tile<T>& tile, std::int64_t count,
                                               const ProductsOf& products) {
  const std::int64_t width = products.width;
  for (std::int64_t j = 0; j < tile.count; ++j) {
    T* const value = s.values + j * width;
    if (finite(value, width)) continue;
    for (std::int64_t i = 0; i < count; ++i) {
      const T weight = s.weights[j * products.padded + i];
      const bool sees_any = s.largest[i] > hidden_logit<T> / 2;  // until then weights of hidden pairs are 1
      if (weight != 0 && sees_any) products.add_value(i, weight, value);
    }
    for (std::int64_t c = 0; c < width; ++c) value[c] = 0;
  }
}

// Sums up all tiles. `careful`: values that are not finite reach the queries that see them, and no others.
template <class T, class ProductsOf>
LRA_INLINE void sum_tiles(const QueryBlock<T>& block, const AttentionScratch<T>& s, const ProductsOf& products,
                          const Queries<T>& queries, bool careful) {
  constexpr std::int64_t step = lanes<T>;
  const std::int64_t width = products.width, padded = products.padded;
  if (block.first_round) {
    for (std::int64_t i = 0; i < padded; i += step) {
      store(s.largest + i, all(hidden_logit<T>));
      store(s.sum + i, Vector<T>{});
    }
    for (std::int64_t i = 0; i < padded * width; i += step) store(s.sums + i, Vector<T>{});
  } else {
    for (std::int64_t i = 0; i < padded; ++i) {
      const std::int64_t row = token(block.q, block.first + (i < block.count ? i : 0));
      s.largest[i] = block.log_sum[row * block.log_sum_step];
      s.sum[i] = block.sum[row * block.log_sum_step];
      copy_row(block.out.data + token(block.out, block.first + (i < block.count ? i : 0)) * block.out.step, block.d,
               T{1}, s.sums + i * width, width);
    }
  }
  products.begin_sums();
  TileWalk<T> walk{block, s, width, false};
  for (Tile<T> tile; walk.more(tile);) {
    products.logits(tile);
    hide_far_pairs(block, s, tile, block.parts[walk.part], padded);
    if (block.meetings.own != nullptr) count_meetings(block, queries, s, tile, block.parts[walk.part], padded);
    Integers<T> grown = {};
    for (std::int64_t i = 0; i < padded; i += step) {
      const Vector<T> before = load(s.largest + i);
      Vector<T> largest = before;
      for (std::int64_t j = 0; j < tile.count; ++j) largest = larger<T>(load(s.weights + j * padded + i), largest);
      Vector<T> sum = {};
      for (std::int64_t j = 0; j < tile.count; ++j) {
        const Vector<T> weight = exponential(load(s.weights + j * padded + i) - largest);
        sum += weight;
        store(s.weights + j * padded + i, weight);
      }
      const Vector<T> rescale = exponential(before - largest);
      store(s.rescale + i, rescale);
      store(s.sum + i, load(s.sum + i) * rescale + sum);
      store(s.largest + i, largest);
      grown |= largest > before;
    }
    bool rescaled = false;
    for (std::int64_t l = 0; l < step; ++l) rescaled = rescaled || grown[l] != 0;
    if (rescaled) products.rescale_sums(block.count);
    if (block.dropout.drop_below > 0) {
      draw_factors(block, s, tile, walk.part, padded);
      for (std::int64_t i = 0; i < tile.count * padded; i += step)
        store(s.weights + i, load(s.weights + i) * load(s.factors + i));
    }
    if (careful) take_out_values(s, tile, block.count, products);
    products.add_values(tile, block.count);
  }
  products.end_sums();
}

template <class T, class ProductsOf>
LRA_INLINE void attend_forward(const QueryBlock<T>& block, const AttentionScratch<T>& s, const ProductsOf& products) {
  const std::int64_t width = products.width, padded = products.padded;
  load_queries(block, block.q, block.scale, padded, width, s.queries);
  products.load_queries();
  const Queries<T> queries(block, padded);
  constexpr bool passes[] = {false, true};
  for (const bool careful : passes) {
    sum_tiles(block, s, products, queries, careful);
    if (!hides_pairs(block) || finite(s.sums, block.count * width)) break;
  }
  for (std::int64_t i = 0; i < block.count; ++i) {
    const std::int64_t row = token(block.q, block.first + i);
    T* const out = block.out.data + token(block.out, block.first + i) * block.out.step;
    T& log_sum = block.log_sum[row * block.log_sum_step];
    const bool none =
        s.largest[i] <= hidden_logit<T> / 2 && s.sum[i] == s.sum[i];  // the sum is no number if no logit is one
    if (!block.last_round) {
      copy_row(s.sums + i * width, block.d, none ? T{0} : T{1}, out, block.d);
      log_sum = s.largest[i];
      block.sum[row * block.log_sum_step] = none ? T{0} : s.sum[i];
    } else {
      copy_row(s.sums + i * width, block.d, none ? T{0} : 1 / s.sum[i], out, block.d);
      const double log_of_sum = __builtin_log(static_cast<double>(s.sum[i]));
      log_sum = none ? hidden_logit<T> : s.largest[i] + static_cast<T>(log_of_sum);
      if (block.rounding != nullptr) {
        const double rounded_by = static_cast<double>(log_sum) - static_cast<double>(s.largest[i]) - log_of_sum;
        const bool small =
            rounded_by * rounded_by < 1e-10;  // nearly always: the next term of the series is below 2e-16
        const double factor = small ? 1 + rounded_by + rounded_by * rounded_by / 2 : __builtin_exp(rounded_by);
        block.rounding[row * block.log_sum_step] = none ? T{1} : static_cast<T>(factor);
      }
    }
  }
}

template <class T, class ProductsOf>
LRA_INLINE void attend_backward(const QueryBlock<T>& block, const AttentionScratch<T>& s, const ProductsOf& products) {
  constexpr std::int64_t step = lanes<T>;
  const std::int64_t width = products.width, padded = products.padded;
  load_queries(block, block.q, block.scale, padded, width, s.queries);
  load_queries(block, block.grad_out, T{1}, padded, width, s.grads);
  // Weights are exp(logit - log_sum); what rounding did to log_sum is made up for here, once for all pairs of a query.
  const auto rounding = [&](std::int64_t i) {
    return block.rounding[token(block.q, block.first + i) * block.log_sum_step];
  };
  for (std::int64_t i = 0; block.rounding != nullptr && i < block.count; ++i)
    copy_row(s.grads + i * width, width, rounding(i), s.grads + i * width, width);
  products.load_queries();
  products.load_grads();
  for (std::int64_t i = 0; i < padded; ++i) {
    if (i >= block.count) {
      s.log_sum[i] = -hidden_logit<T>;  // weights of 0
      s.delta[i] = 0;
      continue;
    }
    const std::int64_t row = token(block.q, block.first + i);
    const T log_sum = block.log_sum[row * block.log_sum_step];
    s.log_sum[i] = log_sum <= hidden_logit<T> / 2 ? -hidden_logit<T> : log_sum;
    const T* const out = block.saved_out.data + token(block.saved_out, block.first + i) * block.saved_out.step;
    const T delta = dot(out, s.grads + i * width, block.d);
    const T grad_log_sum = block.grad_log_sum != nullptr ? block.grad_log_sum[row * block.log_sum_step] : T{0};
    s.delta[i] = delta - (block.rounding != nullptr ? grad_log_sum * rounding(i) : grad_log_sum);
  }
  for (std::int64_t i = 0; i < padded * width; i += step) store(s.sums + i, Vector<T>{});
  products.begin_sums();

  const Queries<T> queries(block, padded);
  TileWalk<T> walk{block, s, width, true};
  for (Tile<T> tile; walk.more(tile);) {
    const KeyPart<T>& part = block.parts[walk.part];
    products.logits(tile);
    hide_far_pairs(block, s, tile, part, padded);
    if (block.meetings.own != nullptr) count_meetings(block, queries, s, tile, part, padded);
    products.weight_grads(tile);
    const bool drops = block.dropout.drop_below > 0;
    if (drops) draw_factors(block, s, tile, walk.part, padded);
    for (std::int64_t i = 0; i < padded; i += step) {
      const Vector<T> log_sum = load(s.log_sum + i), delta = load(s.delta + i);
      for (std::int64_t j = 0; j < tile.count; ++j) {
        const std::int64_t place = j * padded + i;
        const Vector<T> weight = exponential(load(s.weights + place) - log_sum);
        const Vector<T> factor = drops ? load(s.factors + place) : all(T{1});
        store(s.weights + place, weight * factor);
        store(s.weight_grads + place, weight * (load(s.weight_grads + place) * factor - delta));
      }
    }
    products.add_query_grads(tile, block.count);
    const bool direct = part.grad_k.order == nullptr && !part.unit_keys && block.d == width &&
                        tile.count % ProductsOf::key_multiple == 0 &&
                        s.key_index[tile.count - 1] - s.key_index[0] == tile.count - 1;
    if (direct) {
      products.template key_grads<true>(tile, part.grad_v.data + s.key_index[0] * part.grad_v.step, part.grad_v.step,
                                        part.grad_k.data + s.key_index[0] * part.grad_k.step, part.grad_k.step);
      continue;
    }
    products.template key_grads<false>(tile, s.value_grads, width, s.key_grads, width);
    for (std::int64_t j = 0; j < tile.count; ++j) {
      const std::int64_t row = token(part.grad_k, s.key_index[j]);
      add_row(s.value_grads + j * width, block.d, T{1}, part.grad_v.data + row * part.grad_v.step);
      T* const key_grad = s.key_grads + j * width;
      if (part.unit_keys) {  // of k / |k|: what is left of the gradient beside the direction of k, divided by |k|
        const T along = dot(key_grad, tile.k + j * tile.k_step, block.d);
        add_row(tile.k + j * tile.k_step, block.d, -along, key_grad);
      }
      add_row(key_grad, block.d, part.unit_keys ? s.key_scale[j] : T{1}, part.grad_k.data + row * part.grad_k.step);
    }
  }
  products.end_sums();
  for (std::int64_t i = 0; i < block.count; ++i) {
    T* const grad = block.grad_q.data + token(block.q, block.first + i) * block.grad_q.step;
    if (block.add_to_grad_q) {
      add_row(s.sums + i * width, block.d, block.scale, grad);
    } else {
      copy_row(s.sums + i * width, block.d, block.scale, grad, block.d);
    }
  }
}

template <class T>
void attention_forward(const QueryBlock<T>& block, T* memory) {
  const AttentionScratch<T> s = divide_scratch(memory, block.d);
  attend_forward(block, s, Products<T>{s, whole(block.count, lanes<T>), whole(block.d, lanes<T>)});
}

template <class T>
void attention_backward(const QueryBlock<T>& block, T* memory) {
  const AttentionScratch<T> s = divide_scratch(memory, block.d);
  attend_backward(block, s, Products<T>{s, whole(block.count, lanes<T>), whole(block.d, lanes<T>)});
}
