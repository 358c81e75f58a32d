#include "data/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <locale.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <utility>
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

/// What unpacking may write: no more than the disk has free, and no more than compression can have saved (deflate: a
/// factor of 1,032), so that an archive of 1 kB that claims 8 GB, a sparse file say, is refused before anything of that
/// size is made.
class Budget {
 public:
  Budget(const fs::path& archive, const fs::path& into) : archive_(printable(archive.string())) {
    std::error_code code;
    const std::uintmax_t size = fs::file_size(archive, code);
    if (!code) most_ = 1100 * size + (16 << 20);
    why_ = fmt::format("an archive of {} bytes can't hold that", size);
    fs::path there = into;
    while (!there.empty() && !fs::exists(there, code)) there = there.parent_path();
    const fs::space_info space = fs::space(there.empty() ? "." : there, code);
    if (code || space.available >= most_) return;
    most_ = space.available;
    why_ = fmt::format("only {} bytes are free in {}", space.available, there.string());
  }

  /// Throws Error if `bytes` more are too many.
  void spend(std::uintmax_t bytes, const std::string& member) {
    if (bytes > most_ - spent_) {
      throw Error(fmt::format("{}: refused, because unpacking its member {} would take {} bytes: {}", archive_,
                              printable(member), spent_ + bytes, why_));
    }
    spent_ += bytes;
  }
  void give_back(std::uintmax_t bytes) { spent_ -= bytes; }

 private:
  std::string archive_, why_;
  std::uintmax_t most_ = std::numeric_limits<std::uintmax_t>::max(), spent_ = 0;
};

/// libarchive drops names that the locale cannot show, and in the locale C that is all but ASCII: this thread's is one
/// that can show them.
class Utf8Names {
 public:
  Utf8Names()
      : made_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)),
        before_(made_ == nullptr ? nullptr : ::uselocale(made_)) {}
  ~Utf8Names() {
    if (made_ == nullptr) return;
    ::uselocale(before_);
    ::freelocale(made_);
  }
  Utf8Names(const Utf8Names&) = delete;
  Utf8Names& operator=(const Utf8Names&) = delete;

 private:
  locale_t made_, before_;
};

/// The first of the two texts of libarchive that is there: one in the bytes of the archive, one in UTF-8, where a name
/// is not of the locale's characters.
std::string text_of(const char* plain, const char* utf8) {
  return plain != nullptr ? plain : utf8 != nullptr ? utf8 : "";
}

class Extraction {
 public:
  using Choice = std::function<bool(const std::string&)>;
  Extraction(const fs::path& archive_file, const fs::path& into, const Choice& wanted, const Choice& companion)
      : archive_file_(archive_file),
        into_(into),
        wanted_(wanted),
        companion_(companion),
        source_{.file = GzipFile(archive_file), .buffer = std::vector<char>(buffer_size), .error = {}},
        budget_(archive_file, into) {}

  Extracted run() {
    archive_read_support_format_tar(handle_.get());
    archive_read_support_format_zip_seekable(handle_.get());
    // The list of contents of a zip is at its end, so it is read by name; without that list it was cut short.
    const bool zip = begins_like_zip(archive_file_);
    const int opened = zip ? archive_read_open_filename(handle_.get(), archive_file_.c_str(), buffer_size)
                           : archive_read_open(handle_.get(), &source_, nullptr, Source::read, nullptr);
    if (opened != ARCHIVE_OK) fail();
    while (true) {
      archive_entry* entry = nullptr;
      const int result = archive_read_next_header(handle_.get(), &entry);
      if (result == ARCHIVE_EOF) break;
      if (result < ARCHIVE_WARN) fail();
      take(entry);
    }
    // On to the checksum behind the last file; zip has one for each file, and libarchive does check those.
    while (!zip && source_.file.read(buffer_.data(), buffer_.size()) == buffer_.size()) {
    }
    resolve_links();
    return result_;
  }

 private:
  [[noreturn]] void fail() const {
    if (source_.error) throw *source_.error;
    const char* reason = archive_error_string(handle_.get());
    throw Error(fmt::format("{}: is damaged, cut short or no .tar.gz, .tar or .zip archive ({})",
                            archive_file_.string(), printable(reason == nullptr ? "no reason known" : reason)),
                "fetch it again");
  }

  static bool leads_out(const fs::path& path) { return path.is_absolute() || path.empty() || *path.begin() == ".."; }

