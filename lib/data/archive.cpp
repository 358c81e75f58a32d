#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/text.h"
#include "data/gzip_file.h"

namespace lra {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t buffer_size = 1 << 20;

/// The bytes of the archive for libarchive, which does not check the checksum of gzip itself.
struct Source {
  GzipFile file;
  std::vector<char> buffer = std::vector<char>(buffer_size);
  std::optional<Error> error;

  // Called by C code, which no exception may cross.
  static la_ssize_t read(archive* handle, void* data, const void** bytes) {
    auto& source = *static_cast<Source*>(data);
    *bytes = source.buffer.data();
    try {
      return static_cast<la_ssize_t>(source.file.read(source.buffer.data(), source.buffer.size()));
    } catch (const Error& failure) {
      source.error = failure;
      archive_set_error(handle, EIO, "%s", failure.what());
      return -1;
    }
  }
};

bool begins_like_zip(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return in.get() == 'P' && in.get() == 'K';
}

void write_entry(archive* handle, const fs::path& file, std::vector<char>& buffer, const std::function<void()>& fail_to_read) {
  std::error_code code;
  fs::create_directories(file.parent_path(), code);
  std::ofstream out(file, std::ios::binary);
  la_ssize_t count = 0;
  while (out && (count = archive_read_data(handle, buffer.data(), buffer.size())) > 0) out.write(buffer.data(), count);
  if (count < 0) fail_to_read();
  out.close();
  if (!out) {
    throw Error(fmt::format("{}: cannot be written ({})", file.string(), std::strerror(errno)), "check the permissions and the free space there");
  }
}

}  // namespace

bool is_archive(const fs::path& path) {
  std::error_code unknown;
  return fs::is_regular_file(path, unknown);
}

std::size_t extract_archive(const fs::path& archive_file, const fs::path& into,
                            const std::function<bool(const std::string& entry_path)>& wanted) {
  if (!is_archive(archive_file)) {
    throw Error(fmt::format("{}: expected an archive (.tar.gz, .tar or .zip), found no such file", archive_file.string()));
  }
  Source source{.file = GzipFile(archive_file), .buffer = std::vector<char>(buffer_size), .error = {}};
  const std::unique_ptr<archive, decltype(&archive_read_free)> handle(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(handle.get());
  archive_read_support_format_zip_seekable(handle.get());
  const auto fail = [&] {
    if (source.error) throw *source.error;
    const char* reason = archive_error_string(handle.get());
    throw Error(fmt::format("{}: is damaged, cut short or no .tar.gz, .tar or .zip archive ({})", archive_file.string(),
                            printable(reason == nullptr ? "no reason known" : reason)),
                "fetch it again");
  };

  // The list of contents of a zip is at its end, so it is read by name; without that list it was cut short.
  const bool zip = begins_like_zip(archive_file);
  const int opened = zip ? archive_read_open_filename(handle.get(), archive_file.c_str(), buffer_size)
                         : archive_read_open(handle.get(), &source, nullptr, Source::read, nullptr);
  if (opened != ARCHIVE_OK) fail();
  std::vector<char> buffer(buffer_size);
  std::size_t written = 0;
  while (true) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(handle.get(), &entry);
    if (result == ARCHIVE_EOF) break;
    if (result < ARCHIVE_WARN) fail();
    const char* name = archive_entry_pathname(entry);
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr || name == nullptr) continue;
    const fs::path path = fs::path(name).lexically_normal();
    if (path.is_absolute() || *path.begin() == "..") {
      throw Error(fmt::format("{}: refused, because its file {} would be written outside the folder it is unpacked into", archive_file.string(),
                              printable(name)));
    }
    if (!wanted(path.generic_string())) continue;
    write_entry(handle.get(), into / path, buffer, fail);
    ++written;
  }
  // On to the checksum behind the last file; zip has one for each file, and libarchive does check those.
  while (!zip && source.file.read(buffer.data(), buffer.size()) == buffer.size()) {
  }
  return written;
}

}  // namespace lra
