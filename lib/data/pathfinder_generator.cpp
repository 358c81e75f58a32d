#include "data/pathfinder_generator.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <future>
#include <string>

#include "core/error.h"
#include "core/host_info.h"
#include "core/json_file.h"
#include "data/png.h"
#include "data/random.h"

// Same pixels everywhere: doubles go through + - * / and sqrt only, which IEEE 754 rounds alike on every processor
// (this file is compiled without fused multiply-add), sine and cosine are made of these, and all results are rounded to
// integers before anything is drawn by lot. std::floor and std::lround are exact.

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr int generator_version = 1;  // raise it when the same arguments begin to give other pictures
constexpr std::uint64_t pictures_per_batch = 1000;
constexpr const char* unfinished = "metadata.unfinished";  // its folder until all batches are there
constexpr int paddle_retrials = 2, distractor_retrials = 4;
constexpr int scale = 2;       // lines and discs are drawn this much larger, then reduced
constexpr int touching = 459;  // two masks overlap where their sum reaches 1.8 x 255
constexpr int occupied = 77;   // a pixel is taken where the mask exceeds 0.3 x 255
constexpr int faint =
    26;  // borders of a mask with less than 0.1 x 255 are cut off: the filter's echoes, which keep nobody away
constexpr int whole_degrees = 360;
constexpr double pi = 3.14159265358979323846;

/// The settings of one picture size. Contrasts in percent of a disc's; those of the paddles of long snakes are the
/// product of the original's snake contrast and paddle contrast, those of short snakes the snake contrast alone.
struct Style {
  int size, padding, seed_distance, paddle_length;
  double thickness, marker_radius, continuity;
  std::array<int, 2> margins;
  int distractor_paddles, contrast, distractor_contrast;  // the paddles of all short snakes together
};
constexpr std::array<Style, 4> styles{{{32, 1, 7, 2, 0.5, 1.5, 1.0, {1, 1}, 20, 150, 200},
                                       {64, 1, 12, 5, 1.0, 2.5, 1.8, {1, 1}, 22, 80, 80},
                                       {128, 1, 20, 5, 1.5, 3.0, 1.8, {2, 3}, 35, 90, 90},
                                       {256, 22, 27, 5, 2.0, 5.0, 1.8, {3, 3}, 30, 100, 100}}};

struct Place {
  int y = 0, x = 0;
};
Place operator+(Place a, Place b) { return {a.y + b.y, a.x + b.x}; }

struct Vector {
  double y = 0, x = 0;
};

/// Taylor series; good to 1e-12 up to 3 pi.
double sine(double x) {
  double term = x, sum = x;
  for (int n = 2; n < 50; n += 2) {
    term *= -x * x / (n * (n + 1));
    sum += term;
  }
  return sum;
}

double cosine(double x) { return sine(pi / 2 - x); }

/// The angle of a vector from the x axis towards y, in -pi .. pi, by bisection.
double angle_of(Vector v) {
  double low = 0, high = pi;
  for (int i = 0; i < 50; ++i) {
    const double middle = (low + high) / 2;
    (cosine(middle) > v.x / std::sqrt(v.y * v.y + v.x * v.x) ? low : high) = middle;
  }
  return v.y < 0 ? -low : low;
}

/// A rectangle of bytes, placed by one of its pixels, which may lie outside.
struct Stamp {
  Place corner;  // of its first byte, from where the stamp is placed
  int height = 0, width = 0;
  std::vector<std::uint8_t> bytes;

  /// Calls act(index of the pixel, byte) for each byte that falls into a picture of size x size; stops when act returns
  /// true and returns whether it did.
  template <class Act>
  bool any(Place at, int size, Act act) const {
    const Place first = at + corner;
    const int left = std::max(0, first.x), right = std::min(size, first.x + width);
    for (int y = std::max(0, first.y); y < std::min(size, first.y + height); ++y) {
      const std::uint8_t* row = &bytes[static_cast<std::size_t>((y - first.y) * width)];
      for (int x = left; x < right; ++x) {
        if (act(static_cast<std::size_t>(y * size + x), row[x - first.x])) return true;
      }
    }
    return false;
  }
};