  void take(archive_entry* entry) {
    const auto type = archive_entry_filetype(entry);
    const std::string name = text_of(archive_entry_pathname(entry), archive_entry_pathname_utf8(entry));
    const std::string hard = text_of(archive_entry_hardlink(entry), archive_entry_hardlink_utf8(entry));
    if (type == AE_IFDIR && hard.empty()) return;
    if (name.empty()) return result_.unreadable.add("(a member without a name)");
    const fs::path path = fs::path(name).lexically_normal();
    const bool link = !hard.empty() || type == AE_IFLNK;
    if (!link && type != AE_IFREG) return result_.unreadable.add(name + " (a device or another special file)");
    if (leads_out(path)) {
      throw Error(
          fmt::format("{}: refused, because its file {} would be written outside the folder it is unpacked into",
                      archive_file_.string(), printable(name)));
    }
    if (!wanted_(path.generic_string())) {
      if (!companion_ || !companion_(path.generic_string())) result_.unwanted.add(name);
      return;
    }
    if (!names_.insert(path.generic_string()).second)
      result_.unreadable.add(name + " (twice in the archive; the later one counts)");
    if (link) {
      const fs::path target = text_of(archive_entry_symlink(entry), archive_entry_symlink_utf8(entry));
      links_.emplace_back(path, hard.empty()
                                    ? (target.is_absolute() ? target : (path.parent_path() / target).lexically_normal())
                                    : fs::path(hard).lexically_normal());
      return;
    }
    write(entry, into_ / path, name);
    ++result_.files;
  }

  void write(archive_entry* entry, const fs::path& file, const std::string& name) {
    const auto declared = static_cast<std::uintmax_t>(std::max<la_int64_t>(0, archive_entry_size(entry)));
    budget_.spend(declared, name);
    budget_.give_back(declared);
    std::error_code code;
    fs::create_directories(file.parent_path(), code);
    std::ofstream out(file, std::ios::binary);
    la_ssize_t count = 0;
    while (out && (count = archive_read_data(handle_.get(), buffer_.data(), buffer_.size())) > 0) {
      budget_.spend(static_cast<std::uintmax_t>(count), name);
      out.write(buffer_.data(), count);
    }
    if (count < 0) fail();
    out.close();
    if (!out) {
      throw Error(fmt::format("{}: cannot be written ({})", printable(file.string()), std::strerror(errno)),
                  "check the permissions and the free space there");
    }
  }

  /// A link may lead to another one, whichever of them comes first.
  void resolve_links() {
    for (bool again = true; again;) {
      again = false;
      for (auto& [path, target] : links_) {
        std::error_code code;
        if (path.empty() || target == path || leads_out(target) || !fs::is_regular_file(into_ / target, code)) continue;
        fs::create_directories((into_ / path).parent_path(), code);
        fs::remove(into_ / path, code);
        fs::create_hard_link(into_ / target, into_ / path, code);  // read only: one file under two names will do
        if (code) {
          budget_.spend(fs::file_size(into_ / target), path.string());
          fs::copy_file(into_ / target, into_ / path);
        }
        ++result_.files;
        path.clear();
        again = true;
      }
    }
    for (const auto& [path, target] : links_) {
      if (!path.empty())
        result_.unreadable.add(
            fmt::format("{} (a link to {}, which was not unpacked)", path.generic_string(), target.generic_string()));
    }
  }

  const fs::path& archive_file_;
  const fs::path& into_;
  const Choice &wanted_, &companion_;
  const Utf8Names utf8_names_;
  Source source_;
  Budget budget_;
  const std::unique_ptr<archive, decltype(&archive_read_free)> handle_{archive_read_new(), archive_read_free};
  std::vector<char> buffer_ = std::vector<char>(buffer_size);
  std::vector<std::pair<fs::path, fs::path>> links_;  // path, target, both within the archive
  std::set<std::string> names_;
  Extracted result_;
};

}  // namespace

bool is_archive(const fs::path& path) {
  std::error_code unknown;
  return fs::is_regular_file(path, unknown);
}

Extracted extract_archive(const fs::path& archive_file, const fs::path& into,
                          const std::function<bool(const std::string& entry_path)>& wanted,
                          const std::function<bool(const std::string& entry_path)>& companion) {
  if (!is_archive(archive_file)) {
    throw Error(
        fmt::format("{}: expected an archive (.tar.gz, .tar or .zip), found no such file", archive_file.string()));
  }
  return Extraction(archive_file, into, wanted, companion).run();
}

}  // namespace lra
