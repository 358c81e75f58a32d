#include <catch2/catch_test_macros.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <limits>
#include <sstream>
#include <string>

#include "small_run.h"
#include "train/progress.h"

namespace {

std::string all_of(int descriptor) {
  fcntl(descriptor, F_SETFL, O_NONBLOCK);
  std::string text;
  std::array<char, 4096> part{};
  for (ssize_t count = 0; (count = read(descriptor, part.data(), part.size())) > 0;)
    text.append(part.data(), static_cast<std::size_t>(count));
  return text;
}

}  // namespace

TEST_CASE("what a run tells comes through a pipe as it was, and nobody waits for a reader", "[train]") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  lra::ProgressPipe pipe(ends[1]);
  const lra::Progress told{.phase = "valid",
                           .step = 3,
                           .train_steps = 7,
                           .loss = std::numeric_limits<double>::infinity(),
                           .accuracy = 0.25,
                           .examples_per_second = 1e-3,
                           .peak_tensor_bytes = 1234567890123,
                           .seconds_left = 4.5};
  pipe.update(told);
  pipe.update(told);  // too soon
  pipe.evaluated(told);
  pipe.note("a \"line\"\nbreak, \xff");
  pipe.resumed(12, 34);
  small_runs::Silent heard;
  std::istringstream lines(all_of(ends[0]));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) lra::pass_on(line, heard);
  CHECK(count == 4);
  CHECK(heard.resumed_at == 12);
  REQUIRE(heard.evaluations.size() == 1);
  for (const lra::Progress& progress : {heard.last, heard.evaluations[0]}) {
    CHECK(progress.phase == "valid");
    CHECK(progress.step == 3);
    CHECK(progress.train_steps == 7);
    CHECK_FALSE(std::isfinite(progress.loss));
    CHECK(progress.accuracy == 0.25);
    CHECK(progress.examples_per_second == 1e-3);
    CHECK(progress.peak_tensor_bytes == 1234567890123);
    CHECK(progress.seconds_left == 4.5);
  }
  CHECK(heard.notes == std::vector<std::string>{"a \"line\"\nbreak, \xef\xbf\xbd"});
  lra::pass_on("no JSON", heard);
  lra::pass_on("{}", heard);
  lra::pass_on(R"({"other": 3})", heard);

  for (int i = 0; i < 100; ++i) pipe.note(std::string(1 << 20, 'x'));  // more than a pipe holds
  const std::string text = all_of(ends[0]);
  CHECK(text.size() > 10000);
  CHECK(text.back() == '\n');
  close(ends[0]);
  close(ends[1]);
}