/// Reduces a square picture, `large` x `large` places which are white or black by `inside`, to 2 radius + 1 places a
/// side with the Lanczos filter of three lobes, and cuts off the borders with nothing from `least` up on them.
template <class Inside>
Stamp reduce(int large, int radius, int least, Inside inside) {
  const int side = 2 * radius + 1;
  const double ratio = static_cast<double>(large) / side;
  const auto lanczos = [](double x) {
    if (x == 0) return 1.0;
    if (x <= -3 || x >= 3) return 0.0;
    return 3 * sine(pi * x) * sine(pi * x / 3) / (pi * pi * x * x);
  };
  const auto at = [](int row, int width, int column) { return static_cast<std::size_t>(row * width + column); };
  std::vector<double> weights(at(side, large, 0));
  for (int i = 0; i < side; ++i) {
    double sum = 0;
    for (int j = 0; j < large; ++j) sum += weights[at(i, large, j)] = lanczos((j + 0.5) / ratio - (i + 0.5));
    for (int j = 0; j < large; ++j) weights[at(i, large, j)] /= sum;
  }
  std::vector<double> rows(at(large, side, 0));
  for (int y = 0; y < large; ++y) {
    for (int x = 0; x < large; ++x) {
      if (!inside(y, x)) continue;
      for (int i = 0; i < side; ++i) rows[at(y, side, i)] += weights[at(i, large, x)];
    }
  }
  std::vector<std::uint8_t> bytes;
  int top = side, bottom = -1, left = side, right = -1;
  for (int i = 0; i < side; ++i) {
    for (int j = 0; j < side; ++j) {
      double sum = 0;
      for (int y = 0; y < large; ++y) sum += weights[at(i, large, y)] * rows[at(y, side, j)];
      bytes.push_back(static_cast<std::uint8_t>(std::floor(std::clamp(sum, 0.0, 1.0) * 255 + 0.5)));
      if (bytes.back() < least) continue;
      top = std::min(top, i);
      bottom = i;
      left = std::min(left, j);
      right = std::max(right, j);
    }
  }
  Stamp stamp{{top - radius, left - radius}, bottom - top + 1, right - left + 1, {}};
  for (int i = top; i <= bottom; ++i)
    stamp.bytes.insert(stamp.bytes.end(), &bytes[at(i, side, left)], &bytes[at(i, side, left)] + stamp.width);
  return stamp;
}

/// A short line that begins at a pixel: what is seen of it, and the mask that keeps others away from it.
struct Paddle {
  Stamp line, mask;
  std::vector<Place> core;  // where the mask is full
};

Paddle draw_paddle(const Style& style, int margin, Vector direction) {
  const int radius = style.paddle_length + static_cast<int>(std::ceil(style.thickness)) + margin;
  const int large = 2 * radius * scale + 1;
  const double length = style.paddle_length * scale, width = style.thickness * scale;
  // A line of width 1 has one place in each row or column that it crosses, as a line drawn by Bresenham's rule.
  const double half_width = width == 1 ? std::max(std::abs(direction.y), std::abs(direction.x)) / 2 : width / 2;
  const auto along = [&](int y, int x) {
    return (y - radius * scale) * direction.y + (x - radius * scale) * direction.x;
  };
  const auto across = [&](int y, int x) {
    return (y - radius * scale) * direction.x - (x - radius * scale) * direction.y;
  };
  // Of two points on opposite edges one belongs to the line, so that it is as thick as it should be; the tolerance
  // decides whatever the rounding.
  constexpr double tolerance = 1e-9;
  Paddle paddle;
  paddle.line = reduce(large, radius, 1, [&](int y, int x) {
    const double a = along(y, x), aside = across(y, x) + tolerance;
    return a > -0.5 - tolerance && a < length + 0.5 + tolerance && aside >= -half_width && aside < half_width;
  });
  paddle.mask = reduce(large, radius, faint, [&](int y, int x) {
    const double a = along(y, x), beyond = a - std::clamp(a, 0.0, length), aside = across(y, x),
                 reach = half_width + margin * scale + tolerance;
    return beyond * beyond + aside * aside < reach * reach;
  });
  for (int y = 0; y < paddle.mask.height; ++y) {
    for (int x = 0; x < paddle.mask.width; ++x) {
      if (paddle.mask.bytes[static_cast<std::size_t>(y * paddle.mask.width + x)] == 255)
        paddle.core.push_back(paddle.mask.corner + Place{y, x});
    }
  }
  return paddle;
}

