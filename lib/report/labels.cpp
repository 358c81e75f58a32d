#include "report/labels.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <optional>

namespace lra::report {
namespace {

constexpr double gap = 1;     // between a bubble's edge and its name
constexpr double margin = 1;  // kept free above and below every name
constexpr double side_margin = 4;
constexpr double misread = 14;  // nobody takes a name that is farther away for that of a bubble

/// What a name may do to others: keep clear, push them out, or let leader lines pass under names.
enum class Manners { strict, evicting, lenient };

// Advance widths of printable ASCII in thousandths of the font size.
constexpr std::array<std::uint16_t, 95> widths = {
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333,  278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667,  611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278,  556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500,  500, 334, 260, 334, 584};

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

double overlap_area(const Box& a, const Box& b) {
  return std::max(0.0, std::min(a.right, b.right) - std::max(a.left, b.left)) *
         std::max(0.0, std::min(a.bottom, b.bottom) - std::max(a.top, b.top));
}

/// How deep a box lies in a disc, in pixels; 0 where they don't touch.
double depth_in_disc(const Box& box, const Point& centre, double radius) {
  const double dx = std::clamp(centre.x, box.left, box.right) - centre.x,
               dy = std::clamp(centre.y, box.top, box.bottom) - centre.y;
  return std::max(0.0, radius - std::hypot(dx, dy));
}

double distance_to_disc(const Box& box, const LabelledBubble& bubble) {
  const double dx = std::clamp(bubble.centre.x, box.left, box.right) - bubble.centre.x,
               dy = std::clamp(bubble.centre.y, box.top, box.bottom) - bubble.centre.y;
  return std::hypot(dx, dy) - bubble.radius;
}

}  // namespace

bool overlap(const Box& a, const Box& b) { return overlap_area(a, b) > 0; }

bool crosses(const Point& a, const Point& b, const Box& box) {
  double enter = 0, leave = 1;  // Liang and Barsky's clipping
  const std::array<std::array<double, 2>, 4> edges = {{{a.x - b.x, a.x - box.left},
                                                       {b.x - a.x, box.right - a.x},
                                                       {a.y - b.y, a.y - box.top},
                                                       {b.y - a.y, box.bottom - a.y}}};
  for (const auto& [direction, distance] : edges) {
    if (direction == 0 && distance < 0) return false;
    if (direction < 0) enter = std::max(enter, distance / direction);
    if (direction > 0) leave = std::min(leave, distance / direction);
  }
  return enter <= leave;
}

double text_width(std::string_view text, double font_size) {
  double sum = 0;
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code >= 32 && code < 127)
      sum += widths[static_cast<std::size_t>(code) - 32];
    else if (code >= 0xE3)
      sum += 1000;  // mostly East Asian scripts: one em
    else if (!continues(c))
      sum += 620;
  }
  return sum * font_size / 1000;
}

std::vector<std::string> wrap(const std::string& text, double width, double font_size) {
  std::vector<std::string> lines(1);
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t end = std::min(text.find(' ', start), text.size());
    const std::string word = text.substr(start, end - start);
    if (!lines.back().empty() && text_width(lines.back() + " " + word, font_size) > width) lines.emplace_back();
    lines.back() += (lines.back().empty() ? "" : " ") + word;
    start = end + 1;
  }
  return lines;
}

std::string shorten(const std::string& text, std::size_t length) {
  std::size_t count = 0, cut = text.size();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (continues(text[i])) continue;
    if (++count == length) cut = i;
  }
  return count <= length ? text : text.substr(0, cut) + "…";
}

