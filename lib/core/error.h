#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace lra {

/// Something the user did wrong. `main` prints it as `error: <message>` and, if there is one, `hint: <hint>`, and exits
/// with code 2. A message is one sentence that names the file and the place, and says what was expected.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::string hint = {})
      : std::runtime_error(message), hint_(std::move(hint)) {}

  const std::string& hint() const { return hint_; }

 private:
  std::string hint_;
};

}  // namespace lra