Stamp draw_disc(const Style& style) {
  const int radius = static_cast<int>(std::ceil(style.marker_radius)) + 3;
  const double reach = style.marker_radius * scale;
  return reduce((2 * radius + 1) * scale, radius, 1, [&](int y, int x) {
    const int dy = y - radius * scale, dx = x - radius * scale;
    return dy * dy + dx * dx <= reach * reach;
  });
}

/// All that can be drawn at one size with one margin. A direction is a number: 0 .. 359 are whole degrees (first
/// paddles), the others those from a pivot to the pixels of the ring around it where the next paddle may end.
struct Brushes {
  std::vector<Paddle> from_tail;  // for each whole degree
  std::vector<Place> ring;
  std::vector<Paddle> from_head;  // for each place of the ring: the paddle that ends there
  std::vector<Place> forth;       // for each direction: from one pivot to the next
  std::vector<Place> back;        // for each direction: from the tail of a paddle to its pivot
  std::vector<std::vector<std::uint32_t>>
      weights;                        // for each direction: of the places of the ring, for their continuity
  std::vector<Place> disc_of_margin;  // the pixels no further away than the margin

  Brushes(const Style& style, int margin) {
    const int reach = style.paddle_length + margin;
    std::vector<Vector> directions;
    for (int degree = 0; degree < whole_degrees; ++degree) {
      const double angle = (degree > 180 ? degree - 360 : degree) * pi / 180;
      directions.push_back({sine(angle), cosine(angle)});
      from_tail.push_back(draw_paddle(style, margin, directions.back()));
    }
    for (int y = -reach; y <= reach; ++y) {
      for (int x = -reach; x <= reach; ++x) {
        const int four_squares = 4 * (y * y + x * x);
        if (four_squares <= (2 * reach - 1) * (2 * reach - 1) || four_squares >= (2 * reach + 1) * (2 * reach + 1))
          continue;
        const double length = std::sqrt(y * y + x * x);
        ring.push_back({y, x});
        directions.push_back({y / length, x / length});
        from_head.push_back(draw_paddle(style, margin, {-y / length, -x / length}));
      }
    }
    const auto rounded = [](Vector v, int length) {
      return Place{static_cast<int>(std::lround(v.y * length)), static_cast<int>(std::lround(v.x * length))};
    };
    std::vector<double> angles;
    for (const Vector& direction : directions) {
      forth.push_back(rounded(direction, style.paddle_length + 2 * margin));
      back.push_back(rounded(direction, -margin));
      angles.push_back(angle_of(direction));
    }
    for (const double last : angles) {
      std::vector<std::uint32_t>& row = weights.emplace_back();
      for (std::size_t k = 0; k < ring.size(); ++k) {
        const double difference = std::abs(angles[whole_degrees + k] - last);
        const double turn = std::min(difference, 2 * pi - difference);
        const double weight = cosine(std::min(style.continuity * turn, pi / 2));
        row.push_back(static_cast<std::uint32_t>(std::floor(65535 * weight * weight + 0.5)));
      }
    }
    for (int y = -margin; y <= margin; ++y) {
      for (int x = -margin; x <= margin; ++x) {
        if (y * y + x * x <= margin * margin) disc_of_margin.push_back({y, x});
      }
    }
  }
};

struct Tools {
  Style style;
  std::vector<Brushes> brushes;  // for each margin
  Stamp disc;

  explicit Tools(const Style& s) : style(s), disc(draw_disc(s)) {
    for (std::size_t i = 0; i < style.margins.size(); ++i) {
      if (i == 0 || style.margins[i] != style.margins[0]) brushes.emplace_back(style, style.margins[i]);
    }
  }
};

const Tools& tools_for(int size) {
  switch (size) {
    case 32: {
      static const Tools tools(styles[0]);
      return tools;
    }
    case 64: {
      static const Tools tools(styles[1]);
      return tools;
    }
    case 128: {
      static const Tools tools(styles[2]);
      return tools;
    }
    case 256: {
      static const Tools tools(styles[3]);
      return tools;
    }
    default:
      throw Error(fmt::format("Pathfinder: expected a picture size of 32, 64, 128 or 256, found {}", size));
  }
}

void check(int contour_length) {
  if (contour_length >= 3 && contour_length <= 14) return;
  throw Error(fmt::format("Pathfinder: expected a contour length of 3 to 14, found {}", contour_length));
}

/// Paddles of a short snake.
int distractor_length(int contour_length) { return contour_length / 3; }

using Mask = std::vector<std::uint8_t>;  // size x size; 0: free, 255: taken

