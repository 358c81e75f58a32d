#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lra::report {

/// Pixels, y down.
struct Point {
  double x = 0, y = 0;
};

struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
};

bool overlap(const Box& a, const Box& b);

/// Whether the segment from a to b touches the box.
bool crosses(const Point& a, const Point& b, const Box& box);

/// A bubble with its name (empty: it gets none); `error` is half the length of the vertical error bar (0: none).
struct LabelledBubble {
  Point centre;
  double radius = 0;
  double error = 0;
  std::string text;
};

/// Where a name goes. `leader`: a thin line from the bubble's edge (`from`) to the name (`to`). Not `placed`: there was
/// no free room.
struct PlacedLabel {
  Box box;
  bool placed = false, leader = false;
  Point from, to;
};

/// Width of a text in Arial, Helvetica or Liberation Sans (one set of metrics), in pixels.
double text_width(std::string_view text, double font_size);

/// Breaks a text at spaces so that no line is wider than `width` pixels.
std::vector<std::string> wrap(const std::string& text, double width, double font_size);

/// At most `length` characters (not bytes), the last one an ellipsis where some were cut.
std::string shorten(const std::string& text, std::size_t length);

/// Shortens texts to at most `length` characters and keeps different texts different. What is cut is the part that a
/// text shares with the text most like it.
std::vector<std::string> shorten_all(const std::vector<std::string>& texts, std::size_t length);

/// Moves the wanted positions (ascending) as little as possible, so that any two are `room` apart and all are between
/// `low` and `high`.
std::vector<double> spread(const std::vector<double>& wanted, double room, double low, double high);

/// Places one name near each bubble: no two names overlap, none leaves the plot of width x height, and bubbles, error
/// bars and the horizontal `lines` are covered only where nothing else is free; a leader line passes under a name only
/// then. Greedy, the most crowded bubble first, then improved one name at a time.
std::vector<PlacedLabel> place_labels(const std::vector<LabelledBubble>& bubbles, double width, double height,
                                      const std::vector<double>& lines, double font_size);

}  // namespace lra::report