std::vector<std::string> shorten_all(const std::vector<std::string>& texts, std::size_t length) {
  std::vector<std::vector<std::string>> characters;
  for (const std::string& text : texts) {
    characters.emplace_back();
    for (const char c : text) {
      if (!continues(c) || characters.back().empty()) characters.back().emplace_back();
      characters.back().back() += c;
    }
  }
  const auto joined = [](const auto& from, const auto& to) { return std::accumulate(from, to, std::string()); };
  std::vector<std::string> result;
  std::map<std::string, int> used;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto& own = characters[i];
    std::size_t same = 0;  // with the text that it is most like
    for (std::size_t j = 0; j < texts.size() && own.size() > length; ++j) {
      if (texts[j] == texts[i]) continue;
      const auto [end, other] = std::mismatch(own.begin(), own.end(), characters[j].begin(), characters[j].end());
      same = std::max(same, static_cast<std::size_t>(end - own.begin()));
    }
    std::string text = texts[i];
    if (own.size() > length) {
      const auto size = static_cast<std::ptrdiff_t>(own.size()), room = static_cast<std::ptrdiff_t>(length);
      const auto first = static_cast<std::ptrdiff_t>(same);
      if (first < room - 1) {
        text = joined(own.begin(), own.begin() + room - 1) + "…";  // they differ before the cut
      } else {
        // The beginning, then from a little before the difference on, as far to the end as there is room.
        const std::ptrdiff_t head = std::max<std::ptrdiff_t>(1, room / 3), rest = room - head - 1;
        const std::ptrdiff_t from = std::clamp(first - rest / 3, head + 1, std::max(head + 1, size - rest));
        const bool whole = size - from <= rest;
        text = joined(own.begin(), own.begin() + head) + "…" +
               joined(own.begin() + from, whole ? own.end() : own.begin() + from + rest - 1) + (whole ? "" : "…");
      }
    }
    if (const int count = ++used[text]; count > 1 && text != texts[i])
      text = shorten(text, length - 3) + "#" + std::to_string(count);
    result.push_back(text);
  }
  return result;
}

std::vector<double> spread(const std::vector<double>& wanted, double room, double low, double high) {
  // Neighbours that would meet become one block around the mean of what they want.
  struct Block {
    double sum = 0, size = 0;
    double first(double step) const { return sum / size - (size - 1) / 2 * step; }
  };
  std::vector<Block> blocks;
  const auto start = [&](const Block& block) {
    return std::clamp(block.first(room), low, std::max(low, high - (block.size - 1) * room));
  };
  for (const double one : wanted) {
    blocks.push_back({one, 1});
    while (blocks.size() > 1 &&
           start(blocks[blocks.size() - 2]) + blocks[blocks.size() - 2].size * room > start(blocks.back())) {
      const Block last = blocks.back();
      blocks.pop_back();
      blocks.back().sum += last.sum;
      blocks.back().size += last.size;
    }
  }
  std::vector<double> places;
  for (const Block& block : blocks) {
    for (double i = 0; i < block.size; ++i) places.push_back(start(block) + i * room);
  }
  return places;
}