struct Drawn {
  const Paddle* paddle = nullptr;
  Place at;
};

struct Snake {
  std::vector<Drawn> paddles;
  Place start, end;           // the tips
  Place pivot;                // a margin before the last paddle
  std::size_t direction = 0;  // of the last paddle
};

/// Draws the snakes of one picture.
class Artist {
 public:
  Artist(const Tools& tools, int contour_length, Random& random)
      : tools_(tools),
        style_(tools.style),
        contour_length_(contour_length),
        random_(random),
        brushes_(tools.brushes[random.below(static_cast<std::uint32_t>(tools.brushes.size()))]) {}

  int margin() const { return style_.margins[static_cast<std::size_t>(&brushes_ - tools_.brushes.data())]; }

  /// Two long snakes that grow in turn. False when one of them finds no room.
  bool draw_pair(std::array<Snake, 2>& pair) {
    const int far = 2 * style_.seed_distance;
    // What each of them must keep clear of: everything but its own last paddle.
    std::array<Mask, 2> masks;
    masks[0] = masks[1] = padding();
    if (!place_first(masks[0], far, pair[0])) return false;
    block(masks[1], pair[0].paddles.back());

    const Vector away = degree(random_.below(whole_degrees));
    const Place start = pair[0].start + Place{static_cast<int>(std::lround(style_.seed_distance * away.y)),
                                              static_cast<int>(std::lround(style_.seed_distance * away.x))};
    begin(pair[1], random_.below(whole_degrees), start);
    if (touches(masks[1], pair[1].paddles.back())) return false;
    block(masks[0], pair[1].paddles.back());

    for (int i = 1; i < contour_length_; ++i) {
      for (std::size_t s = 0; s < 2; ++s) {
        const Drawn last = pair[s].paddles.back();
        if (!extend(masks[s], pair[s])) return false;
        block(masks[s], last);
        block(masks[1 - s], pair[s].paddles.back());
      }
    }
    // Unlike the original, no two discs may run into each other; asked of all four choices of discs, so that the label
    // plays no part.
    for (const Snake& a : pair) {
      for (const Snake& b : pair) {
        const Place d{a.start.y - b.end.y, a.start.x - b.end.x};
        const double apart = 2 * style_.marker_radius + 1;
        if (d.y * d.y + d.x * d.x < apart * apart) return false;
      }
    }
    return true;
  }

  /// Short snakes around the long ones. Those that find no room are left out.
  std::vector<Snake> draw_distractors(const std::array<Snake, 2>& pair) {
    Mask mask = padding();
    for (const Snake& snake : pair) {
      for (const Drawn& drawn : snake.paddles) block(mask, drawn);
    }
    std::vector<Snake> snakes;
    const int length = distractor_length(contour_length_);
    for (int i = 0; i < style_.distractor_paddles / length; ++i) {
      for (int trial = 0; trial <= distractor_retrials; ++trial) {
        const auto free = std::count_if(mask.begin(), mask.end(), [](std::uint8_t m) { return m < occupied; });
        if (100 * free < style_.size * style_.size) return snakes;
        Snake snake;
        Mask others = mask;
        bool good = place_first(others, 1, snake);
        for (int k = 1; good && k < length; ++k) {
          const Drawn last = snake.paddles.back();
          good = extend(others, snake);
          block(others, last);
        }
        if (!good) continue;
        for (const Drawn& drawn : snake.paddles) block(mask, drawn);
        snakes.push_back(std::move(snake));
        break;
      }
    }
    return snakes;
  }

 private:
  Vector degree(std::uint32_t degrees) const {
    const double angle = (static_cast<int>(degrees) - 180) * pi / 180;
    return {sine(angle), cosine(angle)};
  }

  Mask padding() const {
    const int size = style_.size, inner = size - style_.padding;
    Mask mask(static_cast<std::size_t>(size * size), 255);
    for (int y = style_.padding; y < inner; ++y)
      std::fill_n(&mask[static_cast<std::size_t>(y * size + style_.padding)], inner - style_.padding, std::uint8_t{0});
    return mask;
  }

  void block(Mask& mask, const Drawn& drawn) const {
    drawn.paddle->mask.any(drawn.at, style_.size, [&](std::size_t i, std::uint8_t byte) {
      mask[i] = std::max(mask[i], byte);
      return false;
    });
  }

