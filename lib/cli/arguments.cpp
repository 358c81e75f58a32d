#include "cli/arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/suggest.h"

namespace lra {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_option(const std::string& argument) { return argument.size() > 2 && argument.starts_with("--"); }

/// "mixer-options.k" is the key mixer_options.k.
std::string key_of(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// The key before the first dot or equals sign.
std::string top_key(const std::string& argument) { return argument.substr(0, argument.find_first_of(".=")); }

[[noreturn]] void fail_unknown(const std::string& option, const Grammar& grammar) {
  std::vector<std::string> known = grammar.keys;
  for (const auto& name : grammar.options) known.push_back(name.substr(2));
  const std::string nearest = suggestion(key_of(option.substr(2)), known);
  throw Error(fmt::format("{}: unknown option", option),
              nearest.starts_with("did") ? nearest : "lra-run --help shows the commands");
}

class Reader {
 public:
  Reader(const std::vector<std::string>& arguments, const Grammar& grammar)
      : arguments_(arguments), grammar_(grammar) {}

  std::vector<std::string> read() {
    while (place_ < arguments_.size()) {
      const std::string& argument = arguments_[place_++];
      if (argument.starts_with('=') && !plain_.empty()) {
        add_value(plain_.back(), argument.substr(1), false);
      } else if (is_option(argument)) {
        read_option(argument);
      } else if (in_list_ && argument.find('=') == std::string::npos && !argument.starts_with('-')) {
        plain_.back() += (plain_.back().ends_with(',') ? "" : ",") + argument;
      } else {
        read_word(argument);
      }
    }
    return plain_;
  }

 private:
  /// Makes WORD=VALUE of the last word. Where VALUE is empty, it is the next argument, if that is `any` or is no
  /// KEY=VALUE itself.
  void add_value(std::string& word, std::string value, bool any) {
    const bool more = place_ < arguments_.size() && !is_option(arguments_[place_]);
    if (value.empty() && more && (any || arguments_[place_].find('=') == std::string::npos))
      value = arguments_[place_++];
    word += "=" + value;
    in_list_ = contains(grammar_.list_keys, word.substr(0, word.find('=')));
  }

  void read_word(const std::string& word) {
    in_list_ = false;
    const auto equals = word.find('=');
    plain_.push_back(word.substr(0, equals));
    if (equals != std::string::npos) add_value(plain_.back(), word.substr(equals + 1), false);
  }

  void read_option(const std::string& option) {
    in_list_ = false;
    const auto equals = option.find('=');
    const std::string name = option.substr(0, equals), key = key_of(name.substr(2));
    if (contains(grammar_.options, name)) {
      plain_.push_back(option);
      if (!contains(grammar_.list_options, name)) return;
      if (equals == std::string::npos && place_ < arguments_.size()) plain_.push_back(arguments_[place_++]);
      in_list_ = true;
      return;
    }
    if (!contains(grammar_.keys, top_key(key))) fail_unknown(name, grammar_);
    if (equals == std::string::npos && (place_ == arguments_.size() || is_option(arguments_[place_]))) {
      throw Error(fmt::format("{}: expected a value", name), fmt::format("{} VALUE, or {}=VALUE", name, key));
    }
    plain_.push_back(key);
    add_value(plain_.back(), equals == std::string::npos ? "" : option.substr(equals + 1), true);
  }

  const std::vector<std::string>& arguments_;
  const Grammar& grammar_;
  std::size_t place_ = 0;
  std::vector<std::string> plain_;
  bool in_list_ = false;  ///< the last word is a list that may go on
};

}  // namespace

std::vector<std::string> plain_arguments(const std::vector<std::string>& arguments, const Grammar& grammar) {
  return Reader(arguments, grammar).read();
}

}  // namespace lra
