#pragma once

#include <exception>
#include <string>

namespace lra {

/// The frame of a program: runs `body` and returns its exit code. Descriptors 0 to 2 that are closed lead to /dev/null,
/// so that no file is opened in their place. An exception becomes one line `error: ...` and, for an Error, `hint: ...`;
/// the exit code is then 2 for what the user or the machine did, standard output that cannot be written included, and 1
/// for a fault of the program `name`.
int run_program(const char* name, int argc, char** argv, int (*body)(int argc, char** argv));

/// What an exception says, on one line; of one of the file system the file and the reason.
std::string message_of(const std::exception& error);

/// Of an option's value that must be a finite number of at least 0: what is wrong with it, empty if nothing is.
std::string not_negative_number_problem(const std::string& text);

/// The same for an integer of 64 bits.
std::string integer_problem(const std::string& text);

}  // namespace lra
