#include <catch2/catch_test_macros.hpp>

#include "core/text.h"

using namespace lra;

TEST_CASE("Text from files cannot drive the terminal") {
  CHECK(printable("plain, Grüße, 日本, 🙂") == "plain, Grüße, 日本, 🙂");
  CHECK(printable("two\nlines\tand \x1b[31mred\x1b[0m") == "two\\nlines\\tand \\x1b[31mred\\x1b[0m");
  CHECK(printable("\r\x7f") == "\\x0d\\x7f");
  CHECK(printable("\xc2\x9b"
                  "31m") == "\\xc2\\x9b31m");  // U+009B begins an escape sequence too
  CHECK(printable("a\xe2\x80\xae"
                  "b") ==
        "a\\xe2\\x80\\xae"
        "b");  // turns the direction of writing
  CHECK(printable("\xff\xc0\xaf\xed\xa0\x80") ==
        "\\xff\\xc0\\xaf\\xed\\xa0\\x80");  // no byte of UTF-8, overlong, a surrogate
  CHECK(printable("cut \xe2\x82") == "cut \\xe2\\x82");
  CHECK(printable(std::string_view("a\0b", 3)) == "a\\x00b");
}

TEST_CASE("Text for JSON is UTF-8 and otherwise as it was") {
  CHECK(valid_utf8("Gr\xfc\xdf"
                   "e\n\x1b[0m") ==
        "Gr\\xfc\\xdf"
        "e\n\x1b[0m");
  CHECK(valid_utf8("Grüße") == "Grüße");
}

TEST_CASE("A shell reads a quoted word as it was") {
  CHECK(shell_word("runs/a-b_c.json") == "runs/a-b_c.json");
  CHECK(shell_word("") == "''");
  CHECK(shell_word("a b; rm -rf $HOME") == "'a b; rm -rf $HOME'");
  CHECK(shell_word("it's") == "'it'\\''s'");
  CHECK(shell_word("~/x") == "'~/x'");
}