  bool touches(const Mask& mask, const Drawn& drawn) const {
    return drawn.paddle->mask.any(drawn.at, style_.size,
                                  [&](std::size_t i, std::uint8_t byte) { return mask[i] + byte >= touching; });
  }

  void begin(Snake& snake, std::uint32_t direction, Place start) const {
    snake = {};
    snake.paddles.push_back({&brushes_.from_tail[direction], start});
    snake.start = start;
    snake.pivot = start + brushes_.back[direction];
    snake.direction = direction;
  }

  /// A first paddle in a random direction at a random place where it is clear of the mask and of a border so many
  /// pixels wide.
  bool place_first(const Mask& mask, int border, Snake& snake) {
    const auto direction = random_.below(whole_degrees);
    const auto& core = brushes_.from_tail[direction].core;
    const int size = style_.size;
    const auto span = static_cast<std::uint32_t>(size - 2 * border);
    for (int trial = 0; trial < 16 * size;
         ++trial) {  // all free places are alike: the first that is hit is one of them at random
      const Place start{border + static_cast<int>(random_.below(span)), border + static_cast<int>(random_.below(span))};
      const bool clear = std::all_of(core.begin(), core.end(), [&](Place offset) {
        const Place p = start + offset;
        return p.y >= border && p.y < size - border && p.x >= border && p.x < size - border &&
               mask[static_cast<std::size_t>(p.y * size + p.x)] < occupied;
      });
      if (!clear) continue;
      begin(snake, direction, start);
      return true;
    }
    return false;
  }

  bool extend(const Mask& mask, Snake& snake) {
    const int size = style_.size;
    const Place pivot = snake.pivot + brushes_.forth[snake.direction];
    // Nearer to the border a place is taken: the padding is within a margin of it.
    const auto inside = [low = margin(), high = size - margin()](int v) { return v >= low && v < high; };
    const auto& continuity = brushes_.weights[snake.direction];
    weights_.assign(brushes_.ring.size(), 0);
    std::uint32_t total = 0;
    for (std::size_t k = 0; k < weights_.size(); ++k) {
      const Place head = pivot + brushes_.ring[k];
      if (continuity[k] == 0 || !inside(head.y) || !inside(head.x)) continue;
      std::uint8_t taken = 0;
      for (const Place offset : brushes_.disc_of_margin)
        taken = std::max(taken, mask[static_cast<std::size_t>((head.y + offset.y) * size + head.x + offset.x)]);
      total += weights_[k] = continuity[k] * (255u - taken);
    }
    if (total == 0) return false;
    for (int trial = 0; trial <= paddle_retrials; ++trial) {
      std::uint32_t lot = random_.below(total);
      std::size_t k = 0;
      for (; lot >= weights_[k]; ++k) lot -= weights_[k];
      const Drawn drawn{&brushes_.from_head[k], pivot + brushes_.ring[k]};
      if (touches(mask, drawn)) continue;
      snake.paddles.push_back(drawn);
      snake.end = drawn.at;
      snake.pivot = pivot;
      snake.direction = whole_degrees + k;
      return true;
    }
    return false;
  }

  const Tools& tools_;
  const Style& style_;
  int contour_length_;
  Random& random_;
  const Brushes& brushes_;
  std::vector<std::uint32_t> weights_;
};

[[noreturn]] void fail(const fs::path& path, const char* what, int code) {
  throw Error(fmt::format("{}: {} ({})", path.string(), what, std::strerror(code)),
              "check the permissions and the free space there");
}

void write_batch(const fs::path& folder, int size, std::uint64_t seed, std::uint64_t count, int contour_length,
                 std::uint64_t batch) {
  const fs::path list = folder / unfinished / fmt::format("{}.npy", batch),
                 images = folder / "imgs" / std::to_string(batch);
  std::error_code code;
  if (fs::exists(list, code)) return;
  fs::create_directories(images, code);
  if (code) fail(images, "this folder cannot be made", code.value());
  const Style& style = tools_for(size).style;
  std::string lines;
  const std::uint64_t first = batch * pictures_per_batch;
  for (std::uint64_t number = 0; number < std::min(pictures_per_batch, count - first); ++number) {
    const PathfinderPicture picture = draw_pathfinder(size, seed, first + number, contour_length);
    const fs::path file = images / fmt::format("sample_{}.png", number);
    std::ofstream out(file, std::ios::binary);
    out << png_grey(picture.pixels.data(), size, size);
    out.close();
    if (!out) fail(file, "cannot be written", errno);
    lines += fmt::format("imgs/{} sample_{}.png {} {} {:.1f} {} {} {} {:.1f} {} 1\n", batch, number, number,
                         picture.label, style.continuity, contour_length, distractor_length(contour_length),
                         style.paddle_length, style.thickness, picture.margin);
  }
  // One sync for all pictures of the batch, before its list says that they are there.
  const int descriptor = ::open(images.c_str(), O_RDONLY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::syncfs(descriptor) == 0;
  const int problem = errno;
  ::close(descriptor);
  if (!synced) fail(images, "its pictures cannot be written", problem);
  write_file_atomically(list, lines);
}

}  // namespace