std::vector<PlacedLabel> place_labels(const std::vector<LabelledBubble>& bubbles, double width, double height,
                                      const std::vector<double>& lines, double font_size) {
  std::vector<PlacedLabel> labels(bubbles.size());

  const auto candidate = [&](std::size_t i, double angle, double distance) {
    const LabelledBubble& bubble = bubbles[i];
    const double half_width = text_width(bubble.text, font_size) / 2 + side_margin,
                 half_height = font_size / 2 + margin;
    const double dx = std::cos(angle), dy = -std::sin(angle), reach = bubble.radius + gap + distance;
    // The centre of the name lies where its box just leaves the disc of radius `reach` in that direction.
    const Point centre{bubble.centre.x + dx * reach + half_width * std::clamp(dx * 1.6, -1.0, 1.0),
                       bubble.centre.y + dy * reach + half_height * std::clamp(dy * 1.6, -1.0, 1.0)};
    PlacedLabel label;
    label.box = {centre.x - half_width, centre.y - half_height, centre.x + half_width, centre.y + half_height};
    label.placed = true;
    label.leader = distance > 6;
    label.from = {bubble.centre.x + dx * bubble.radius, bubble.centre.y + dy * bubble.radius};
    label.to = {std::clamp(label.from.x, label.box.left, label.box.right),
                std::clamp(label.from.y, label.box.top, label.box.bottom)};
    return label;
  };

  /// Whether two names, or one and the other's leader line, get in each other's way.
  const auto collide = [](const PlacedLabel& a, const PlacedLabel& b) {
    return overlap(a.box, b.box) || (b.leader && crosses(b.from, b.to, a.box)) ||
           (a.leader && crosses(a.from, a.to, b.box));
  };

  std::vector<double> evictions(bubbles.size(), 0.0);

  /// The price of a candidate, or nothing where it leaves the plot or collides with another name (unless its manners
  /// allow that).
  const auto price = [&](std::size_t i, const PlacedLabel& label, Manners manners) -> std::optional<double> {
    const Box& box = label.box;
    if (box.left < 0 || box.top < 0 || box.right > width || box.bottom > height) return std::nullopt;
    double sum = 0;
    for (std::size_t j = 0; j < bubbles.size(); ++j) {
      if (j != i && labels[j].placed && collide(label, labels[j])) {
        if (manners == Manners::strict || (manners == Manners::lenient && overlap(box, labels[j].box)))
          return std::nullopt;
        sum += 100 * (1 + evictions[j]);
      }
      const LabelledBubble& other = bubbles[j];
      const double depth = depth_in_disc(box, other.centre, other.radius + 1);
      if (depth > 0) sum += 160 + 8 * depth;
      const Box bar{other.centre.x - 1, other.centre.y - other.error, other.centre.x + 1, other.centre.y + other.error};
      if (overlap(box, bar)) sum += 25;
      const Box core{other.centre.x - 0.5 * other.radius, other.centre.y - 0.5 * other.radius,
                     other.centre.x + 0.5 * other.radius, other.centre.y + 0.5 * other.radius};
      if (j != i && label.leader && crosses(label.from, label.to, core)) sum += 30;
    }
    for (const double y : lines) {
      if (y > box.top && y < box.bottom) sum += 25;
    }
    // A name that stands nearer to another circle than to its own is read as that one's.
    const double own = distance_to_disc(box, bubbles[i]);
    for (std::size_t j = 0; j < bubbles.size(); ++j) {
      if (j != i && distance_to_disc(box, bubbles[j]) < std::min(own, misread)) sum += 45;
    }
    return sum;
  };

  const auto place = [&](std::size_t i, Manners manners) {
    PlacedLabel best;
    double best_price = 0;
    for (double distance = 0; distance < std::hypot(width, height); distance += distance < 4 ? 4 : 8) {
      if (best.placed && distance > best_price) break;  // farther ones can only cost more
      const int steps = distance < 20 ? 16 : 64;
      for (int step = 0; step < steps; ++step) {
        const PlacedLabel label = candidate(i, 2 * std::acos(-1.0) * step / steps, distance);
        const auto price_here = price(i, label, manners);
        if (!price_here) continue;
        const double from_east = 16.0 * std::min(step, steps - step) / steps;
        const double total = *price_here + distance + 0.7 * from_east + (label.leader ? 8 : 0);
        if (best.placed && total >= best_price) continue;
        best = label;
        best_price = total;
      }
    }
    if (!best.placed) return;  // it stays where it was
    labels[i] = best;
    for (std::size_t j = 0; manners == Manners::evicting && j < bubbles.size(); ++j) {
      if (j == i || !labels[j].placed || !collide(best, labels[j])) continue;
      labels[j].placed = false;
      ++evictions[j];
    }
  };

  std::vector<std::size_t> order(bubbles.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto crowd = [&](std::size_t i) {
    double sum = 0;
    for (const LabelledBubble& other : bubbles) {
      sum += 1 / (20 + std::hypot(other.centre.x - bubbles[i].centre.x, other.centre.y - bubbles[i].centre.y));
    }
    return sum;
  };
  std::erase_if(order, [&](std::size_t i) { return bubbles[i].text.empty(); });
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return crowd(a) > crowd(b); });
  for (const std::size_t i : order) place(i, Manners::strict);
  // A name without room takes that of others, which look for another; being evicted makes them harder to evict again.
  for (int round = 0; round < 40; ++round) {
    for (const std::size_t i : order) {
      if (!labels[i].placed) place(i, Manners::evicting);
    }
  }
  for (const std::size_t i : order) {
    if (!labels[i].placed) place(i, Manners::lenient);
  }
  for (int round = 0; round < 8; ++round) {
    for (const std::size_t i : order) place(i, Manners::strict);
  }
  return labels;
}

}  // namespace lra::report