PathfinderPicture draw_pathfinder(int size, std::uint64_t seed, std::uint64_t index, int contour_length) {
  check(contour_length);
  const Tools& tools = tools_for(size);
  const Style& style = tools.style;
  Random random(seed, index);
  Artist artist(tools, contour_length, random);
  PathfinderPicture picture;
  picture.margin = artist.margin();
  std::array<Snake, 2> pair;
  for (; !artist.draw_pair(pair); ++picture.restarts) {
  }
  const std::vector<Snake> distractors = artist.draw_distractors(pair);
  picture.label = static_cast<std::int32_t>(random.below(2));
  const std::size_t first = random.below(2), last = picture.label == 1 ? first : 1 - first;

  std::vector<int> light(static_cast<std::size_t>(size * size));
  const auto draw = [&](const Stamp& stamp, Place at, int contrast) {
    stamp.any(at, size, [&](std::size_t i, std::uint8_t byte) {
      light[i] = std::max(light[i], byte * contrast);
      return false;
    });
  };
  for (const Snake& snake : pair) {
    for (const Drawn& drawn : snake.paddles) draw(drawn.paddle->line, drawn.at, style.contrast);
  }
  for (const Snake& snake : distractors) {
    for (const Drawn& drawn : snake.paddles) draw(drawn.paddle->line, drawn.at, style.distractor_contrast);
  }
  const std::array<Place, 2> discs{pair[first].start, pair[last].end};
  for (std::size_t i = 0; i < 2; ++i) {
    draw(tools.disc, discs[i], 100);
    picture.discs[i] = {discs[i].y, discs[i].x};
  }

  const int brightest = *std::max_element(light.begin(), light.end());
  picture.pixels.reserve(light.size());
  for (const int value : light)
    picture.pixels.push_back(static_cast<std::uint8_t>((2 * 255 * value + brightest) / (2 * brightest)));
  return picture;
}

void write_pathfinder(const fs::path& folder, int size, std::uint64_t seed, std::uint64_t count, unsigned threads,
                      int contour_length) {
  tools_for(size);  // throws for a size that there is not
  check(contour_length);
  if (count == 0) throw Error("Pathfinder: expected at least 1 picture to write, found 0");
  const Json arguments = {{"generator", "pathfinder"},
                          {"version", generator_version},
                          {"size", size},
                          {"seed", seed},
                          {"count", count},
                          {"contour_length", contour_length}};
  const fs::path note = folder / "generator.json", metadata = folder / "metadata";
  std::error_code code;
  if (fs::exists(note, code) ? read_json(note) != arguments
                             : fs::exists(metadata, code) || fs::exists(folder / "imgs", code)) {
    throw Error(fmt::format("{}: holds pictures that were not made with these options", folder.string()),
                "choose another folder or delete this one");
  }
  if (fs::exists(metadata, code)) return;
  write_json(note, arguments);

  const std::uint64_t batches = (count + pictures_per_batch - 1) / pictures_per_batch;
  std::atomic<std::uint64_t> next_batch = 0;
  const auto work = [&] {
    for (std::uint64_t batch = next_batch++; batch < batches; batch = next_batch++) {
      try {
        write_batch(folder, size, seed, count, contour_length, batch);
      } catch (...) {
        next_batch = batches;  // nothing more to begin
        throw;
      }
    }
  };
  std::vector<std::future<void>> workers;
  if (threads == 0) threads = static_cast<unsigned>(usable_cores());
  for (unsigned t = 0; t < threads; ++t) {
    workers.push_back(std::async(std::launch::async, work));
  }
  for (auto& worker : workers) worker.get();
  fs::rename(folder / unfinished, metadata, code);
  if (code) fail(metadata, "cannot be made", code.value());
}

}  // namespace lra
